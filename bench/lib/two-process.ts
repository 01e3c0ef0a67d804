/**
 * Measures one party in one scenario: a fresh server process, a fresh client process, a warm-up,
 * and a window in which both are asked for their counters. Both are ended, by id, whatever happens.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { readCpuTimes } from './environment.ts'
import type { PeerMessage, PeerOrder, RunnerMessage, Snapshot } from './messages.ts'
import type { ScenarioName, Tally, Workload } from './party.ts'
import { peerArguments } from './peer-program.ts'

/** Which end counts the work that a rate is made of: where it arrives. */
const COUNTED_AT: Readonly<Record<ScenarioName, 'server' | 'client'>> = {
  stream: 'server',
  datagrams: 'server',
  pingpong: 'client',
  connections: 'client',
}

/** Starting, connecting and finishing may by default take this long beside the measured time. */
const OVERHEAD_MS = 60_000

/** Resident memory of fewer connections is noise. */
const MEMORY_CONNECTIONS_MIN = 100

const STDERR_KEPT_CHARACTERS = 2_000

export interface CellOrder {
  readonly scenario: ScenarioName
  readonly party: string
  readonly workload: Workload
  readonly warmupMs: number
  readonly windowMs: number
  /** What starting, connecting and finishing may take before the sample is given up. */
  readonly overheadMs?: number
  /** Paths of the network namespaces that they live in, if not in the runner's. */
  readonly spaces?: { readonly server: string; readonly client: string }
}

/** One measurement. Rates are per second; work is bytes in `stream`, datagrams in
 * `datagrams`, round trips elsewhere. */
export interface Sample {
  readonly workPerSecond: number
  /** CPU seconds of both processes per unit of work; then of each. */
  readonly cpuSeconds: number
  readonly serverCpuSeconds: number
  readonly clientCpuSeconds: number
  readonly p50Micros?: number
  readonly p99Micros?: number
  /** Until the client had all its connections. */
  readonly setupSeconds: number
  /** What one connection that was in use adds to the server's resident memory. */
  readonly bytesPerConnection?: number
  /** Cores used by other programs during the window, and taken by the host. NaN if unknown. */
  readonly othersCores: number
  readonly stolenCores: number
  readonly details: Readonly<Record<string, string>>
}

/** The party cannot run here; trying again does not help. */
export class UnavailableError extends Error {}

/** Takes one sample. @throws UnavailableError, or an error that says what went wrong. */
export async function measureCell(order: CellOrder): Promise<Sample> {
  const deadline = new AbortController()
  const limitMs = order.warmupMs + order.windowMs + (order.overheadMs ?? OVERHEAD_MS)
  const timer = setTimeout(() => deadline.abort(), limitMs)
  const peers: Peer[] = []
  try {
    return await measureWith(order, (peerOrder, end) => {
      const peer = new Peer(peerOrder, deadline.signal, order.spaces?.[end])
      peers.push(peer)
      return peer
    })
  } catch (error) {
    if (deadline.signal.aborted) throw new Error(`not over after ${limitMs} ms`, { cause: error })
    throw error
  } finally {
    clearTimeout(timer)
    await Promise.all(peers.map((peer) => peer.end()))
  }
}

async function measureWith(
  { scenario, party, workload, warmupMs, windowMs }: CellOrder,
  start: (order: PeerOrder, end: 'server' | 'client') => Peer,
): Promise<Sample> {
  const server = start({ scenario, party, workload }, 'server')
  const { address } = await server.expect('ready')
  if (address === undefined) throw new Error('the server has no address')
  const empty = await server.mark({ isSettled: true })

  const client = start({ scenario, party, workload, address }, 'client')
  const { setupMs } = await client.expect('ready')

  client.say({ type: 'begin' })
  await delay(warmupMs)
  const cpuBefore = readCpuTimes()
  const [serverBefore, clientBefore] = await Promise.all([server.mark(), client.mark()])
  await delay(windowMs)
  const [serverAfter, clientAfter] = await Promise.all([server.mark(), client.mark()])
  const cpuAfter = readCpuTimes()
  const used = await server.mark({ isSettled: true })

  client.say({ type: 'finish' })
  const sent = await client.expect('finished')
  server.say({ type: 'finish' })
  const received = await server.expect('finished')
  checkTallies(sent.tally, received.tally)

  const counted = {
    server: [serverBefore, serverAfter],
    client: [clientBefore, clientAfter],
  } as const
  const [before, after] = counted[COUNTED_AT[scenario]]
  const workPerSecond = ((after.done - before.done) / (after.atMs - before.atMs)) * 1_000
  if (!(workPerSecond > 0)) throw new Error('nothing arrived while it was measured')
  const serverCores = coresUsed(serverBefore, serverAfter)
  const clientCores = coresUsed(clientBefore, clientAfter)
  const ours = serverCores + clientCores
  const count = workload.connectionCount
  return {
    workPerSecond,
    cpuSeconds: ours / workPerSecond,
    serverCpuSeconds: serverCores / workPerSecond,
    clientCpuSeconds: clientCores / workPerSecond,
    ...(clientAfter.latency !== undefined && {
      p50Micros: clientAfter.latency.p50Micros,
      p99Micros: clientAfter.latency.p99Micros,
    }),
    setupSeconds: setupMs / 1_000,
    ...(scenario === 'connections' &&
      count >= MEMORY_CONNECTIONS_MIN && {
        bytesPerConnection: (used.residentBytes - empty.residentBytes) / count,
      }),
    othersCores: Math.max(
      0,
      (cpuAfter.busyMs - cpuBefore.busyMs) / (cpuAfter.atMs - cpuBefore.atMs) - ours,
    ),
    stolenCores: (cpuAfter.stolenMs - cpuBefore.stolenMs) / (cpuAfter.atMs - cpuBefore.atMs),
    details: { ...received.details, ...sent.details },
  }
}

/** Each process divides by its own clock: the two windows need not be the same. */
function coresUsed(before: Snapshot, after: Snapshot): number {
  return (after.cpuMicros - before.cpuMicros) / 1_000 / (after.atMs - before.atMs)
}

function checkTallies(client: Tally, server: Tally): void {
  if (client.bytesSent !== server.bytesReceived || server.bytesSent !== client.bytesReceived) {
    throw new Error(
      `bytes went missing: client ${client.bytesSent} out, ${client.bytesReceived} in; ` +
        `server ${server.bytesReceived} in, ${server.bytesSent} out`,
    )
  }
  const mismatches = client.mismatches + server.mismatches
  const checks = client.checks + server.checks
  if (mismatches > 0) throw new Error(`wrong bytes in ${mismatches} of ${checks} samples`)
  if (checks === 0) throw new Error('nothing was checked')
}

type MessageOf<Type extends PeerMessage['type']> = Extract<PeerMessage, { type: Type }>

/** The runner's end of one peer: asks, and waits for the one answer. */
export class Peer {
  private readonly child: ChildProcess
  private readonly exited: Promise<void>
  private readonly inbox: PeerMessage[] = []
  private failure: Error | undefined
  private wake: () => void = () => {}
  private stderr = ''

  /** `space`: path of the network namespace that it lives in, if not in the runner's. */
  constructor(order: PeerOrder, deadline: AbortSignal, space?: string) {
    const { path, execArgv } = peerArguments(order)
    this.child = fork(path, [JSON.stringify(order)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      ...(space === undefined
        ? { execArgv }
        : { execPath: 'nsenter', execArgv: [`--net=${space}`, process.execPath, ...execArgv] }),
    })
    // Not 'close', which never comes once this side has disconnected.
    this.exited = new Promise((resolve) => this.child.once('exit', () => resolve()))
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-STDERR_KEPT_CHARACTERS)
    })
    this.child.on('message', (message: PeerMessage) => this.take(message))
    this.child.on('error', (error) => this.break(error))
    this.child.once('close', (code, signal) => {
      this.break(new Error(`a peer ended (${signal ?? code}) ${this.stderr.trim()}`.trim()))
    })
    deadline.addEventListener('abort', () => this.break(new Error('out of time')))
  }

  /** Its process. */
  get id(): number {
    return this.child.pid ?? 0
  }

  say(message: RunnerMessage): void {
    // A peer that is gone is reported by `expect`.
    this.child.send(message, () => {})
  }

  async mark({ isSettled = false } = {}): Promise<Snapshot> {
    this.say({ type: 'mark', isSettled })
    return (await this.expect('marked')).snapshot
  }

  /** Waits for the next message, which must be of this type. */
  async expect<Type extends PeerMessage['type']>(type: Type): Promise<MessageOf<Type>> {
    while (this.inbox.length === 0 && this.failure === undefined) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
    if (this.failure !== undefined) throw this.failure
    const message = this.inbox.shift()
    if (message?.type !== type) throw new Error(`expected "${type}", got "${message?.type}"`)
    return message as MessageOf<Type>
  }

  async end(): Promise<void> {
    if (this.child.connected) this.child.disconnect()
    // It may be busy, or stuck; nothing of it is needed any more.
    this.child.kill('SIGKILL')
    await this.exited
  }

  private take(message: PeerMessage): void {
    if (message.type === 'unavailable') this.break(new UnavailableError(message.reason))
    else if (message.type === 'failed') this.break(new Error(message.reason))
    else this.inbox.push(message)
    this.wake()
  }

  private break(error: Error): void {
    this.failure ??= error
    this.wake()
  }
}
