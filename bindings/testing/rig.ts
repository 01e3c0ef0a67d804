/**
 * Endpoints of one core that talk to each other in memory, without the layers above: for tests that
 * want to see every event, every datagram and every byte of memory. Time is virtual.
 */
import {
  CIPHER_NONE,
  CODE_HANDSHAKE,
  CODE_REFUSED,
  CONFIG_ACK_DELAY,
  CONFIG_BURST_BYTES,
  CONFIG_CONNECT_TIMEOUT,
  CONFIG_CONNECTION_WINDOW,
  CONFIG_CONNECTIONS_MAX,
  CONFIG_EMPTY_TIMEOUT,
  CONFIG_HALF_OPEN_MAX,
  CONFIG_IDLE_TIMEOUT,
  CONFIG_KEEP_ALIVE,
  CONFIG_LISTENING,
  CONFIG_MEMORY_BYTES,
  CONFIG_PACKET_BYTES_MAX,
  CONFIG_SEED_HIGH,
  CONFIG_SEED_LOW,
  CONFIG_STREAM_WINDOW,
  CONFIG_STREAMS_MAX,
  CONNECTION_CLOSED,
  CONNECTION_CONFIRMED,
  CONNECTION_HANDSHAKE,
  type Core,
  DESC_ADDRESS,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_PORT,
  DESC_SEGMENT,
  EVENT_BITS,
  EVENT_CODE,
  EVENT_HANDLE,
  EVENT_KIND,
  EVENT_PARENT,
  EVENT_SIZE,
  EVENT_TAG,
  EVENTS,
  GAUGE_CONNECTIONS,
  GAUGE_HALF_OPEN,
  GAUGE_MEMORY_MAX,
  GAUGE_MEMORY_USED,
  GAUGE_STREAMS,
  type Handle,
  KIND_CONNECTION,
  PARAMS_ADDRESS,
  PEER_ACK_DELAY,
  PEER_BURST_BYTES,
  PEER_CONNECTION_WINDOW,
  PEER_IDLE_TIMEOUT,
  PEER_PACKET_BYTES_MAX,
  PEER_STREAM_WINDOW,
  PEER_STREAMS_MAX,
  STREAM_ACCEPTED,
  STREAM_FINISHED,
  STREAM_OPENED,
  STREAM_READABLE,
  STREAM_REFUSED,
  STREAM_RESET,
  STREAM_STOPPED,
  STREAM_WRITABLE,
} from '../core.ts'

/** Times are microseconds, sizes bytes. */
export interface RigOptions {
  readonly memoryBytes?: number
  readonly connectionsMax?: number
  readonly halfOpenMax?: number
  readonly streamsMax?: number
  readonly packetBytesMax?: number
  readonly streamWindow?: number
  readonly connectionWindow?: number
  readonly connectTimeout?: number
  readonly idleTimeout?: number
  readonly keepAlive?: number
  readonly ackDelay?: number
  readonly burstBytes?: number
  readonly emptyTimeout?: number
  /** CIPHER_…; the links are the same for all connections of a rig. */
  readonly cipher?: number
}

const DEFAULTS: Required<RigOptions> = {
  memoryBytes: 8 * 1024 * 1024,
  connectionsMax: 10_000,
  halfOpenMax: 1_000,
  streamsMax: 10_000,
  packetBytesMax: 1_200,
  streamWindow: 256 * 1024,
  connectionWindow: 512 * 1024,
  connectTimeout: 30e6,
  idleTimeout: 30e6,
  keepAlive: 10e6,
  ackDelay: 10_000,
  burstBytes: 131_072,
  emptyTimeout: 15e6,
  cipher: CIPHER_NONE,
}

export interface Datagram {
  readonly from: number
  /** Number of the peer it goes to: its port. */
  readonly to: number
  readonly bytes: Uint8Array
}

/** What the network does with a datagram: the delays of the copies that arrive; none: it is lost. */
export type Network = (datagram: Datagram) => readonly number[]

interface Flight extends Datagram {
  readonly at: number
  readonly order: number
}

/** Ends a test that would never end: a driver that is asked to run again at the same instant. */
const ROUNDS_MAX = 10_000

export class Rig {
  readonly core: Core
  readonly peers: Peer[] = []
  now = 1_000_000
  /** Default: everything arrives at once. */
  network: Network = () => [0]
  private flights: Flight[] = []
  private sentCount = 0
  private seed = 1

  constructor(core: Core) {
    this.core = core
  }

  /** An endpoint that listens. */
  peer(options: RigOptions = {}): Peer {
    const peer = new Peer(this, this.peers.length + 1, { ...DEFAULTS, ...options })
    this.peers.push(peer)
    return peer
  }

  /** Any numbers that differ. */
  draw(): number {
    this.seed = (Math.imul(this.seed, 0x5bd1e995) + 0x3c6ef372) | 0
    return this.seed
  }

  /** Datagrams on their way. */
  get flightCount(): number {
    return this.flights.length
  }

  send(datagram: Datagram): void {
    for (const delay of this.network(datagram)) {
      this.sentCount += 1
      this.flights.push({ ...datagram, at: this.now + delay, order: this.sentCount })
    }
  }

  /** Runs until nothing happens any more at this instant. */
  settle(): void {
    for (let round = 0; this.step(); round += 1) {
      if (round > ROUNDS_MAX) throw new Error('the endpoints are never quiet')
    }
  }

  /**
   * Runs until `isDone`, for `micros` at most; answers whether it was. Time jumps from one event to
   * the next.
   */
  run(isDone: () => boolean, micros = 60e6): boolean {
    const until = this.now + micros
    for (;;) {
      this.settle()
      if (isDone()) return true
      const next = this.nextEvent()
      if (!(next <= until)) break
      this.now = next
    }
    this.now = until
    this.settle()
    return isDone()
  }

  runFor(micros: number): void {
    this.run(() => false, micros)
  }

  /** Frees all endpoints. */
  close(): void {
    for (const peer of this.peers) peer.destroy()
  }

  private nextEvent(): number {
    const arrivals = this.flights.map(({ at }) => at)
    const timeouts = this.peers.map(({ endpoint }) => this.core.exports.nextTimeout(endpoint))
    return Math.ceil(Math.min(...arrivals, ...timeouts))
  }

  /** One round of the driver for every peer; whether anything happened. */
  private step(): boolean {
    const arrived = this.flights.filter(({ at }) => at <= this.now)
    this.flights = this.flights.filter(({ at }) => at > this.now)
    arrived.sort((a, b) => a.at - b.at || a.order - b.order)
    let isBusy = arrived.length > 0
    for (const peer of this.peers) {
      peer.ingest(arrived.filter(({ to }) => to === peer.port))
      if (peer.timeout()) isBusy = true
    }
    for (const peer of this.peers) if (peer.flush()) isBusy = true
    return isBusy
  }
}

/** A connection as the host sees it. */
export interface RigConnection {
  readonly handle: Handle
  readonly tag: number
  readonly isInitiator: boolean
  isOpen: boolean
  closedCode: number | undefined
}

/** A stream as the host sees it, with everything it was told. */
export interface RigStream {
  readonly handle: Handle
  readonly tag: number
  readonly connection: RigConnection
  readonly isLocal: boolean
  isAccepted: boolean
  /** How often the host was told so. */
  finishedCount: number
  writableCount: number
  resetCount: number
  stoppedCount: number
  refusedCount: number
  code: number
  isReleased: boolean
}

/** An endpoint with a host that answers every handshake. */
export class Peer {
  readonly rig: Rig
  readonly port: number
  readonly options: Required<RigOptions>
  endpoint: Handle
  readonly connections = new Map<number, RigConnection>()
  readonly streams = new Map<number, RigStream>()
  /** What becomes of streams that a peer opens. */
  policy: 'accept' | 'refuse' | 'ignore' = 'accept'
  /** Every stream, as soon as it can be read. */
  onReadable: (stream: RigStream) => void = () => {}
  /** A connection is over; its streams are released after this call. */
  onClosed: (connection: RigConnection) => void = () => {}
  onWritable: (stream: RigStream) => void = () => {}
  onStream: (stream: RigStream) => void = () => {}
  onFinished: (stream: RigStream) => void = () => {}
  /** Datagrams sent so far. */
  sentCount = 0
  private nextTag = 1

  constructor(rig: Rig, port: number, options: Required<RigOptions>) {
    this.rig = rig
    this.port = port
    this.options = options
    const { core } = rig
    core.setParam(CONFIG_MEMORY_BYTES, options.memoryBytes)
    core.setParam(CONFIG_CONNECTIONS_MAX, options.connectionsMax)
    core.setParam(CONFIG_HALF_OPEN_MAX, options.halfOpenMax)
    core.setParam(CONFIG_STREAMS_MAX, options.streamsMax)
    core.setParam(CONFIG_PACKET_BYTES_MAX, options.packetBytesMax)
    core.setParam(CONFIG_STREAM_WINDOW, options.streamWindow)
    core.setParam(CONFIG_CONNECTION_WINDOW, options.connectionWindow)
    core.setParam(CONFIG_CONNECT_TIMEOUT, options.connectTimeout)
    core.setParam(CONFIG_IDLE_TIMEOUT, options.idleTimeout)
    core.setParam(CONFIG_KEEP_ALIVE, options.keepAlive)
    core.setParam(CONFIG_ACK_DELAY, options.ackDelay)
    core.setParam(CONFIG_BURST_BYTES, options.burstBytes)
    core.setParam(CONFIG_EMPTY_TIMEOUT, options.emptyTimeout)
    core.setParam(CONFIG_LISTENING, 1)
    core.setParam(CONFIG_SEED_LOW, rig.draw() >>> 1)
    core.setParam(CONFIG_SEED_HIGH, rig.draw() >>> 1)
    core.setScratch(Uint8Array.from({ length: 32 }, () => rig.draw()))
    this.endpoint = core.exports.endpointCreate(rig.now)
    if (this.endpoint === 0) throw new Error('no memory for another endpoint')
  }

  // ── The driver ─────────────────────────────────────────────────────────────────────────────────

  ingest(datagrams: readonly Datagram[]): void {
    const { core } = this.rig
    for (const { from, bytes } of datagrams) {
      if (!core.receive(bytes, 0, addressWords(from))) {
        this.take()
        core.receive(bytes, 0, addressWords(from))
      }
    }
    if (core.receivedCount > 0) this.take()
  }

  private take(): void {
    const { core, now } = this.rig
    const count = core.receivedCount
    // What is large stays in the arena until it is written to again.
    core.exports.ingestBegin(this.endpoint, count, 1)
    let taken = core.exports.ingestMore(this.endpoint, now)
    this.handleEvents()
    while (taken < count) {
      taken = core.exports.ingestMore(this.endpoint, now)
      this.handleEvents()
    }
    core.receivedDone()
  }

  /** Runs what is due; whether anything was. */
  timeout(): boolean {
    const { core, now } = this.rig
    if (core.exports.nextTimeout(this.endpoint) > now) return false
    core.exports.timeout(this.endpoint, now)
    this.handleEvents()
    return true
  }

  /** Sends what is due; whether anything was. */
  flush(): boolean {
    let isBusy = false
    for (;;) {
      const datagrams = this.collect()
      if (datagrams.length === 0) return isBusy
      isBusy = true
      for (const datagram of datagrams) this.rig.send(datagram)
    }
  }

  /** Datagrams of one flush. */
  collect(): Datagram[] {
    const { core, now } = this.rig
    const count = core.exports.flush(this.endpoint, now)
    const datagrams: Datagram[] = []
    for (let index = 0; index < count; index += 1) {
      const words = core.sendDescriptor(index)
      const start = core.i32[words + (DESC_POINTER >> 2)] as number
      const length = core.i32[words + (DESC_LENGTH >> 2)] as number
      const segment = core.i32[words + (DESC_SEGMENT >> 2)] as number
      const to = (core.i32[words + (DESC_PORT >> 2)] as number) & 0xffff
      const size = segment === 0 ? length : segment
      for (let at = start; at < start + length; at += size) {
        const bytes = core.u8.slice(at, Math.min(at + size, start + length))
        datagrams.push({ from: this.port, to, bytes })
      }
    }
    this.sentCount += datagrams.length
    return datagrams
  }

  // ── Connections ────────────────────────────────────────────────────────────────────────────────

  connect(to: Peer): RigConnection {
    const { core, now } = this.rig
    core.setScratch(Uint8Array.of(1, 2, 3))
    core.i32.set(addressWords(to.port), PARAMS_ADDRESS >> 2)
    core.setParam(0, 0)
    const draw = () => this.rig.draw()
    const handle = core.exports.connectionOpen(
      this.endpoint,
      now,
      0,
      this.options.packetBytesMax,
      draw(),
      draw(),
      draw(),
      draw(),
      3,
    )
    if (handle === 0) throw new Error('the endpoint takes no more connections')
    return this.rememberConnection(handle, true)
  }

  /** The connection that a peer has opened last and not closed. */
  lastConnection(): RigConnection {
    const connection = [...this.connections.values()].at(-1)
    if (connection === undefined) throw new Error('there is no connection')
    return connection
  }

  close(connection: RigConnection, code = 1): void {
    this.rig.core.exports.connectionClose(connection.handle, this.rig.now, code)
    this.forgetConnection(connection, code)
  }

  destroy(): void {
    if (this.endpoint === 0) return
    this.rig.core.exports.endpointDestroy(this.endpoint)
    this.endpoint = 0
    this.connections.clear()
    this.streams.clear()
  }

  // ── Streams ────────────────────────────────────────────────────────────────────────────────────

  open(connection: RigConnection, port = 0): RigStream {
    const handle = this.rig.core.exports.streamOpen(connection.handle, port)
    if (handle === 0) throw new Error('the connection takes no more streams')
    return this.rememberStream(handle, connection, true)
  }

  /** Writes what fits; answers how many bytes. */
  write(stream: RigStream, bytes: Uint8Array): number {
    const { core } = this.rig
    let done = 0
    while (done < bytes.length) {
      const room = core.exports.streamReserve(stream.handle, bytes.length - done)
      if (room === 0) break
      core.u8.set(bytes.subarray(done, done + room), core.param(0))
      core.exports.streamCommit(stream.handle, room)
      done += room
    }
    return done
  }

  read(stream: RigStream, sizeMax = Number.POSITIVE_INFINITY): Uint8Array {
    const { core } = this.rig
    const pieces: Uint8Array[] = []
    let left = sizeMax
    for (;;) {
      const size = Math.min(core.exports.streamPeek(stream.handle), left)
      if (size === 0) return Buffer.concat(pieces)
      const start = core.param(0)
      pieces.push(core.u8.slice(start, start + size))
      core.exports.streamConsume(stream.handle, size)
      left -= size
    }
  }

  ended(stream: RigStream): boolean {
    return this.rig.core.exports.streamEnded(stream.handle) !== 0
  }

  finish(stream: RigStream): void {
    this.rig.core.exports.streamFinish(stream.handle)
  }

  abort(stream: RigStream, code = 12): void {
    this.rig.core.exports.streamAbort(stream.handle, code)
  }

  release(stream: RigStream): void {
    if (stream.isReleased) return
    stream.isReleased = true
    this.streams.delete(stream.tag)
    this.rig.core.exports.streamRelease(stream.handle)
  }

  // ── Figures ────────────────────────────────────────────────────────────────────────────────────

  gauges() {
    const { core } = this.rig
    core.exports.endpointGauges(this.endpoint)
    return {
      connections: core.param(GAUGE_CONNECTIONS),
      halfOpen: core.param(GAUGE_HALF_OPEN),
      streams: core.param(GAUGE_STREAMS),
      memoryUsed: core.param(GAUGE_MEMORY_USED),
      memoryMax: core.param(GAUGE_MEMORY_MAX),
    }
  }

  /** A counter, COUNT_…. */
  counter(index: number): number {
    const { core } = this.rig
    return core.f64[(core.exports.endpointCounters(this.endpoint) >> 3) + index] as number
  }

  /** A figure of a connection, FIGURE_…. */
  figure(connection: RigConnection, index: number): number {
    this.rig.core.exports.connectionFigures(connection.handle)
    return this.rig.core.param(index)
  }

  // ── Events ─────────────────────────────────────────────────────────────────────────────────────

  private handleEvents(): void {
    const { core } = this.rig
    for (let count = 1; count > 0; ) {
      count = core.exports.events(this.endpoint)
      const events = Array.from({ length: count }, (_, index) => readEvent(core, index))
      for (const event of events) this.handleEvent(event)
    }
  }

  private handleEvent(event: CoreEvent): void {
    if (event.kind === KIND_CONNECTION) this.handleConnection(event)
    else this.handleStream(event)
  }

  private handleConnection({ bits, handle, tag, code }: CoreEvent): void {
    const { exports: raw } = this.rig.core
    const known = this.connections.get(tag)
    if ((bits & CONNECTION_CLOSED) !== 0) {
      raw.connectionRelease(known?.handle ?? handle)
      if (known === undefined) return
      this.onClosed(known)
      for (const stream of [...this.streams.values()]) {
        if (stream.connection === known) this.release(stream)
      }
      this.forgetConnection(known, code)
      return
    }
    if ((bits & CONNECTION_HANDSHAKE) !== 0) {
      if (known !== undefined) {
        raw.connectionMessage(known.handle)
        this.setPeer()
        this.protect(known.handle, true)
        raw.connectionEstablish(known.handle, this.rig.now, 0)
        known.isOpen = true
        return
      }
      if (tag !== -1) return
      raw.connectionMessage(handle)
      this.setPeer()
      this.rig.core.setScratch(Uint8Array.of(4, 5))
      const draw = () => this.rig.draw()
      const { packetBytesMax } = this.options
      if (raw.connectionAnswer(handle, draw(), draw(), packetBytesMax, 2) === 0) {
        raw.connectionRefuse(handle, CODE_HANDSHAKE)
        return
      }
      this.protect(handle, false)
      this.rememberConnection(handle, false)
      return
    }
    if ((bits & CONNECTION_CONFIRMED) !== 0 && known !== undefined) known.isOpen = true
  }

  /** Keys, and the peer's reset token: it is one of the same core. */
  private protect(handle: Handle, isInitiator: boolean): void {
    const { core, now } = this.rig
    const [own, other] = isInitiator ? [1, 2] : [2, 1]
    core.setScratch(new Uint8Array(64).fill(own, 0, 32).fill(other, 32))
    core.exports.connectionProtect(handle, now, this.options.cipher)
    core.exports.connectionIds(handle)
    const remote = Buffer.from(core.scratch(16)).subarray(8)
    core.exports.connectionAddress(handle)
    const port = (core.i32[(PARAMS_ADDRESS + DESC_PORT - DESC_ADDRESS) >> 2] as number) & 0xffff
    const peer = this.rig.peers[port - 1]
    if (peer === undefined) return
    core.exports.endpointResetToken(peer.endpoint, remote.readInt32LE(0), remote.readInt32LE(4))
    core.exports.connectionPeerToken(handle)
  }

  /** Peers of a rig are configured alike, so each knows what the other would tell it. */
  private setPeer(): void {
    const { core } = this.rig
    const { options } = this
    core.setParam(PEER_STREAM_WINDOW, options.streamWindow)
    core.setParam(PEER_CONNECTION_WINDOW, options.connectionWindow)
    core.setParam(PEER_STREAMS_MAX, options.streamsMax)
    core.setParam(PEER_PACKET_BYTES_MAX, options.packetBytesMax)
    core.setParam(PEER_ACK_DELAY, options.ackDelay)
    core.setParam(PEER_BURST_BYTES, options.burstBytes)
    core.setParam(PEER_IDLE_TIMEOUT, options.idleTimeout)
  }

  private handleStream(event: CoreEvent): void {
    const { exports: raw } = this.rig.core
    const { bits, handle, tag, code, parent } = event
    let stream = this.streams.get(tag)
    if (stream === undefined) {
      const connection = this.connections.get(parent)
      if (tag !== -1 || (bits & STREAM_OPENED) === 0) return
      if (connection === undefined) {
        raw.streamRelease(handle)
        return
      }
      if (this.policy === 'refuse') {
        raw.streamRefuse(handle, CODE_REFUSED)
        return
      }
      stream = this.rememberStream(handle, connection, false)
      if (this.policy === 'accept') {
        raw.streamAccept(handle)
        stream.isAccepted = true
        this.onStream(stream)
      }
    }
    stream.code = code
    if ((bits & STREAM_ACCEPTED) !== 0) stream.isAccepted = true
    if ((bits & STREAM_REFUSED) !== 0) stream.refusedCount += 1
    if ((bits & STREAM_RESET) !== 0) stream.resetCount += 1
    if ((bits & STREAM_STOPPED) !== 0) stream.stoppedCount += 1
    if ((bits & STREAM_FINISHED) !== 0) {
      stream.finishedCount += 1
      this.onFinished(stream)
    }
    if ((bits & (STREAM_READABLE | STREAM_OPENED)) !== 0 && !stream.isReleased) {
      this.onReadable(stream)
    }
    if ((bits & STREAM_WRITABLE) !== 0) {
      stream.writableCount += 1
      if (!stream.isReleased) this.onWritable(stream)
    }
  }

  private tag(handle: Handle): number {
    const tag = this.nextTag
    this.nextTag += 1
    this.rig.core.exports.setTag(handle, tag)
    return tag
  }

  private rememberConnection(handle: Handle, isInitiator: boolean): RigConnection {
    const tag = this.tag(handle)
    const connection = { handle, tag, isInitiator, isOpen: false, closedCode: undefined }
    this.connections.set(tag, connection)
    return connection
  }

  private forgetConnection(connection: RigConnection, code: number): void {
    connection.closedCode = code
    connection.isOpen = false
    this.connections.delete(connection.tag)
    for (const stream of [...this.streams.values()]) {
      if (stream.connection !== connection) continue
      stream.isReleased = true
      this.streams.delete(stream.tag)
    }
  }

  private rememberStream(handle: Handle, connection: RigConnection, isLocal: boolean): RigStream {
    const stream = {
      handle,
      tag: this.tag(handle),
      connection,
      isLocal,
      isAccepted: false,
      finishedCount: 0,
      writableCount: 0,
      resetCount: 0,
      stoppedCount: 0,
      refusedCount: 0,
      code: 0,
      isReleased: false,
    }
    this.streams.set(stream.tag, stream)
    return stream
  }
}

export interface CoreEvent {
  readonly kind: number
  readonly bits: number
  readonly handle: Handle
  readonly tag: number
  readonly code: number
  readonly parent: number
}

/** Event `index` of the table that the last `events` call filled. */
export function readEvent(core: Core, index: number): CoreEvent {
  const at = (EVENTS + index * EVENT_SIZE) >> 2
  const word = (offset: number) => core.i32[at + (offset >> 2)] as number
  return {
    kind: word(EVENT_KIND),
    bits: word(EVENT_BITS),
    handle: word(EVENT_HANDLE),
    tag: word(EVENT_TAG),
    code: word(EVENT_CODE),
    parent: word(EVENT_PARENT),
  }
}

/** 192.0.2.1 with this port, as the six words of a descriptor. */
export function addressWords(port: number): Int32Array {
  const words = new Int32Array(6)
  const bytes = new Uint8Array(words.buffer)
  bytes.set([0xff, 0xff, 192, 0, 2, 1], 10)
  words[(DESC_PORT - DESC_ADDRESS) >> 2] = port
  return words
}

/** Bytes that tell where in a stream they belong. */
export function pattern(seed: number, start: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  for (let index = 0; index < size; index += 1) {
    const at = start + index
    bytes[index] = (at ^ (at >> 8) ^ (at >> 16) ^ seed) & 0xff
  }
  return bytes
}
