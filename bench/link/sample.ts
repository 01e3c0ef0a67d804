/** One measurement over a link: each flow a process in either namespace, all fresh. */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Snapshot } from '../lib/messages.ts'
import { DEFAULT_WORKLOAD } from '../lib/party.ts'
import { Peer } from '../lib/two-process.ts'
import { type KernelController, LinkEmulator, type LinkStats, RECEIVERS } from './emulator.ts'
import type { LinkProfile } from './profiles.ts'

/** Starting and connecting may take this long beside the measured time. */
const OVERHEAD_MS = 60_000

export interface LinkFlow {
  /** A party with a `stream` scenario. */
  readonly party: string
  /** Of the kernel's TCP, for parties that use it. */
  readonly controller: KernelController
}

export interface LinkOrder {
  readonly profile: LinkProfile
  /** One, or two that share the link. */
  readonly flows: readonly LinkFlow[]
  readonly warmupMs: number
  readonly windowMs: number
  readonly seed: number
}

export interface LinkSample {
  /** User bytes that arrived, in bits per second; of each flow. */
  readonly goodputs: readonly number[]
  /** Packets that the first flow sent again. */
  readonly resent: number
  readonly link: LinkStats
}

/** @throws UnavailableError when a party cannot run here, or an error that says what went wrong. */
export async function measureLink(order: LinkOrder): Promise<LinkSample> {
  const { profile, flows, warmupMs, windowMs, seed } = order
  const deadline = AbortSignal.timeout(warmupMs + windowMs + OVERHEAD_MS)
  const controllers = flows.map(({ controller }) => controller)
  const link = await LinkEmulator.start(profile, seed, controllers)
  const peers: Peer[] = []
  const start = (...[peerOrder, space]: [ConstructorParameters<typeof Peer>[0], string]) => {
    const peer = new Peer(peerOrder, deadline, space)
    peers.push(peer)
    return peer
  }
  try {
    const pairs: { server: Peer; client: Peer }[] = []
    for (const [index, { party }] of flows.entries()) {
      const workload = { ...DEFAULT_WORKLOAD, host: RECEIVERS[index] ?? '' }
      const common = { scenario: 'stream', party, workload } as const
      const server = start(common, link.spaces.receiver)
      const { address } = await server.expect('ready')
      if (address === undefined) throw new Error('the server has no address')
      const client = start({ ...common, address }, link.spaces.sender)
      await client.expect('ready')
      pairs.push({ server, client })
    }
    const servers = pairs.map(({ server }) => server)
    const first = pairs[0]?.client as Peer
    for (const { client } of pairs) client.say({ type: 'begin' })
    await delay(warmupMs)
    const before = await Promise.all(servers.map((server) => server.mark()))
    const resentBefore = await resentBy(first)
    link.reset()
    await delay(windowMs)
    const after = await Promise.all(servers.map((server) => server.mark()))
    const resent = (await resentBy(first)) - resentBefore
    const stats = await link.stats()
    for (const { figures } of after) check(figures)
    return {
      goodputs: after.map((snapshot, index) => rate(before[index] as Snapshot, snapshot) * 8),
      resent,
      link: stats,
    }
  } finally {
    await Promise.all(peers.map((peer) => peer.end()))
    await link.close()
  }
}

function rate(before: Snapshot, after: Snapshot): number {
  return ((after.done - before.done) / (after.atMs - before.atMs)) * 1_000
}

function check({ checks = 0, mismatches = 0 }: Snapshot['figures']): void {
  if (mismatches > 0) throw new Error(`wrong bytes in ${mismatches} of ${checks} samples`)
  if (checks === 0) throw new Error('nothing was checked')
}

/** What our transport tells, or else the kernel, which counts for each namespace. */
async function resentBy(client: Peer): Promise<number> {
  const { packetsRetransmitted } = (await client.mark()).figures
  return packetsRetransmitted ?? readTcpCounter(client.id, 'RetransSegs')
}

function readTcpCounter(processId: number, name: string): number {
  const lines = readFileSync(`/proc/${processId}/net/snmp`, 'latin1').split('\n')
  const [names = [], values = []] = lines
    .filter((line) => line.startsWith('Tcp:'))
    .map((line) => line.split(' '))
  return Number(values[names.indexOf(name)])
}
