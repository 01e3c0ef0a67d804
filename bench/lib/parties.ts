import { dgramParty, unconnectedDgramParty } from './dgram-party.ts'
import type { Party } from './party.ts'
import { netParty, punchlineParty, tlsParty } from './socket-parties.ts'

/** The parties that have one name, in the order in which they are reported. */
const PARTIES: ReadonlyMap<string, Party> = new Map([
  ['net', netParty],
  ['tls', tlsParty],
  ['dgram', dgramParty],
  ['dgram-unconnected', unconnectedDgramParty],
  ['raw@uring', rawParty('uring')],
  ['raw@mmsg', rawParty('mmsg')],
])

/**
 * Ours: `-plain` is `security: 'none'`, `@` chooses the tier, `+spin` looks for datagrams a
 * millisecond before it sleeps, `+sleep` never, `+1472` keeps to packets of Ethernet's size, `+wide` has memory for long fat
 * paths; sockets share a connection, with `+own` only the UDP socket, with `+ports` nothing.
 */
const OURS =
  /^punchline(?<plain>-plain)?(?:@(?<tier>uring|mmsg|dgram))?(?<others>(?:\+(?:spin|sleep|1472|wide|own|ports))*)$/

/** The kernel's TCP has 64 MiB each way on emulated links. */
const WIDE_BYTES = 128 * 1024 * 1024

/** Imported when it is wanted: it brings the project's sources along. */
function rawParty(backend: 'uring' | 'mmsg'): Party {
  return {
    load: async () => (await import('./raw-party.ts')).rawParty(backend).load(),
  }
}

function punchlineNamed({ plain, tier, others = '' }: Record<string, string | undefined>): Party {
  const chosen = new Set(others.split('+'))
  const settings = {
    ...(tier !== undefined && { PUNCHLINE_BACKEND: tier }),
    ...(chosen.has('spin') && { PUNCHLINE_BUSY_POLL_MS: '1' }),
    ...(chosen.has('sleep') && { PUNCHLINE_BUSY_POLL_MS: '0' }),
  }
  return punchlineParty({
    security: plain === undefined ? 'noise' : 'none',
    settings,
    endpoint: {
      ...(chosen.has('1472') && { packetBytesMax: 1_472 }),
      ...(chosen.has('wide') && { memoryBytes: WIDE_BYTES }),
    },
    sharing: chosen.has('ports') ? 'nothing' : chosen.has('own') ? 'port' : 'connection',
  })
}

/** Who takes part unless somebody else is asked for. */
export const DEFAULT_PARTIES = ['net', 'tls', 'dgram', 'punchline', 'punchline-plain']

/** The party of that name; undefined when there is none. */
export function knownParty(name: string): Party | undefined {
  const { groups } = OURS.exec(name) ?? {}
  return groups === undefined ? PARTIES.get(name) : punchlineNamed(groups)
}

/** The names to choose from, as they are told to who gives another one. */
export const PARTY_NAMES = [
  ...PARTIES.keys(),
  'punchline[-plain][@TIER][+spin|+sleep|+1472|+wide|+own|+ports]',
]

/** Finds a party by name, or imports it from the URL of a module that exports it by default. */
export async function findParty(name: string): Promise<Party> {
  const known = knownParty(name)
  if (known !== undefined) return known
  const module: { default: Party } = await import(name)
  return module.default
}
