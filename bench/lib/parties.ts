import { dgramParty } from './dgram-party.ts'
import type { Party } from './party.ts'
import { netParty, punchlineParty, tlsParty } from './socket-parties.ts'

/** The parties known by name, in the order in which they are reported. */
export const PARTIES: ReadonlyMap<string, Party> = new Map([
  ['net', netParty],
  ['tls', tlsParty],
  ['dgram', dgramParty],
  ['punchline', punchlineParty],
])

/** Finds a party by name, or imports it from the URL of a module that exports it by default. */
export async function findParty(name: string): Promise<Party> {
  const known = PARTIES.get(name)
  if (known !== undefined) return known
  const module: { default: Party } = await import(name)
  return module.default
}
