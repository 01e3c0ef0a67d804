/**
 * A host of two endpoints and more that does everything a host can do, right and wrong, as a seed
 * decides: it carries datagrams between them over a bad network, and hands every export valid and
 * hostile handles, sizes, codes and descriptors.
 */
import {
  CONFIG_ACK_DELAY,
  CONFIG_BURST_BYTES,
  CONFIG_CONNECTION_WINDOW,
  CONFIG_COUNT,
  CONFIG_EMPTY_TIMEOUT,
  CONFIG_IDLE_TIMEOUT,
  CONFIG_LISTENING,
  CONFIG_PACKET_BYTES_MAX,
  CONFIG_STREAM_WINDOW,
  CONFIG_STREAMS_MAX,
  CONNECTION_CLOSED,
  CONNECTION_HANDSHAKE,
  COUNTERS,
  DESC_ADDRESS,
  DESC_COUNT,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_PORT,
  DESC_SEGMENT,
  DESC_SIZE,
  EVENT_BITS,
  EVENT_HANDLE,
  EVENT_KIND,
  EVENT_SIZE,
  EVENT_TAG,
  EVENTS,
  JOBS,
  KIND_CONNECTION,
  PAGE_TABLE,
  PARAMS,
  PARAMS_ADDRESS,
  PEER_COUNT,
  RX_ARENA,
  RX_ARENA_SIZE,
  RX_DESC,
  SCRATCH,
  STREAM_OPENED,
} from '../core.ts'
import { type Lockstep, TRAPPED } from './lockstep.ts'
import { type Chance, mutate } from './mutate.ts'
import { addressWords } from './rig.ts'

/** Both bits of congestion in a descriptor's port word. */
const MARKS = 3 << 16

interface Endpoint {
  handle: number
  /** What it tells its peers about itself, PEER_… */
  readonly parameters: readonly number[]
  readonly port: number
  /** Where a NAT makes it appear to be: ALIASES more than its port, or none. */
  alias: number
  inbox: Waiting[]
}

interface Waiting {
  readonly bytes: Uint8Array
  /** With the bits of congestion beside it, as descriptors have them. */
  readonly fromPort: number
}

/** One that took a longer way. */
interface Late extends Waiting {
  readonly to: Endpoint
  readonly at: number
}

/** How bad the network and the host are for a while. */
interface Mood {
  readonly lossRate: number
  /** Larger datagrams are lost. */
  readonly bytesMax: number
  readonly duplicateRate: number
  readonly mutateRate: number
  readonly reorderRate: number
  readonly hostileRate: number
  /** Moments pass, or hours. */
  readonly isSlow: boolean
}

const INITIATOR = 0
const RESPONDER = 1

const ENDPOINTS_MAX = 4
/** Ports are below this; the same port plus this leads to the same endpoint. */
const ALIASES = 30_000
const INBOX_MAX = 300
const HANDLES_MAX = 300

const GARBAGE = [
  0,
  1,
  -1,
  31,
  32,
  0x7fffffff,
  -0x80000000,
  0x1000,
  PARAMS,
  RX_ARENA,
  JOBS,
  PAGE_TABLE,
  0x290000,
  0x3fffe0,
  0x400000,
]
/** Of every kind that a host could pass by mistake. */
const NUMBERS = [0, -1, 1, 2, 548, 1200, 65_507, 65_508, 2 ** 31 - 1, -(2 ** 31)]
const FLOATS = [
  0,
  -0,
  -1,
  0.5,
  1,
  1000,
  4096,
  65_536,
  1e6,
  2 ** 31,
  2 ** 53 - 1,
  1e300,
  -1e300,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
]

/** Exports that take one handle of a stream or connection, and numbers after it. */
const HANDLE_CALLS: readonly (readonly [name: string, numbers: number])[] = [
  ['connectionMessage', 0],
  ['connectionLose', 1],
  ['connectionRelease', 0],
  ['connectionAddress', 0],
  ['connectionPacketMax', 1],
  ['connectionPin', 1],
  ['connectionFigures', 0],
  ['connectionAnswer', 4],
  ['connectionPeerToken', 0],
  ['connectionRefuse', 1],
  ['connectionIds', 0],
  ['connectionPath', 0],
  ['endpointResetToken', 2],
  ['endpointOffload', 1],
  ['endpointMark', 1],
  ['ingestBegin', 2],
  ['ingestTaken', 0],
  ['streamOpen', 1],
  ['streamAccept', 0],
  ['streamRefuse', 1],
  ['streamReserve', 1],
  ['streamCommit', 1],
  ['streamFinish', 0],
  ['streamPriority', 1],
  ['streamReadable', 0],
  ['streamPeek', 0],
  ['streamConsume', 1],
  ['streamEnded', 0],
  ['streamNumber', 0],
  ['streamAbort', 1],
  ['streamRelease', 0],
  ['endpointCounters', 0],
  ['endpointGauges', 0],
  ['endpointListen', 1],
  ['nextTimeout', 0],
  ['events', 0],
  ['setTag', 1],
]

export class RandomCalls {
  now = 1_000_000
  /** Sums of the counters of all endpoints that are gone. */
  readonly counters: number[] = new Array(COUNTERS).fill(0)
  private readonly lockstep: Lockstep
  private readonly random: Chance
  private readonly endpoints: Endpoint[] = []
  private nextPort = 1
  private late: Late[] = []
  private readonly connections: number[] = []
  /** Handles that `connectionOpen` gave last; those of newcomers are taken out again. */
  private readonly initiated = new Set<number>()
  private readonly streams: number[] = []
  private mood: Mood
  private stepCount = 0

  constructor(lockstep: Lockstep, random: Chance) {
    this.lockstep = lockstep
    this.random = random
    this.mood = this.drawMood(0)
    this.createEndpoint(true)
    this.createEndpoint(true)
  }

  /** One thing that a host might do. */
  step(): void {
    const { random } = this
    this.stepCount += 1
    if (this.stepCount % 400 === 0) this.mood = this.drawMood(this.stepCount)
    if (random.chance(this.mood.hostileRate)) {
      this.hostileStep()
      return
    }
    const kind = random.below(100)
    if (kind < 12) this.pump()
    else if (kind < 24) this.flush()
    else if (kind < 38) this.ingest()
    else if (kind < 46) this.events(random.pick(this.endpoints))
    else if (kind < 54) this.passTime()
    else if (kind < 57) this.connect()
    else if (kind < 58) this.endConnection()
    else if (kind < 97) this.useStream()
    else if (kind < 98) this.rebind()
    else if (kind < 99) this.look()
    else this.replaceEndpoint()
  }

  /** Ends everything; the counters are complete then. */
  finish(): void {
    for (const endpoint of this.endpoints) this.destroyEndpoint(endpoint)
  }

  // ── The network ────────────────────────────────────────────────────────────────────────────────

  /** A few rounds of all endpoints without time passing: so that connections get anywhere. */
  private pump(): void {
    for (let rounds = this.random.between(1, 4); rounds > 0; rounds -= 1) {
      for (const endpoint of this.endpoints) this.flush(endpoint)
      for (const endpoint of this.endpoints) {
        while (endpoint.inbox.length > 0) this.ingest(endpoint)
        this.events(endpoint)
      }
    }
  }

  private flush(endpoint = this.random.pick(this.endpoints)): void {
    const count = this.number('flush', endpoint.handle, this.now)
    const { reference } = this.lockstep
    if (this.number('jobs') > 0) this.call('jobsFinish')
    for (let index = 0; index < count; index += 1) {
      const words = reference.sendDescriptor(index)
      const start = reference.i32[words + (DESC_POINTER >> 2)] as number
      const length = reference.i32[words + (DESC_LENGTH >> 2)] as number
      const segment = reference.i32[words + (DESC_SEGMENT >> 2)] as number
      const word = reference.i32[words + (DESC_PORT >> 2)] as number
      const to = this.endpoints.find(({ port }) => port === (word & 0xffff) % ALIASES)
      const from = (endpoint.port + endpoint.alias) | this.passMarks(word & MARKS)
      const size = segment === 0 ? length : segment
      for (let at = start; to !== undefined && at < start + length; at += size) {
        this.transmit(from, to, reference.u8.slice(at, Math.min(at + size, start + length)))
      }
    }
  }

  /** Some ways take marks away, some queues add to them. */
  private passMarks(marks: number): number {
    const { random } = this
    if (marks === 0 || random.chance(0.05)) return 0
    return random.chance(0.1) ? MARKS : marks
  }

  private transmit(fromPort: number, to: Endpoint, bytes: Uint8Array): void {
    const { random, mood } = this
    if (bytes.length > mood.bytesMax || random.chance(mood.lossRate)) return
    if (random.chance(mood.reorderRate / 3)) {
      this.late.push({ bytes, fromPort, to, at: this.now + random.below(1_500_000) })
      return
    }
    to.inbox.push({ bytes, fromPort })
    if (random.chance(mood.duplicateRate)) to.inbox.push({ bytes, fromPort })
    if (random.chance(mood.mutateRate)) to.inbox.push({ bytes: mutate(random, bytes), fromPort })
    while (to.inbox.length > INBOX_MAX) to.inbox.shift()
  }

  /** Hands over some of what waits, mostly in order. */
  private ingest(endpoint = this.random.pick(this.endpoints)): void {
    const { random, mood } = this
    const taken: Waiting[] = []
    for (let left = random.between(1, 40); left > 0 && endpoint.inbox.length > 0; left -= 1) {
      const isReordered = random.chance(mood.reorderRate)
      const index = isReordered ? random.below(endpoint.inbox.length) : 0
      taken.push(...endpoint.inbox.splice(index, 1))
    }
    this.layOut(taken)
    const { handle } = endpoint
    if (random.chance(0.3)) {
      this.ingestInSteps(endpoint, taken.length)
      return
    }
    if (this.number('ingest', handle, this.now, taken.length) === taken.length) return
    this.events(endpoint)
    while (this.number('ingestMore', handle, this.now) < taken.length) this.events(endpoint)
  }

  /** As a host that does jobs itself. */
  private ingestInSteps(endpoint: Endpoint, count: number): void {
    const { handle } = endpoint
    this.call('ingestBegin', handle, count, this.random.below(2))
    while (this.number('ingestTaken', handle) < count) {
      while (this.number('ingestJobs', handle, this.now) > 0) {
        if (this.random.chance(0.05)) this.endConnection()
        this.call('ingestApply', handle, this.now)
      }
      this.events(endpoint)
    }
  }

  /** Descriptors as a tier makes them: one per datagram, or one for a run of equal ones. */
  private layOut(datagrams: readonly Waiting[]): void {
    this.call('settle')
    let at = RX_ARENA
    for (const [index, { bytes, fromPort }] of datagrams.entries()) {
      this.lockstep.write(bytes, at)
      this.describe(index, at, bytes.length, 0, fromPort)
      at = (at + bytes.length + 15) & ~15
    }
  }

  private describe(index: number, start: number, length: number, segment: number, port: number) {
    const words = new Int32Array(DESC_SIZE >> 2)
    words[DESC_POINTER >> 2] = start
    words[DESC_LENGTH >> 2] = length
    words[DESC_SEGMENT >> 2] = segment
    words.set(addressWords(port), DESC_ADDRESS >> 2)
    this.lockstep.writeWords(words, RX_DESC + index * DESC_SIZE)
  }

  // ── Hosts ──────────────────────────────────────────────────────────────────────────────────────

  private events(endpoint: Endpoint): void {
    const { random } = this
    const count = this.number('events', endpoint.handle)
    const { i32 } = this.lockstep.reference
    const events = Array.from({ length: count }, (_, index) => {
      const at = (EVENTS + index * EVENT_SIZE) >> 2
      return i32.slice(at, at + (EVENT_SIZE >> 2))
    })
    for (const event of events) {
      // Hosts forget some.
      if (random.chance(0.03)) continue
      const bits = event[EVENT_BITS >> 2] as number
      const handle = event[EVENT_HANDLE >> 2] as number
      const isNew = event[EVENT_TAG >> 2] === -1
      if (event[EVENT_KIND >> 2] === KIND_CONNECTION) this.connectionEvent(handle, bits, isNew)
      else if (isNew && (bits & STREAM_OPENED) !== 0) this.newStream(handle)
    }
  }

  private connectionEvent(handle: number, bits: number, isNew: boolean): void {
    const { random } = this
    if ((bits & CONNECTION_CLOSED) !== 0) {
      this.call('connectionRelease', handle)
      if (random.chance(0.8)) this.forget(this.connections, handle)
      return
    }
    if ((bits & CONNECTION_HANDSHAKE) === 0 || random.chance(0.03)) return
    this.call('connectionMessage', handle)
    // Both sides read the cipher off the message, and whether there is a third one.
    const { u8 } = this.lockstep.reference
    const cipher = (u8[SCRATCH] as number) & 1
    const hasThird = ((u8[SCRATCH + 1] as number) & 1) !== 0
    if (!isNew) {
      if (this.isInitiator(handle)) this.establish(handle, cipher, hasThird)
      else this.protect(handle, cipher, RESPONDER)
      return
    }
    this.call('setTag', handle, random.below(1000))
    this.remember(this.connections, handle)
    this.initiated.delete(handle)
    this.drawMessage()
    this.lockstep.write(Uint8Array.of(cipher, hasThird ? 1 : 0), SCRATCH)
    this.drawPeer()
    const packetBytes = random.pick([1200, 1200, 548, 9000, 65_507])
    const values = [random.u32() | 0, random.u32() | 0, packetBytes, 200]
    if (this.call('connectionAnswer', handle, ...values) === 0 || random.chance(0.02)) {
      this.call('connectionRefuse', handle, random.below(20))
    } else if (!hasThird) this.protect(handle, cipher, RESPONDER)
  }

  private isInitiator(handle: number): boolean {
    return this.initiated.has(handle)
  }

  private establish(handle: number, cipher: number, hasThird: boolean): void {
    this.protect(handle, cipher, INITIATOR)
    this.lockstep.write(this.drawBytes(200), SCRATCH)
    this.lockstep.write(Uint8Array.of(cipher), SCRATCH)
    this.drawPeer()
    this.call('connectionEstablish', handle, this.now, hasThird ? 200 : 0)
  }

  /** The links are no secret here; one in fifty is wrong. */
  private protect(handle: number, cipher: number, side: number): void {
    const links = new Uint8Array(64).fill(1 + side, 0, 32).fill(2 - side, 32)
    if (this.random.chance(0.02)) links[0] = 99
    this.lockstep.write(links, SCRATCH)
    this.call('connectionProtect', handle, this.now, cipher)
  }

  private newStream(handle: number): void {
    const { random } = this
    this.call('setTag', handle, random.below(1000))
    if (random.chance(0.1)) this.call('streamRefuse', handle, random.below(70_000))
    else {
      this.remember(this.streams, handle)
      this.call('streamAccept', handle)
    }
  }

  private connect(): void {
    const { random } = this
    // Now and then many at once, more than one network may have under load.
    if (random.chance(0.02)) {
      const [from, to] = [random.pick(this.endpoints), random.pick(this.endpoints)]
      for (let count = 12; count > 0; count -= 1) this.connectTo(from, to)
      this.pump()
      return
    }
    if (this.connections.length > 8 && random.chance(0.9)) return
    this.connectTo(random.pick(this.endpoints), random.pick(this.endpoints))
  }

  private connectTo(endpoint: Endpoint, to: Endpoint): void {
    const { random } = this
    this.lockstep.writeWords(addressWords(to.port), PARAMS_ADDRESS)
    const length = this.drawMessage()
    this.setParam(0, random.chance(0.8) ? 0 : random.pick(FLOATS))
    const draw = () => random.u32() | 0
    const packetBytes = random.pick([1200, 1200, 1200, 548, 9000, 65_507])
    const handle = this.number(
      'connectionOpen',
      ...[endpoint.handle, this.now, random.below(3), packetBytes],
      ...[draw(), draw(), draw(), draw(), length],
    )
    if (handle === 0) return
    this.call('setTag', handle, random.below(1000))
    this.remember(this.connections, handle)
    this.initiated.add(handle)
    for (let count = random.below(4); count > 0; count -= 1) this.openStream(handle)
  }

  private openStream(connection: number): void {
    const handle = this.number('streamOpen', connection, this.random.below(65_536))
    if (handle === 0) {
      // It is over, most likely; some are kept, to be used when they are gone.
      if (this.random.chance(0.3)) this.forget(this.connections, connection)
      return
    }
    this.call('setTag', handle, this.random.below(1000))
    this.remember(this.streams, handle)
  }

  private endConnection(): void {
    const { random } = this
    if (this.connections.length === 0) return
    const handle = random.pick(this.connections)
    const kind = random.below(4)
    if (kind === 0) this.call('connectionClose', handle, this.now, random.below(20))
    else if (kind === 1) this.call('connectionRelease', handle)
    else if (kind === 2) {
      this.call('connectionKeepAlive', handle, random.below(60e6))
      this.call('connectionPacketMax', handle, random.between(1200, 65_507))
    } else this.call('connectionFigures', handle)
  }

  /** A NAT forgets what it knew, or a socket is replaced. */
  private rebind(): void {
    const { random } = this
    const endpoint = random.pick(this.endpoints)
    if (random.chance(0.3)) endpoint.alias = endpoint.alias === 0 ? ALIASES : 0
    if (this.connections.length === 0) return
    this.call('connectionSocket', random.pick(this.connections), this.now, random.below(3))
  }

  private useStream(): void {
    const { random } = this
    if (this.streams.length === 0 || random.chance(0.08)) {
      if (this.connections.length > 0) this.openStream(random.pick(this.connections))
      return
    }
    const handle = random.pick(this.streams)
    const kind = random.below(100)
    if (this.number('streamNumber', handle) === -1 && random.chance(0.9)) {
      this.forget(this.streams, handle)
    } else if (kind < 50) this.writeStream(handle)
    else if (kind < 86) this.readStream(handle)
    else if (kind < 90) this.call('streamFinish', handle)
    else if (kind < 93) this.call('streamRelease', handle)
    else if (kind < 95) this.call('streamAbort', handle, random.below(70_000))
    else if (kind < 97) this.call('streamEnded', handle)
    else if (kind < 98) this.call('streamReadable', handle)
    else this.call('streamNumber', handle)
  }

  private writeStream(handle: number): void {
    const { random } = this
    let left = random.pick([1, 10, 100, 1000, 5000, 40_000])
    while (left > 0) {
      const room = this.number('streamReserve', handle, left)
      if (room === 0) return
      const size = random.chance(0.95) ? room : random.between(0, room)
      this.lockstep.write(this.drawBytes(size), this.lockstep.reference.param(0))
      this.call('streamCommit', handle, size)
      left -= room
    }
  }

  private readStream(handle: number): void {
    const { random } = this
    for (let rounds = random.between(1, 30); rounds > 0; rounds -= 1) {
      const size = this.number('streamPeek', handle)
      if (size === 0) return
      this.call('streamConsume', handle, random.chance(0.9) ? size : random.between(0, size))
    }
  }

  /** From no time at all to hours, mostly to the next deadline; then what is due runs. */
  private passTime(): void {
    const { random } = this
    const endpoint = random.pick(this.endpoints)
    const next = this.number('nextTimeout', endpoint.handle)
    const kind = random.below(20)
    const far = this.mood.isSlow ? 3600e6 : 3e6
    if (kind < 9 && next > this.now && next < this.now + far) this.now = Math.ceil(next)
    else if (kind < 12) this.now += random.below(1000)
    else if (kind < 16) this.now += random.below(100_000)
    else if (kind < 18 || !this.mood.isSlow) this.now += random.below(500_000)
    else this.now += random.below(kind === 18 ? 60 : 3 * 3600) * 1e6
    const isHere = ({ at }: Late) => at <= this.now
    for (const each of this.late.filter(isHere)) each.to.inbox.push(each)
    this.late = this.late.filter((each) => !isHere(each))
    for (const each of this.endpoints) this.call('timeout', each.handle, this.now)
    if (random.chance(0.7)) this.pump()
  }

  private look(): void {
    const { random } = this
    const endpoint = random.pick(this.endpoints)
    this.call('endpointGauges', endpoint.handle)
    this.call('endpointCounters', endpoint.handle)
    this.call('endpointListen', endpoint.handle, random.chance(0.9) ? 1 : 0)
    if (this.connections.length > 0) this.call('connectionAddress', random.pick(this.connections))
    const at = RX_ARENA + random.below(2000)
    this.call('crc32c', at, random.below(3000))
    this.call('crc32cUpdate', random.u32() | 0, at, random.below(3000))
    const size = random.below(300)
    this.call('aeadSeal', SCRATCH, SCRATCH + 32, SCRATCH + 64, 14, at, size)
    if (random.chance(0.5)) this.lockstep.write(this.drawBytes(1), at + random.below(size + 16))
    this.call('aeadOpen', SCRATCH, SCRATCH + 32, SCRATCH + 64, 14, at, size)
  }

  // ── Endpoints ──────────────────────────────────────────────────────────────────────────────────

  private createEndpoint(isUsable: boolean): void {
    const { random } = this
    for (let index = 0; index < CONFIG_COUNT; index += 1) this.setParam(index, random.pick(FLOATS))
    if (isUsable) {
      const usable = [
        [65_536, 262_144, 1 << 20, 4 << 20],
        [1, 4, 100],
        [1, 4, 100],
        [1, 3, 10, 1000],
        [548, 1200, 1200, 1472, 9000, 65_507],
        [4096, 65_536, 262_144],
        [4096, 65_536, 524_288],
        [5e6, 30e6],
        [10e6, 30e6],
        [0, 1e6, 10e6],
        [0, 10_000, 25_000],
        [4096, 65_536, 1 << 20],
      ]
      for (const [index, values] of usable.entries()) this.setParam(index, random.pick(values))
      this.setParam(CONFIG_LISTENING, 1)
      this.setParam(CONFIG_EMPTY_TIMEOUT, random.pick([1e6, 15e6]))
    }
    const config = (index: number) => this.lockstep.reference.param(index)
    const parameters = [
      config(CONFIG_STREAM_WINDOW),
      config(CONFIG_CONNECTION_WINDOW),
      config(CONFIG_STREAMS_MAX),
      config(CONFIG_PACKET_BYTES_MAX),
      config(CONFIG_ACK_DELAY),
      config(CONFIG_BURST_BYTES),
      config(CONFIG_IDLE_TIMEOUT),
    ]
    this.lockstep.write(this.drawBytes(32), SCRATCH)
    const handle = this.number('endpointCreate', this.now)
    if (handle === 0) return
    this.call('endpointMark', handle, random.below(2))
    this.call('endpointOffload', handle, random.below(2))
    this.endpoints.push({ handle, parameters, port: this.nextPort, alias: 0, inbox: [] })
    this.nextPort = (this.nextPort % (ALIASES - 1)) + 1
  }

  private replaceEndpoint(): void {
    const { random } = this
    if (random.chance(0.9)) return
    if (this.endpoints.length < ENDPOINTS_MAX || random.chance(0.3)) {
      this.createEndpoint(random.chance(0.7))
    }
    if (this.endpoints.length <= 2) return
    const [gone] = this.endpoints.splice(random.below(this.endpoints.length), 1)
    if (gone !== undefined) this.destroyEndpoint(gone)
  }

  private destroyEndpoint({ handle }: Endpoint): void {
    const start = this.number('endpointCounters', handle)
    for (let index = 0; start !== 0 && index < COUNTERS; index += 1) {
      const value = this.lockstep.reference.f64[(start >> 3) + index] as number
      this.counters[index] = (this.counters[index] ?? 0) + value
    }
    this.call('endpointDestroy', handle)
  }

  // ── Hostile hosts ──────────────────────────────────────────────────────────────────────────────

  private hostileStep(): void {
    const { random } = this
    const kind = random.below(10)
    if (kind < 3) this.hostileDescriptors()
    else if (kind < 8) {
      const [name, numbers] = random.pick(HANDLE_CALLS)
      if (name === 'connectionAnswer') this.drawPeer()
      const values = Array.from({ length: numbers }, () => this.drawNumber())
      this.call(name, this.drawHandle(), ...values)
    } else if (kind === 8) this.hostileTimes()
    else this.hostileRest()
  }

  /** Runs outside the arena, negative, overlapping, of lying segments, more than there are. */
  private hostileDescriptors(): void {
    const { random } = this
    const endpoint = random.pick(this.endpoints)
    const count = random.between(1, 6)
    this.lockstep.write(this.drawBytes(random.below(3000)), RX_ARENA + random.below(4000))
    for (let index = 0; index < count; index += 1) {
      const datagram = endpoint.inbox.shift()?.bytes ?? new Uint8Array(0)
      const usual = RX_ARENA + random.below(3000)
      this.lockstep.write(datagram, usual)
      const start = random.chance(0.6)
        ? usual
        : random.pick([0, -1, RX_ARENA - 1, RX_ARENA + RX_ARENA_SIZE, RX_ARENA + RX_ARENA_SIZE - 1])
      const length = random.chance(0.6)
        ? datagram.length + random.below(200)
        : random.pick([0, -1, 1, 5000, RX_ARENA_SIZE + 1, 2 ** 31 - 1, -(2 ** 31)])
      const segment = random.chance(0.5)
        ? 0
        : random.pick([-1, 100, 548, 1200, 65_507, 2 ** 31 - 1, -(2 ** 31)])
      this.describe(index, start, length, segment, random.pick(this.endpoints).port)
    }
    // What lies in the descriptors behind these is left over from earlier calls.
    const taken = random.chance(0.9) ? count : random.pick([0, -1, 50, DESC_COUNT + 1, 2 ** 31 - 1])
    this.call('ingest', this.maybe(endpoint.handle), this.now, taken)
  }

  /** Calls that are given the time: with handles that are wrong. */
  private hostileTimes(): void {
    const { random } = this
    const kind = random.below(10)
    const handle = this.drawHandle()
    if (kind === 0) this.call('flush', handle, this.now)
    else if (kind === 1) this.call('timeout', handle, this.now)
    else if (kind === 2) this.call('connectionEstablish', handle, this.now, this.drawNumber())
    else if (kind === 3) this.call('connectionClose', handle, this.now, this.drawNumber())
    else if (kind === 4) this.call('connectionKeepAlive', handle, random.pick(FLOATS))
    else if (kind === 5) this.call('ingestJobs', handle, this.now)
    else if (kind === 6) this.call('ingestApply', handle, this.now)
    else if (kind === 7) this.call('ingestMore', handle, this.now)
    else if (kind === 8) this.call('connectionProtect', handle, this.now, random.below(3))
    else if (random.chance(0.5)) this.call('connectionSocket', handle, this.now, this.drawNumber())
    else {
      const numbers = Array.from({ length: 7 }, () => this.drawNumber())
      const opened = this.number('connectionOpen', handle, this.now, ...numbers)
      if (opened !== 0) this.remember(this.connections, opened)
    }
  }

  private hostileRest(): void {
    const { random } = this
    const kind = random.below(5)
    if (kind === 0) this.call('instanceInit', random.pick([0, -1, 0x3fffff, 0x40000001]))
    else if (kind === 1) {
      const start = random.pick([RX_ARENA, 0x7ffffff0, -1, -(2 ** 31), 0x3ffff0])
      this.call('crc32c', start, random.pick([0, -1, 1, 17, 3000, -(2 ** 31)]))
    } else if (kind === 2) this.call('crc32cUpdate', 0, random.pick([-16, 0x7fffffff]), 100)
    else if (kind === 3) this.call('crc32cInit')
    else if (random.chance(0.05)) {
      const handle = this.drawHandle()
      if (!this.endpoints.some((endpoint) => endpoint.handle === handle)) {
        this.call('endpointDestroy', handle)
      }
    }
  }

  // ── Drawing ────────────────────────────────────────────────────────────────────────────────────

  private drawMood(step: number): Mood {
    const random = this.random
    // Endpoints that never hear of each other get nowhere: most of the time all is well.
    const isBad = step > 0 && random.chance(0.4)
    return {
      lossRate: isBad ? random.pick([0, 0.1, 0.5, 1]) : 0.01,
      bytesMax: random.pick([1472, 65_507, 65_507, 65_507, isBad ? 548 : 65_507]),
      duplicateRate: isBad ? random.pick([0, 0.3]) : 0.01,
      mutateRate: isBad ? random.pick([0.01, 0.05, 0.5]) : 0.001,
      reorderRate: isBad ? random.pick([0.1, 0.7]) : 0.03,
      hostileRate: random.pick([0.01, 0.05, 0.3]),
      isSlow: random.chance(0.2),
    }
  }

  /** A handle of the right kind, of another, of something that is gone, or none at all. */
  private drawHandle(): number {
    const { random } = this
    const kind = random.below(8)
    if (kind < 2 && this.connections.length > 0) return random.pick(this.connections)
    if (kind < 5 && this.streams.length > 0) return random.pick(this.streams)
    if (kind === 5) return random.pick(this.endpoints).handle
    return this.maybe(random.chance(0.5) ? random.u32() | 0 : random.pick(GARBAGE))
  }

  private maybe(handle: number): number {
    return this.random.chance(0.8) ? handle : handle + this.random.pick([1, 4, 16, 32, -32, 4096])
  }

  private drawNumber(): number {
    const { random } = this
    return random.chance(0.5) ? random.pick(NUMBERS) : random.u32() | 0
  }

  private drawPeer(): void {
    const { random } = this
    const isHonest = random.chance(0.9)
    for (let index = 0; index < PEER_COUNT; index += 1) {
      // Whoever the peer is: what holds for every endpoint.
      const values = this.endpoints.map(({ parameters }) => parameters[index] ?? 0)
      this.setParam(index, isHonest ? Math.min(...values) : random.pick([...FLOATS, ...values]))
    }
  }

  private drawMessage(): number {
    const { random } = this
    const length = random.chance(0.95)
      ? random.between(1, 200)
      : random.pick([0, -1, 1100, 1101, 4096, 2 ** 31 - 1])
    this.lockstep.write(this.drawBytes(200), SCRATCH)
    return length
  }

  private drawBytes(size: number): Uint8Array {
    const bytes = new Uint8Array(size)
    let state = this.random.u32()
    for (let index = 0; index < size; index += 1) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      bytes[index] = state >>> 24
    }
    return bytes
  }

  private remember(handles: number[], handle: number): void {
    handles.push(handle)
    // The oldest are gone most likely; some are kept for ever, to be used again when they should not.
    if (handles.length > HANDLES_MAX) handles.splice(this.random.between(10, HANDLES_MAX - 1), 1)
  }

  private forget(handles: number[], handle: number): void {
    const index = handles.indexOf(handle)
    if (index >= 0) handles.splice(index, 1)
  }

  private setParam(index: number, value: number): void {
    this.lockstep.setParam(index, value)
  }

  private call(name: string, ...values: number[]): number | typeof TRAPPED {
    return this.lockstep.call(name, ...values)
  }

  /** As `call`, for those that return. */
  private number(name: string, ...values: number[]): number {
    const result = this.call(name, ...values)
    if (result === TRAPPED) throw new Error(`${name}(${values.join(', ')}) trapped`)
    return result
  }
}
