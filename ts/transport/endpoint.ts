/**
 * The transport engine of one identity: connections and streams over the core. It is driven: by
 * `ts/io` with real sockets and time, by `ts/sim` with simulated ones.
 */

import {
  CODE_DENIED,
  CODE_ENDPOINT_CLOSED,
  CODE_IDENTITY,
  CODE_IDLE_TIMEOUT,
  CODE_LIMIT,
  CODE_RESET,
  CONFIG_ACK_DELAY,
  CONFIG_BURST_BYTES,
  CONFIG_CONGESTION,
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
  CONNECTION_MOVED,
  CONNECTION_SILENT,
  type Core,
  DESC_ADDRESS,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_PORT,
  DESC_SEGMENT,
  DESC_SOCKET,
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
  PARAMS_SOCKET,
  PEER_ACK_DELAY,
  PEER_BURST_BYTES,
  PEER_CONNECTION_WINDOW,
  PEER_IDLE_TIMEOUT,
  PEER_PACKET_BYTES_MAX,
  PEER_STREAM_WINDOW,
  PEER_STREAMS_MAX,
  RESET_TOKEN_SIZE,
  STREAM_OPENED,
} from '../../bindings/core.ts'
import { PacketTrace } from '../../bindings/trace.ts'
import type { DatagramAddress, DatagramPort, Micros, Random } from '../machine.ts'
import { AddressBook } from './address.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import { COUNTER_NAMES, type EndpointCounters } from './counters.ts'
import type { TransportParameters } from './handshake.ts'
import { NodeKey, type PeerKey } from './identity.ts'
import {
  CONGESTION_CONTROLLERS,
  type EndpointOptions,
  type EndpointOptionsGiven,
  resolveEndpointOptions,
} from './options.ts'
import { Pin, type PinHost, type PinOwner } from './pin.ts'
import { ConnectionQlog, type OpenTrace } from './qlog.ts'
import {
  HandshakeFailure,
  type HandshakeResult,
  type HandshakeSetup,
  type InitiatorDemands,
  InitiatorHandshake,
  type ResponderDemands,
  ResponderHandshake,
  type SecurityMode,
} from './security.ts'
import { Stream } from './stream.ts'

export interface EndpointSetup {
  readonly core: Core
  readonly random: Random
  readonly now: Micros
  readonly options?: EndpointOptionsGiven
  readonly addresses?: AddressBook
  readonly security?: EndpointSecurity
  /**
   * Does what it can of the first `count` jobs in the core's list, faster than the core would; default:
   * the core does them.
   */
  readonly runJobs?: ((count: number) => void) | undefined
  /** How many sockets the driver has for it; their indexes are 0 … socketCount − 1. Default 1. */
  readonly socketCount?: number
  /**
   * Largest packet that may be sent towards an address, as far as the driver knows; asked once for
   * each connection. Default: what is found out by probing.
   */
  readonly packetBytesTo?: ((address: string) => number) | undefined
  /** Whether its sockets send and see the bits of explicit congestion notification. Default false. */
  readonly hasEcn?: boolean
}

/** Who asks to be let in. */
export interface AuthorizeRequest {
  /**
   * It has proven that it holds this key. With `IK` the first message proves that, and somebody may
   * have recorded it earlier: then nothing comes of the connection, because its keys are not known.
   */
  readonly publicKey: PeerKey
  readonly address: DatagramAddress
  /** Name of its ticket; whether it knows the ticket's key shows with its first packet at the latest. */
  readonly ticket: Uint8Array | undefined
}

export interface EndpointSecurity extends Omit<ResponderDemands, 'mode'> {
  /** What peers must do, and what we do unless `connect` says otherwise; default `noise`. */
  readonly mode?: SecurityMode | undefined
  /** Who we are; default: a key that lives as long as the endpoint. */
  readonly nodeKey?: NodeKey
  /** Seconds since 1970, now: without it keys that have expired are taken, too. */
  readonly seconds?: () => number
  /** Whether the driver does AES-128-GCM jobs; default false. */
  readonly hasAes?: boolean
  /**
   * Asked before anything of a peer is accepted; false, or what it throws, refuses it. Default: all.
   * `signal` is aborted when the peer is gone meanwhile.
   */
  readonly authorize?:
    | ((request: AuthorizeRequest, signal: AbortSignal) => boolean | Promise<boolean>)
    | undefined
}

/** A peer's attempt that came to nothing, told by the side that was asked. */
export interface HandshakeReport {
  readonly address: DatagramAddress
  /** CODE_…. */
  readonly code: number
}

/** What an endpoint asks of and tells the program above. */
export interface EndpointOwner {
  /** A peer has a connection to us and has proven its address. */
  connection?(connection: Connection): void
  /**
   * A peer opened a stream: give its owner, or undefined to refuse it. Bytes that came with the
   * opening are told by `readable` after this call.
   */
  stream?(stream: Stream): Stream['owner']
  /** A peer's handshake failed, on its side or on ours. */
  handshakeFailed?(report: HandshakeReport): void
}

export interface ConnectOptions {
  /** Largest packet that the way there is known to carry, bytes. */
  readonly packetBytes?: number | undefined
  /** Until a peer that never answers counts as unreachable; default: the endpoint's. */
  readonly connectTimeoutMs?: number | undefined
  /** Who the peer has to be, and whether packets are protected; default: as the endpoint. */
  readonly security?: Partial<InitiatorDemands> | undefined
}

/** Occupancy against limits. */
export interface EndpointGauges {
  readonly connections: number
  readonly halfOpen: number
  readonly streams: number
  readonly memoryBytes: number
  readonly memoryBytesMax: number
}

export class Endpoint implements DatagramPort {
  readonly options: EndpointOptions
  owner: EndpointOwner = {}
  /** Called when something may have to be sent, or a deadline may have moved. Set by the driver. */
  onWork: () => void = () => {}
  /**
   * What a callback of the program threw. The engine goes on; the driver decides what becomes of it.
   */
  onError: (error: unknown) => void = (error) => {
    throw error
  }
  /** Called when a stream that was released has nothing on its way any more. */
  onSettled: () => void = () => {}
  /** Streams that were released and still have bytes on their way. */
  lingering = 0
  /** Asked for each connection that opens from now on: where its trace goes. */
  openTrace: OpenTrace | undefined
  private readonly traces = new Map<Connection, ConnectionQlog>()
  private isEmptyAwaited = false
  private isListening = false
  private resetSecret: Uint8Array | undefined
  private core: Core
  private readonly random: Random
  private readonly addresses: AddressBook
  private security: EndpointSecurity
  private key: NodeKey | undefined
  private runJobs: ((count: number) => void) | undefined
  private readonly hasEcn: boolean
  private readonly packetBytesTo: ((address: string) => number) | undefined
  private handle: Handle
  private nowMicros: Micros
  private nextTag = 1
  private readonly pins = new Set<Pin>()
  /** Connections that are closed when everything of ours has arrived. */
  private readonly ending = new Set<Connection>()
  private readonly byTag = new Map<number, Connection | Stream>()
  /** Descriptors that the last `flush` filled. */
  private sendCount = 0
  /** Indexes of the sockets that work. */
  private readonly sockets: number[]
  private isHandling = false

  /** @throws RangeError for options out of range, Error when the core has no memory left. */
  constructor(setup: EndpointSetup) {
    this.core = setup.core
    this.random = setup.random
    this.options = resolveEndpointOptions(setup.options)
    this.addresses = setup.addresses ?? new AddressBook()
    this.runJobs = setup.runJobs
    this.packetBytesTo = setup.packetBytesTo
    this.hasEcn = setup.hasEcn ?? false
    this.nowMicros = setup.now
    this.security = setup.security ?? {}
    this.key = this.security.nodeKey
    this.sockets = Array.from({ length: setup.socketCount ?? 1 }, (_, index) => index)
    this.handle = this.create()
    if (this.handle === 0) throw new Error('no memory for another endpoint')
  }

  private create(): Handle {
    const { core, options } = this
    core.setParam(CONFIG_MEMORY_BYTES, options.memoryBytes)
    core.setParam(CONFIG_CONNECTIONS_MAX, options.connectionsMax)
    core.setParam(CONFIG_HALF_OPEN_MAX, options.halfOpenMax)
    core.setParam(CONFIG_STREAMS_MAX, options.streamsMax)
    core.setParam(CONFIG_PACKET_BYTES_MAX, options.packetBytesMax)
    core.setParam(CONFIG_STREAM_WINDOW, options.streamWindowBytes)
    core.setParam(CONFIG_CONNECTION_WINDOW, options.connectionWindowBytes)
    core.setParam(CONFIG_CONNECT_TIMEOUT, options.connectTimeoutMs * 1000)
    core.setParam(CONFIG_IDLE_TIMEOUT, idleMicros(options.idleTimeoutMs))
    core.setParam(CONFIG_KEEP_ALIVE, options.keepAliveMs * 1000)
    core.setParam(CONFIG_EMPTY_TIMEOUT, options.emptyTimeoutMs * 1000)
    core.setParam(CONFIG_ACK_DELAY, options.ackDelayMicros)
    core.setParam(CONFIG_BURST_BYTES, options.burstBytes)
    core.setParam(CONFIG_CONGESTION, CONGESTION_CONTROLLERS.indexOf(options.congestion))
    core.setParam(CONFIG_LISTENING, 0)
    core.setParam(CONFIG_SEED_LOW, this.random.u32() >>> 1)
    core.setParam(CONFIG_SEED_HIGH, this.random.u32() >>> 1)
    // The reset token's secret is the node key's, so that a restarted node can still say it.
    this.resetSecret ??= this.key?.deriveSecret('reset token', 16) ?? this.drawBytes(16)
    core.setScratch(Buffer.concat([this.drawBytes(16), this.resetSecret]))
    const handle = core.exports.endpointCreate(this.nowMicros)
    if (this.runJobs !== undefined) core.exports.endpointOffload(handle, 1)
    if (this.hasEcn) core.exports.endpointMark(handle, 1)
    return handle
  }

  /** The time of the last call of the driver. */
  get now(): Micros {
    return this.nowMicros
  }

  get isClosed(): boolean {
    return this.handle === 0
  }

  /** Who this endpoint is. */
  get nodeKey(): NodeKey {
    this.key ??= NodeKey.generate(this.random)
    return this.key
  }

  /** Changes what is asked of peers from now on; our key stays. */
  setSecurity(security: Omit<EndpointSecurity, 'nodeKey' | 'hasAes' | 'seconds'>): void {
    const { mode, authorize, ticketKey } = security
    this.security = { ...this.security, mode, authorize, ticketKey }
  }

  private get mode(): SecurityMode {
    return this.security.mode ?? 'noise'
  }

  /** Whether first packets of strangers are taken. */
  setListening(isListening: boolean): void {
    this.isListening = isListening
    this.core.exports.endpointListen(this.handle, isListening ? 1 : 0)
  }

  /**
   * Starts a connection: through the socket that `target` names, or another one if that is lost.
   * Undefined when a limit is reached or `target.address` is no IP literal.
   */
  connect(
    now: Micros,
    target: DatagramAddress,
    owner: ConnectionOwner,
    options: ConnectOptions = {},
  ): Connection | undefined {
    this.nowMicros = now
    const to = { ...target, socketIndex: this.workingSocket(target.socketIndex) }
    const words = this.addresses.pack(to.address, to.port)
    if (words === undefined) return undefined
    const { core } = this
    const [local, original] = [this.drawBytes(8), this.drawBytes(8)]
    const demands = { mode: this.mode, ...options.security }
    const ids = { original, initiator: local }
    const handshake = new InitiatorHandshake(this.handshakeSetup(local), demands, ids)
    const message = handshake.first()
    core.setScratch(message)
    core.i32.set(words, PARAMS_ADDRESS >> 2)
    core.setParam(0, (options.connectTimeoutMs ?? 0) * 1000)
    const handle = core.exports.connectionOpen(
      this.handle,
      now,
      to.socketIndex,
      options.packetBytes ?? this.options.packetBytesStart,
      ...halves(local),
      ...halves(original),
      message.length,
    )
    if (handle === 0) return undefined
    this.limitPackets(handle, to.address)
    const connection = new Connection(this, core, handle, to, true)
    connection.owner = owner
    connection.handshake = handshake
    this.remember(handle, connection)
    this.work()
    return connection
  }

  /**
   * Keeps a connection to a peer, through any blackout and each restart of it, until `release`. A
   * connection ends when nothing is heard for `idleTimeoutMs` (0: never), and another one follows.
   */
  pin(now: Micros, to: DatagramAddress, owner: PinOwner, options: ConnectOptions = {}): Pin {
    this.nowMicros = now
    const pin = new Pin(to, owner, this.pinHost(to, options), this.random, now)
    this.pins.add(pin)
    this.work()
    return pin
  }

  private pinHost(to: DatagramAddress, options: ConnectOptions): PinHost {
    return {
      now: () => this.nowMicros,
      dial: ({ opened, closed }) => {
        const owner: ConnectionOwner = { closed }
        const connection = this.connect(this.nowMicros, to, owner, options)
        if (connection === undefined) return undefined
        connection.setPinned(true)
        owner.opened = () => opened(connection)
        return connection
      },
      work: () => this.work(),
      forget: (pin) => this.pins.delete(pin),
    }
  }

  /** Leaves through another socket wherever this one was used: it failed, or is about to be closed. */
  replaceSocket(now: Micros, from: number, to: number): void {
    this.nowMicros = now
    for (const object of [...this.byTag.values()]) {
      if (object instanceof Connection && object.remote.socketIndex === from) object.moveTo(to)
    }
  }

  /**
   * The socket does not work any more, or is about to be closed: whatever used it goes on through
   * another one, and nothing is opened through it. False: it was the last.
   */
  loseSocket(now: Micros, index: number): boolean {
    const at = this.sockets.indexOf(index)
    if (at >= 0) this.sockets.splice(at, 1)
    const [other] = this.sockets
    if (other === undefined) return false
    this.replaceSocket(now, index, other)
    return true
  }

  private workingSocket(index: number): number {
    return this.sockets.includes(index) ? index : (this.sockets[0] ?? index)
  }

  /** Tells all peers that it is over; flush once more, then `destroy`. */
  close(now: Micros): void {
    this.nowMicros = now
    this.pins.clear()
    this.setListening(false)
    for (const object of [...this.byTag.values()]) {
      if (object instanceof Connection) object.close(CODE_ENDPOINT_CLOSED)
    }
    this.dropStreams()
  }

  /** Frees the core's part. Nobody is told, neither peers nor owners. */
  destroy(): void {
    if (this.handle === 0) return
    this.core.exports.endpointDestroy(this.handle)
    this.handle = 0
    for (const connection of this.traces.keys()) this.endTrace(connection, CODE_ENDPOINT_CLOSED)
    this.byTag.clear()
  }

  /** The core has trapped: nothing of it may be used any more, until `restart`. */
  halt(): void {
    this.handle = 0
  }

  /**
   * Goes on with a fresh core, as who it was: connections and streams are gone with the old one, with
   * CODE_RESET, and peers hear so when they send.
   * @throws Error when the core has no memory for it.
   */
  restart(core: Core, runJobs: ((count: number) => void) | undefined): void {
    this.abandon()
    this.byTag.clear()
    this.ending.clear()
    this.lingering = 0
    this.core = core
    this.runJobs = runJobs
    this.handle = this.create()
    if (this.handle === 0) throw new Error('no memory for another endpoint')
    this.setListening(this.isListening)
  }

  /** The core is gone, or about to be: everything that hangs off it ends with `code`. */
  abandon(code: number = CODE_RESET): void {
    this.handle = 0
    for (const object of [...this.byTag.values()]) {
      if (!(object instanceof Connection)) continue
      try {
        object.finishClosing(code)
      } catch (error) {
        this.onError(error)
      }
    }
    this.dropStreams()
  }

  /** Streams that outlived their connection. */
  private dropStreams(): void {
    for (const object of [...this.byTag.values()]) {
      if (object instanceof Stream) object.handleEndpointGone()
    }
  }

  // ── Engine ─────────────────────────────────────────────────────────────────────────────────────

  /**
   * `lends`: what the descriptors point to stays as it is until the core's `settle`, which
   * `Core.receive` calls by itself.
   */
  ingest(now: Micros, count: number, lends = true): number {
    this.nowMicros = now
    this.core.exports.ingestBegin(this.handle, count, lends ? 1 : 0)
    let taken = this.ingestRun(now)
    this.handleEvents()
    // What waited for a handshake message can be opened now.
    while (taken < count && this.handle !== 0) {
      taken = this.ingestRun(now)
      this.handleEvents()
    }
    this.core.receivedDone()
    this.tellIfEmpty()
    return taken
  }

  /** Takes descriptors up to a handshake message; gives how many were taken in all. */
  private ingestRun(now: Micros): number {
    const taken = this.ingestSome(now)
    if (this.traces.size > 0) this.lookAtTraces()
    return taken
  }

  private ingestSome(now: Micros): number {
    const { core, runJobs, handle } = this
    if (runJobs === undefined) return core.exports.ingestMore(handle, now)
    for (let jobs = core.exports.ingestJobs(handle, now); jobs > 0; ) {
      runJobs(jobs)
      core.exports.ingestApply(handle, now)
      jobs = core.exports.ingestJobs(handle, now)
    }
    return core.exports.ingestTaken(handle)
  }

  flush(now: Micros): number {
    this.nowMicros = now
    const { core, runJobs } = this
    this.sendCount = core.exports.flush(this.handle, now)
    if (runJobs !== undefined && this.sendCount > 0) {
      runJobs(core.exports.jobs())
      core.exports.jobsFinish()
    }
    if (this.traces.size > 0) this.lookAtTraces()
    return this.sendCount
  }

  timeout(now: Micros): void {
    this.nowMicros = now
    this.core.exports.timeout(this.handle, now)
    if (this.traces.size > 0) this.lookAtTraces()
    this.handleEvents()
    for (const pin of [...this.pins]) pin.timeout(now)
    this.tellIfEmpty()
  }

  nextTimeout(): Micros {
    let due = this.core.exports.nextTimeout(this.handle)
    for (const pin of this.pins) due = Math.min(due, pin.nextTimeout())
    return due
  }

  // ── Traces ─────────────────────────────────────────────────────────────────────────────────────

  /** @internal */
  beginTrace(connection: Connection): void {
    if (this.openTrace === undefined) return
    const trace = new PacketTrace(this.core, connection.coreHandle)
    const side = connection.isInitiator ? 'client' : 'server'
    const name = { id: Buffer.from(trace.id).toString('hex'), side } as const
    const sink = this.openTrace(name)
    if (sink === undefined) return
    this.traces.set(connection, new ConnectionQlog(trace, sink, name, this.nowMicros))
  }

  /** @internal */
  endTrace(connection: Connection, code: number): void {
    this.traces.get(connection)?.close(this.nowMicros, code)
    this.traces.delete(connection)
  }

  private lookAtTraces(): void {
    for (const trace of this.traces.values()) trace.look(this.nowMicros)
  }

  // ── Datagrams ──────────────────────────────────────────────────────────────────────────────────

  deliver(from: DatagramAddress, bytes: Uint8Array, ecn = 0): boolean {
    const words = this.addresses.pack(from.address, from.port)
    // What has no address can't be answered.
    if (words === undefined) return true
    return this.core.receive(bytes, from.socketIndex, words, ecn)
  }

  collect(take: (to: DatagramAddress, bytes: Uint8Array, ecn?: number) => void): void {
    const { bytes } = this.core
    this.forEachTrain((address, port, start, end, segment, socketIndex, ecn) => {
      const to = { socketIndex, address, port }
      for (let at = start; at < end; at += segment) {
        take(to, bytes.subarray(at, Math.min(at + segment, end)), ecn)
      }
    })
  }

  /**
   * Calls `send` for each run of descriptors that leave through one socket. During the call they are
   * the first `count`, and all that `forEachTrain` knows.
   */
  forEachSocket(send: (socketIndex: number, count: number) => void): void {
    const { core, sendCount } = this
    const socketOf = (index: number) =>
      core.i32[core.sendDescriptor(index) + (DESC_SOCKET >> 2)] as number
    const front = core.sendDescriptor(0)
    for (let first = 0, next = 0; first < sendCount; first = next) {
      const socketIndex = socketOf(first)
      while (next < sendCount && socketOf(next) === socketIndex) next += 1
      core.i32.copyWithin(front, core.sendDescriptor(first), core.sendDescriptor(next))
      this.sendCount = next - first
      send(socketIndex, this.sendCount)
    }
  }

  /**
   * Calls `take` for every train that the last `flush` described, in order: datagrams of `segment`
   * bytes (the last may be shorter) in [start, end) of the core's memory.
   */
  forEachTrain(
    take: (
      address: string,
      port: number,
      start: number,
      end: number,
      segment: number,
      socketIndex: number,
      ecn: number,
    ) => void,
  ): void {
    const { i32 } = this.core
    for (let index = 0; index < this.sendCount; index++) {
      const words = this.core.sendDescriptor(index)
      const start = i32[words + (DESC_POINTER >> 2)] as number
      const length = i32[words + (DESC_LENGTH >> 2)] as number
      const segment = i32[words + (DESC_SEGMENT >> 2)] as number
      const { address, port } = this.addresses.unpack(i32, words + (DESC_ADDRESS >> 2))
      const socketIndex = i32[words + (DESC_SOCKET >> 2)] as number
      const size = segment === 0 ? length : segment
      const ecn = ((i32[words + (DESC_PORT >> 2)] as number) >> 16) & 3
      take(address, port, start, start + length, size, socketIndex, ecn)
    }
  }

  // ── Figures ────────────────────────────────────────────────────────────────────────────────────

  counters(): EndpointCounters {
    const start = this.core.exports.endpointCounters(this.handle) >> 3
    const counters: Record<string, number> = {}
    for (const [index, name] of COUNTER_NAMES.entries()) {
      counters[name] = start === 0 ? 0 : (this.core.f64[start + index] as number)
    }
    return counters as EndpointCounters
  }

  gauges(): EndpointGauges {
    this.core.exports.endpointGauges(this.handle)
    return {
      connections: this.core.param(GAUGE_CONNECTIONS),
      halfOpen: this.core.param(GAUGE_HALF_OPEN),
      streams: this.core.param(GAUGE_STREAMS),
      memoryBytes: this.core.param(GAUGE_MEMORY_USED),
      memoryBytesMax: this.core.param(GAUGE_MEMORY_MAX),
    }
  }

  /**
   * Whether both sides are through with every stream: one that was reset counts until the peer
   * knows. After false, `onSettled` is called when it has become true.
   */
  get isEmpty(): boolean {
    this.isEmptyAwaited = this.handle !== 0 && this.gauges().streams > 0
    return !this.isEmptyAwaited
  }

  private tellIfEmpty(): void {
    if (this.isEmptyAwaited && this.isEmpty) this.onSettled()
  }

  // ── Inside ─────────────────────────────────────────────────────────────────────────────────────

  /** @internal Something may have to be sent. */
  work(): void {
    if (!this.isHandling) this.onWork()
  }

  /** @internal */
  remember(handle: Handle, object: Connection | Stream): void {
    const tag = this.nextTag
    this.nextTag = tag === 0x7fffffff ? 1 : tag + 1
    object.tag = tag
    this.byTag.set(tag, object)
    this.core.exports.setTag(handle, tag)
  }

  /** @internal */
  forget(object: Connection | Stream): void {
    this.byTag.delete(object.tag)
  }

  private drawBytes(size: number): Uint8Array {
    const bytes = new Uint8Array(size)
    this.random.fill(bytes)
    return bytes
  }

  /** @internal Closes a connection as soon as what its streams have written is acknowledged. */
  closeWhenSettled(connection: Connection): void {
    this.ending.add(connection)
    this.closeSettled()
  }

  private closeSettled(): void {
    for (const connection of this.ending) {
      if (!connection.isSettled) continue
      this.ending.delete(connection)
      connection.close()
    }
  }

  /** @internal Tells what is pending. */
  handleEvents(): void {
    if (this.isHandling) return
    this.isHandling = true
    try {
      for (let count = this.takeEvents(); count > 0; count = this.takeEvents()) {
        for (let index = 0; index < count; index++) this.handleEvent(index)
        if (this.ending.size > 0) this.closeSettled()
      }
    } finally {
      this.isHandling = false
    }
  }

  private takeEvents(): number {
    return this.core.exports.events(this.handle)
  }

  private handleEvent(index: number): void {
    const { i32 } = this.core
    const at = (EVENTS + index * EVENT_SIZE) >> 2
    const kind = i32[at + (EVENT_KIND >> 2)] as number
    const bits = i32[at + (EVENT_BITS >> 2)] as number
    const handle = i32[at + (EVENT_HANDLE >> 2)] as number
    const tag = i32[at + (EVENT_TAG >> 2)] as number
    const code = i32[at + (EVENT_CODE >> 2)] as number
    const object = this.byTag.get(tag)
    // What the program throws must not cost other streams their events.
    try {
      if (kind === KIND_CONNECTION) {
        if (object instanceof Connection) this.handleConnection(object, bits, code)
        else if (tag === -1) this.handleNewcomer(handle, bits)
      } else if (object instanceof Stream) object.handleEvent(bits, code)
      else if (tag === -1 && (bits & STREAM_OPENED) !== 0) {
        const parent = this.byTag.get(i32[at + (EVENT_PARENT >> 2)] as number)
        if (parent instanceof Connection) this.handleStream(handle, parent)
        else this.core.exports.streamRelease(handle)
      }
    } catch (error) {
      this.onError(error)
    }
  }

  private handleConnection(connection: Connection, bits: number, code: number): void {
    if ((bits & CONNECTION_CLOSED) !== 0) {
      // Of who gave up, or never came back, only a peer that says so is worth a word.
      const wasAsked = !connection.isInitiator && !connection.isOpen
      if (wasAsked && code !== CODE_IDLE_TIMEOUT) this.report(connection, code)
      connection.handleClosed(code)
      return
    }
    if ((bits & CONNECTION_SILENT) !== 0) connection.handleSilence(this.sockets)
    if ((bits & CONNECTION_MOVED) !== 0) this.handleMove(connection)
    if ((bits & CONNECTION_HANDSHAKE) !== 0) this.handleMessage(connection)
    if ((bits & CONNECTION_CONFIRMED) !== 0) {
      connection.handleOpened()
      this.owner.connection?.(connection)
    }
  }

  /** The peer was found to be somewhere else. */
  private handleMove(connection: Connection): void {
    const remote = this.addressOf(connection.coreHandle)
    this.limitPackets(connection.coreHandle, remote.address)
    connection.handleMoved(remote)
  }

  private addressOf(handle: Handle): DatagramAddress {
    const { core } = this
    core.exports.connectionAddress(handle)
    const socketIndex = core.i32[PARAMS_SOCKET >> 2] as number
    const { address, port } = this.addresses.unpack(core.i32, PARAMS_ADDRESS >> 2)
    return { socketIndex, address, port }
  }

  // ── Handshakes ─────────────────────────────────────────────────────────────────────────────────

  private handshakeSetup(localId: Uint8Array): HandshakeSetup {
    this.core.exports.endpointResetToken(this.handle, ...halves(localId))
    return {
      nodeKey: this.nodeKey,
      parameters: this.options,
      resetToken: this.core.scratch(16),
      hasAes: this.security.hasAes ?? false,
      random: this.random,
      seconds: this.security.seconds?.(),
    }
  }

  /** The handshake message that waits in a connection. */
  private message(handle: Handle): Uint8Array {
    return this.core.scratch(this.core.exports.connectionMessage(handle))
  }

  /** A further message of a handshake that goes on. */
  private handleMessage(connection: Connection): void {
    const message = this.message(connection.coreHandle)
    const { handshake } = connection
    try {
      if (handshake instanceof InitiatorHandshake) this.handleAnswer(connection, handshake, message)
      else if (handshake !== undefined) {
        handshake.third(message)
        this.admit(connection, handshake, () => this.finish(connection, handshake))
      }
    } catch (error) {
      this.refuse(connection, error)
    }
  }

  private handleAnswer(
    connection: Connection,
    handshake: InitiatorHandshake,
    message: Uint8Array,
  ): void {
    const { core } = this
    const handle = connection.coreHandle
    core.exports.connectionIds(handle)
    const result = handshake.answer(message, core.scratch(16).subarray(8))
    this.protect(handle, result)
    this.setPeer(result.parameters)
    core.setScratch(result.third ?? new Uint8Array(0))
    const length = result.third?.length ?? 0
    core.exports.connectionEstablish(handle, this.nowMicros, length)
    connection.handleSecured(result.info)
    connection.handleOpened()
  }

  /** Somebody's first message. */
  private handleNewcomer(handle: Handle, bits: number): void {
    const { core } = this
    if ((bits & CONNECTION_CLOSED) !== 0) {
      core.exports.connectionRelease(handle)
      return
    }
    if ((bits & CONNECTION_HANDSHAKE) === 0) return
    const connection = new Connection(this, core, handle, this.addressOf(handle), false)
    this.remember(handle, connection)
    const message = this.message(handle)
    core.exports.connectionIds(handle)
    const ids = core.scratch(24)
    const local = this.drawBytes(8)
    const setup = this.handshakeSetup(local)
    const between = { original: ids.subarray(16), initiator: ids.subarray(8, 16) }
    const demands = { mode: this.mode, ticketKey: this.security.ticketKey }
    try {
      const handshake = new ResponderHandshake(setup, demands, between, message)
      connection.handshake = handshake
      if (handshake.hasThird) this.answer(connection, handshake, local)
      else {
        this.admit(connection, handshake, () => {
          if (this.answer(connection, handshake, local)) this.finish(connection, handshake)
        })
      }
    } catch (error) {
      this.refuse(connection, error)
    }
  }

  /** Sends the responder's message; false when there is no memory for it. */
  private answer(
    connection: Connection,
    handshake: ResponderHandshake,
    local: Uint8Array,
  ): boolean {
    const { core } = this
    const message = handshake.answer(local)
    core.setScratch(message)
    this.setPeer(handshake.peerParameters)
    this.limitPackets(connection.coreHandle, connection.remote.address)
    const isAnswered = core.exports.connectionAnswer(
      connection.coreHandle,
      ...halves(local),
      this.options.packetBytesStart,
      message.length,
    )
    if (isAnswered !== 0) return true
    this.refuse(connection, new HandshakeFailure(CODE_LIMIT, 'no memory'))
    return false
  }

  /** Asks the program whether a peer is welcome, then goes on. */
  private admit(connection: Connection, handshake: ResponderHandshake, goOn: () => void): void {
    const { authorize } = this.security
    const { remote: publicKey, ticket } = handshake
    if (authorize === undefined || publicKey === undefined) {
      goOn()
      return
    }
    const decide = (isWelcome: boolean) => {
      if (connection.isClosed) return
      if (isWelcome) goOn()
      else this.refuse(connection, new HandshakeFailure(CODE_DENIED, 'not authorized'))
      this.work()
    }
    const fail = (error: unknown) => {
      this.onError(error)
      decide(false)
    }
    try {
      const request = { publicKey, address: connection.remote, ticket }
      const verdict = authorize(request, connection.signal)
      if (typeof verdict === 'boolean') decide(verdict)
      else verdict.then(decide, fail)
    } catch (error) {
      fail(error)
    }
  }

  /** The responder's side of the handshake is through: packets may come. */
  private finish(connection: Connection, handshake: ResponderHandshake): void {
    const isKnown = this.security.authorize !== undefined || handshake.ticket !== undefined
    const result = handshake.result(isKnown)
    this.protect(connection.coreHandle, result)
    connection.handleSecured(result.info)
  }

  private protect(handle: Handle, { cipher, links, resetToken }: HandshakeResult): void {
    const { core } = this
    core.setScratch(links)
    core.exports.connectionProtect(handle, this.nowMicros, cipher)
    links.fill(0)
    if (resetToken?.length !== RESET_TOKEN_SIZE) return
    core.setScratch(resetToken)
    core.exports.connectionPeerToken(handle)
  }

  /** Ends a handshake, and tells the other side why. */
  private refuse(connection: Connection, error: unknown): void {
    const code = error instanceof HandshakeFailure ? error.code : CODE_IDENTITY
    this.core.exports.connectionRefuse(connection.coreHandle, code)
    if (!connection.isInitiator) this.report(connection, code)
    connection.finishClosing(code)
    // What the program's own function threw is the program's to know.
    if (!(error instanceof HandshakeFailure)) this.onError(error)
  }

  private report({ remote: address }: Connection, code: number): void {
    this.owner.handshakeFailed?.({ address, code })
  }

  /** Tells the core what the interface on the way to the peer carries, where that is known. */
  private limitPackets(handle: Handle, address: string): void {
    const most = this.packetBytesTo?.(address)
    if (most !== undefined) this.core.exports.connectionPacketMax(handle, most)
  }

  private setPeer(parameters: TransportParameters): void {
    const { core } = this
    core.setParam(PEER_STREAM_WINDOW, parameters.streamWindowBytes)
    core.setParam(PEER_CONNECTION_WINDOW, parameters.connectionWindowBytes)
    core.setParam(PEER_STREAMS_MAX, parameters.streamsMax)
    core.setParam(PEER_PACKET_BYTES_MAX, parameters.packetBytesMax)
    core.setParam(PEER_ACK_DELAY, parameters.ackDelayMicros)
    core.setParam(PEER_BURST_BYTES, parameters.burstBytes)
    core.setParam(PEER_IDLE_TIMEOUT, idleMicros(parameters.idleTimeoutMs))
  }

  private handleStream(handle: Handle, connection: Connection): void {
    const stream = new Stream(connection, this.core, handle)
    connection.remember(stream)
    const owner = this.owner.stream?.(stream)
    if (owner === undefined) {
      stream.refuse()
      return
    }
    stream.owner = owner
    stream.accept()
    if (stream.readableSize > 0 || stream.ended) owner.readable()
  }
}

/** 0 means never; the core's longest time is more than a century. */
function idleMicros(ms: number): number {
  return ms === 0 ? 4e15 : ms * 1000
}

/** The two words of a connection id. */
function halves(id: Uint8Array): [low: number, high: number] {
  const view = new DataView(id.buffer, id.byteOffset, 8)
  return [view.getInt32(0, true), view.getInt32(4, true)]
}
