/**
 * Two endpoints whose datagrams are changed on the way by somebody who knows the format, in every
 * state that connections have. `node --import tsx bindings/packets.fuzz.ts SEED [COUNT]` runs seeds.
 *
 * What must hold: nothing throws or reaches outside the memory, no endpoint uses more than its
 * quota, no datagram costs more work than a bound, and when all connections are closed every table
 * is empty and all memory is back but for one table.
 */
import { pathToFileURL } from 'node:url'
import { SeededRandom } from '../ts/sim/random.ts'
import { plainAccesses } from './plain.ts'
import { testCore } from './testing/cores.ts'
import { mutate } from './testing/mutate.ts'
import {
  type Datagram,
  type Peer,
  pattern,
  Rig,
  type RigConnection,
  type RigStream,
} from './testing/rig.ts'

const MEMORY_BYTES = 8 * 1024 * 1024
const ROUNDS = 120
const SECOND = 1e6
/** Memory accesses that one datagram may cost: some milliseconds of the compiled core at most. */
const WORK_MAX = 400_000
/** What an endpoint keeps, once many asked to be let in, for a fair share of each network. */
const NETWORKS_BYTES = 65_536

export interface FuzzResult {
  readonly datagrams: number
  readonly mutated: number
  /** What the dearest datagram cost, in memory accesses. */
  readonly workMax: number
  /** Connections that were opened, and how they ended, by code. */
  readonly ends: ReadonlyMap<number, number>
}

/** @throws Error for what must not happen. */
export async function fuzzPackets(seed: number): Promise<FuzzResult> {
  const random = new SeededRandom(seed)
  const rig = new Rig(await testCore('typescript-debug', MEMORY_BYTES))
  const options = {
    memoryBytes: random.pick([65_536, 262_144, 1 << 20, 3 << 20]),
    connectionsMax: random.pick([2, 50]),
    halfOpenMax: random.pick([1, 20]),
    streamsMax: random.pick([1, 5, 200]),
    packetBytesMax: random.pick([548, 1200, 1200, 9000]),
    streamWindow: random.pick([4096, 65_536]),
    connectionWindow: random.pick([4096, 200_000]),
    idleTimeout: random.pick([5, 30]) * SECOND,
    keepAlive: random.pick([0, 1, 10]) * SECOND,
  }
  const fuzz = new Fuzz(rig, random, [rig.peer(options), rig.peer(options)])
  try {
    for (let round = 0; round < ROUNDS; round += 1) fuzz.round()
    return fuzz.finish()
  } catch (error) {
    throw new Error(`packets.fuzz.ts ${seed}: ${(error as Error).message}`, { cause: error })
  }
}

class Fuzz {
  private readonly rig: Rig
  private readonly random: SeededRandom
  private readonly peers: readonly Peer[]
  private readonly streams = new Map<Peer, RigStream[]>()
  private readonly ends = new Map<number, number>()
  /** Every connection that was ever opened, with the peer that has it. */
  private readonly connections = new Set<RigConnection>()
  /** Packets of the past, also of connections that are gone. */
  private readonly past: Datagram[] = []
  private datagrams = 0
  private mutated = 0
  private workMax = 0
  private mutateRate = 0
  private lossRate = 0

  constructor(rig: Rig, random: SeededRandom, peers: readonly Peer[]) {
    this.rig = rig
    this.random = random
    this.peers = peers
    rig.network = (datagram) => this.carry(datagram)
    for (const peer of peers) this.attach(peer)
  }

  /** A host that reads, answers and leaves, and a driver that weighs each datagram. */
  private attach(peer: Peer): void {
    const { random } = this
    const streams: RigStream[] = []
    this.streams.set(peer, streams)
    peer.onStream = (stream) => streams.push(stream)
    peer.onReadable = (stream) => {
      if (random.chance(0.2)) return
      peer.read(stream)
      if (peer.ended(stream)) peer.finish(stream)
    }
    peer.onFinished = (stream) => {
      if (random.chance(0.7)) peer.release(stream)
    }
    const ingest = peer.ingest.bind(peer)
    peer.ingest = (datagrams) => {
      for (const datagram of datagrams) {
        const before = plainAccesses()
        ingest([datagram])
        this.workMax = Math.max(this.workMax, plainAccesses() - before)
        this.datagrams += 1
      }
      this.check(peer)
    }
  }

  private check(peer: Peer): void {
    const { memoryUsed, memoryMax, connections, halfOpen } = peer.gauges()
    if (memoryUsed > memoryMax) throw new Error(`${memoryUsed} bytes used of ${memoryMax}`)
    if (connections > peer.options.connectionsMax) throw new Error(`${connections} connections`)
    if (halfOpen > peer.options.halfOpenMax) throw new Error(`${halfOpen} half-open connections`)
    if (this.workMax > WORK_MAX) throw new Error(`a datagram cost ${this.workMax} accesses`)
  }

  private carry(datagram: Datagram): number[] {
    const { random } = this
    if (this.past.length < 300) this.past.push(datagram)
    else if (random.chance(0.2)) this.past[random.below(300)] = datagram
    if (random.chance(this.mutateRate)) this.inject(datagram)
    if (random.chance(this.lossRate)) return []
    return [random.chance(0.1) ? random.below(200_000) : 5_000]
  }

  /** A changed copy, which may arrive before the original. */
  private inject(datagram: Datagram): void {
    const { random, rig } = this
    this.mutated += 1
    const { network } = rig
    rig.network = () => [random.below(10_000)]
    rig.send({ ...datagram, bytes: mutate(random, datagram.bytes) })
    rig.network = network
  }

  round(): void {
    const { random, rig } = this
    if (random.chance(0.1)) {
      this.mutateRate = random.pick([0, 0.02, 0.2, 0.7])
      this.lossRate = random.pick([0, 0, 0.1, 0.5])
    }
    for (let actions = random.between(1, 6); actions > 0; actions -= 1) this.act()
    if (this.past.length > 0) {
      for (let count = random.below(6); count > 0; count -= 1) this.inject(random.pick(this.past))
    }
    rig.runFor(random.pick([0, 5_000, 20_000, 300_000, 300_000, 4 * SECOND]))
    for (const peer of this.peers) {
      for (const each of peer.connections.values()) this.connections.add(each)
    }
  }

  private act(): void {
    const { random } = this
    const peer = random.pick(this.peers)
    const other = random.pick(this.peers)
    const open = [...peer.connections.values()]
    const streams = (this.streams.get(peer) ?? []).filter(({ isReleased }) => !isReleased)
    const kind = random.below(20)
    if (open.length === 0 || kind === 0) this.attempt(() => peer.connect(other))
    else if (kind < 4) {
      this.attempt(() => this.streams.get(peer)?.push(peer.open(random.pick(open))))
    } else if (kind === 4 && random.chance(0.3)) peer.close(random.pick(open), random.below(20))
    else if (streams.length > 0) this.use(peer, random.pick(streams))
  }

  private use(peer: Peer, stream: RigStream): void {
    const { random } = this
    const kind = random.below(12)
    if (kind < 8) peer.write(stream, pattern(0, 0, random.pick([1, 100, 3000, 30_000])))
    else if (kind === 8) peer.finish(stream)
    else if (kind === 9) peer.read(stream)
    else if (kind === 10) peer.abort(stream, random.below(70_000))
    else peer.release(stream)
  }

  /** Limits are reached, and that is no failure. */
  private attempt(action: () => unknown): void {
    try {
      action()
    } catch (error) {
      if (!/takes no more/.test((error as Error).message)) throw error
    }
  }

  finish(): FuzzResult {
    const { rig } = this
    this.mutateRate = 0
    this.lossRate = 0
    rig.runFor(2 * SECOND)
    for (const peer of this.peers) {
      for (const connection of [...peer.connections.values()]) peer.close(connection)
    }
    // Half-open ones end by themselves, closing ones when nothing of the peer can be under way.
    rig.runFor(60 * SECOND)
    for (const peer of this.peers) {
      const { connections, halfOpen, streams, memoryUsed } = peer.gauges()
      const left = { connections, halfOpen, streams, memoryUsed }
      if (connections + halfOpen + streams > 0 || memoryUsed > NETWORKS_BYTES) {
        throw new Error(`left behind: ${JSON.stringify(left)}`)
      }
    }
    for (const { closedCode } of this.connections) {
      if (closedCode === undefined) throw new Error('a host never heard that a connection ended')
      this.ends.set(closedCode, (this.ends.get(closedCode) ?? 0) + 1)
    }
    rig.close()
    const { datagrams, mutated, workMax, ends } = this
    return { datagrams, mutated, workMax, ends }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const first = Number(process.argv[2] ?? 1)
  const count = Number(process.argv[3] ?? 1)
  for (let seed = first; seed < first + count; seed += 1) {
    const { datagrams, mutated, workMax, ends } = await fuzzPackets(seed)
    console.log(
      `${seed}: ${datagrams} datagrams, ${mutated} changed, ${workMax} accesses at most, ends`,
      Object.fromEntries(ends),
    )
  }
}
