import { dgramParty } from './dgram-party.ts'
import type { Party } from './party.ts'
import { netParty, punchlineParty, tlsParty } from './socket-parties.ts'

/**
 * The parties known by name, in the order in which they are reported. Those with an `@` run on that
 * tier only; `+spin` looks for datagrams without the event loop; `-plain` is `security: 'none'`;
 * sockets share a connection, with `+own` only the UDP socket, with `+ports` nothing.
 */
export const PARTIES: ReadonlyMap<string, Party> = new Map([
  ['net', netParty],
  ['tls', tlsParty],
  ['dgram', dgramParty],
  ['raw@uring', rawParty('uring')],
  ['raw@mmsg', rawParty('mmsg')],
  ...punchlineParties('punchline', 'noise'),
  ...punchlineParties('punchline-plain', 'none'),
])

/** Imported when it is wanted: it brings the project's sources along. */
function rawParty(backend: 'uring' | 'mmsg'): Party {
  return {
    load: async () => (await import('./raw-party.ts')).rawParty(backend).load(),
  }
}

function punchlineParties(name: string, security: 'noise' | 'none'): (readonly [string, Party])[] {
  const tiers = ['uring', 'mmsg', 'dgram'].map(
    (tier) => [`${name}@${tier}`, punchlineParty(security, { PUNCHLINE_BACKEND: tier })] as const,
  )
  const spinning = punchlineParty(security, { PUNCHLINE_BUSY_POLL_MS: '1' })
  return [
    [name, punchlineParty(security)],
    ...tiers,
    [`${name}+spin`, spinning],
    [`${name}+own`, punchlineParty(security, {}, 'port')],
    [`${name}+ports`, punchlineParty(security, {}, 'nothing')],
  ]
}

/** Who takes part unless somebody else is asked for. */
export const DEFAULT_PARTIES = ['net', 'tls', 'dgram', 'punchline', 'punchline-plain']

/** Finds a party by name, or imports it from the URL of a module that exports it by default. */
export async function findParty(name: string): Promise<Party> {
  const known = PARTIES.get(name)
  if (known !== undefined) return known
  const module: { default: Party } = await import(name)
  return module.default
}
