import { dgramParty } from './dgram-party.ts'
import type { Party } from './party.ts'
import { rawParty } from './raw-party.ts'
import { netParty, punchlineParty, tlsParty } from './socket-parties.ts'

/**
 * The parties known by name, in the order in which they are reported. Those with an `@` run on that
 * tier only; `+spin` looks for datagrams without the event loop, `+secure` encrypts.
 */
export const PARTIES: ReadonlyMap<string, Party> = new Map([
  ['net', netParty],
  ['tls', tlsParty],
  ['dgram', dgramParty],
  ['raw@uring', rawParty('uring')],
  ['raw@mmsg', rawParty('mmsg')],
  ['punchline', punchlineParty()],
  ['punchline@uring', punchlineParty({ PUNCHLINE_BACKEND: 'uring' })],
  ['punchline@mmsg', punchlineParty({ PUNCHLINE_BACKEND: 'mmsg' })],
  ['punchline@dgram', punchlineParty({ PUNCHLINE_BACKEND: 'dgram' })],
  ['punchline+secure', punchlineParty({}, true)],
  ['punchline@mmsg+secure', punchlineParty({ PUNCHLINE_BACKEND: 'mmsg' }, true)],
  ['punchline+spin', punchlineParty({ PUNCHLINE_BUSY_POLL_MS: '1' })],
])

/** Who takes part unless somebody else is asked for. */
export const DEFAULT_PARTIES = ['net', 'tls', 'dgram', 'punchline']

/** Finds a party by name, or imports it from the URL of a module that exports it by default. */
export async function findParty(name: string): Promise<Party> {
  const known = PARTIES.get(name)
  if (known !== undefined) return known
  const module: { default: Party } = await import(name)
  return module.default
}
