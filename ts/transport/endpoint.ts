/**
 * The transport engine of one identity: connections and streams over the core. It is driven: by
 * `ts/io` with real sockets and time, by `ts/sim` with simulated ones.
 */

import {
  CODE_ENDPOINT_CLOSED,
  CODE_HANDSHAKE,
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
  CONNECTION_HANDSHAKE,
  type Core,
  DESC_ADDRESS,
  DESC_LENGTH,
  DESC_POINTER,
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
  PEER_ACK_DELAY,
  PEER_BURST_BYTES,
  PEER_CONNECTION_WINDOW,
  PEER_IDLE_TIMEOUT,
  PEER_PACKET_BYTES_MAX,
  PEER_STREAM_WINDOW,
  PEER_STREAMS_MAX,
  STREAM_OPENED,
} from '../../bindings/core.ts'
import type { DatagramAddress, DatagramPort, Micros, Random } from '../machine.ts'
import { AddressBook } from './address.ts'
import { Connection, type ConnectionOwner } from './connection.ts'
import { COUNTER_NAMES, type EndpointCounters } from './counters.ts'
import {
  encodeHandshake,
  MALFORMED,
  parseHandshake,
  SUITE_NONE,
  type TransportParameters,
} from './handshake.ts'
import { CONGESTION_CONTROLLERS, type EndpointOptions, resolveEndpointOptions } from './options.ts'
import { Stream } from './stream.ts'

export interface EndpointSetup {
  readonly core: Core
  readonly random: Random
  readonly now: Micros
  readonly options?: Partial<EndpointOptions>
  readonly addresses?: AddressBook
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
}

export interface ConnectOptions {
  /** Largest packet that the way there is known to carry, bytes. */
  readonly packetBytes?: number | undefined
  /** Until a peer that never answers counts as unreachable; default: the endpoint's. */
  readonly connectTimeoutMs?: number | undefined
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
  private readonly core: Core
  private readonly random: Random
  private readonly addresses: AddressBook
  private handle: Handle
  private nowMicros: Micros
  private nextTag = 1
  private readonly byTag = new Map<number, Connection | Stream>()
  private readonly tags = new Map<Connection | Stream, number>()
  /** Descriptors that the last `flush` filled. */
  private sendCount = 0
  private isHandling = false

  /** @throws RangeError for options out of range, Error when the core has no memory left. */
  constructor(setup: EndpointSetup) {
    this.core = setup.core
    this.random = setup.random
    this.options = resolveEndpointOptions(setup.options)
    this.addresses = setup.addresses ?? new AddressBook()
    this.nowMicros = setup.now
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
    core.setParam(CONFIG_IDLE_TIMEOUT, options.idleTimeoutMs * 1000)
    core.setParam(CONFIG_KEEP_ALIVE, options.keepAliveMs * 1000)
    core.setParam(CONFIG_EMPTY_TIMEOUT, options.emptyTimeoutMs * 1000)
    core.setParam(CONFIG_ACK_DELAY, options.ackDelayMicros)
    core.setParam(CONFIG_BURST_BYTES, options.burstBytes)
    core.setParam(CONFIG_CONGESTION, CONGESTION_CONTROLLERS.indexOf(options.congestion))
    core.setParam(CONFIG_LISTENING, 0)
    core.setParam(CONFIG_SEED_LOW, this.random.u32() >>> 1)
    core.setParam(CONFIG_SEED_HIGH, this.random.u32() >>> 1)
    return core.exports.endpointCreate(this.nowMicros)
  }

  /** The time of the last call of the driver. */
  get now(): Micros {
    return this.nowMicros
  }

  get isClosed(): boolean {
    return this.handle === 0
  }

  /** Whether first packets of strangers are taken. */
  setListening(isListening: boolean): void {
    this.core.exports.endpointListen(this.handle, isListening ? 1 : 0)
  }

  /**
   * Starts a connection. Undefined when a limit is reached or `to.address` is no IP literal.
   */
  connect(
    now: Micros,
    to: DatagramAddress,
    owner: ConnectionOwner,
    options: ConnectOptions = {},
  ): Connection | undefined {
    this.nowMicros = now
    const words = this.addresses.pack(to.address, to.port)
    if (words === undefined) return undefined
    const { core, random } = this
    const message = encodeHandshake({ suite: SUITE_NONE, parameters: this.parameters() })
    core.setScratch(message)
    core.i32.set(words, PARAMS_ADDRESS >> 2)
    core.setParam(0, (options.connectTimeoutMs ?? 0) * 1000)
    const handle = core.exports.connectionOpen(
      this.handle,
      now,
      to.socketIndex,
      options.packetBytes ?? this.options.packetBytesMax,
      random.u32() | 0,
      random.u32() | 0,
      random.u32() | 0,
      random.u32() | 0,
      message.length,
    )
    if (handle === 0) return undefined
    const connection = new Connection(this, core, handle, to, true)
    connection.owner = owner
    this.remember(handle, connection)
    this.work()
    return connection
  }

  /** Tells all peers that it is over; flush once more, then `destroy`. */
  close(now: Micros): void {
    this.nowMicros = now
    this.setListening(false)
    for (const object of [...this.byTag.values()]) {
      if (object instanceof Connection) object.close(CODE_ENDPOINT_CLOSED)
    }
  }

  /** Frees the core's part. Nobody is told, neither peers nor owners. */
  destroy(): void {
    if (this.handle === 0) return
    this.core.exports.endpointDestroy(this.handle)
    this.handle = 0
    this.byTag.clear()
    this.tags.clear()
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
  }

  // ── Engine ─────────────────────────────────────────────────────────────────────────────────────

  ingest(now: Micros, count: number): number {
    this.nowMicros = now
    const taken = this.core.exports.ingest(this.handle, now, count)
    // The core keeps nothing that points into the arena: it is free again.
    this.core.receivedDone()
    this.handleEvents()
    return taken
  }

  flush(now: Micros): number {
    this.nowMicros = now
    this.sendCount = this.core.exports.flush(this.handle, now)
    return this.sendCount
  }

  timeout(now: Micros): void {
    this.nowMicros = now
    this.core.exports.timeout(this.handle, now)
    this.handleEvents()
  }

  nextTimeout(): Micros {
    return this.core.exports.nextTimeout(this.handle)
  }

  // ── Datagrams ──────────────────────────────────────────────────────────────────────────────────

  deliver(from: DatagramAddress, bytes: Uint8Array): boolean {
    const words = this.addresses.pack(from.address, from.port)
    // What has no address can't be answered.
    if (words === undefined) return true
    return this.core.receive(bytes, from.socketIndex, words)
  }

  collect(take: (to: DatagramAddress, bytes: Uint8Array) => void): void {
    const { bytes } = this.core
    this.forEachTrain((address, port, start, end, segment, socketIndex) => {
      const to = { socketIndex, address, port }
      for (let at = start; at < end; at += segment) {
        take(to, bytes.subarray(at, Math.min(at + segment, end)))
      }
    })
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
      take(address, port, start, start + length, segment === 0 ? length : segment, socketIndex)
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

  // ── Inside ─────────────────────────────────────────────────────────────────────────────────────

  /** @internal Something may have to be sent. */
  work(): void {
    if (!this.isHandling) this.onWork()
  }

  /** @internal */
  remember(handle: Handle, object: Connection | Stream): void {
    const tag = this.nextTag
    this.nextTag = tag === 0x7fffffff ? 1 : tag + 1
    this.byTag.set(tag, object)
    this.tags.set(object, tag)
    this.core.exports.setTag(handle, tag)
  }

  /** @internal */
  forget(object: Connection | Stream): void {
    const tag = this.tags.get(object)
    if (tag === undefined) return
    this.tags.delete(object)
    this.byTag.delete(tag)
  }

  private parameters(): TransportParameters {
    return this.options
  }

  private handleEvents(): void {
    if (this.isHandling) return
    this.isHandling = true
    try {
      for (let count = this.takeEvents(); count > 0; count = this.takeEvents()) {
        for (let index = 0; index < count; index++) this.handleEvent(index)
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
      }
    } catch (error) {
      this.onError(error)
    }
  }

  private handleConnection(connection: Connection, bits: number, code: number): void {
    if ((bits & CONNECTION_CLOSED) !== 0) {
      connection.handleClosed(code)
      return
    }
    if ((bits & CONNECTION_HANDSHAKE) !== 0) this.handleAnswer(connection)
    else {
      connection.handleOpened()
      this.owner.connection?.(connection)
    }
  }

  /** The handshake message that waits in a connection. */
  private message(handle: Handle) {
    const length = this.core.exports.connectionMessage(handle)
    const start = this.core.param(0)
    return parseHandshake(this.core.u8.slice(start, start + length))
  }

  /** The responder's answer. */
  private handleAnswer(connection: Connection): void {
    const message = this.message(connection.coreHandle)
    if (message === MALFORMED || message.suite !== SUITE_NONE) {
      connection.close(CODE_HANDSHAKE)
      return
    }
    this.setPeer(message.parameters)
    this.core.exports.connectionEstablish(connection.coreHandle, this.nowMicros)
    connection.handleOpened()
  }

  /** Somebody's first message. */
  private handleNewcomer(handle: Handle, bits: number): void {
    const { core, random } = this
    if ((bits & CONNECTION_CLOSED) !== 0) {
      core.exports.connectionRelease(handle)
      return
    }
    if ((bits & CONNECTION_HANDSHAKE) === 0) return
    const message = this.message(handle)
    if (message === MALFORMED || message.suite !== SUITE_NONE) {
      core.exports.connectionClose(handle, this.nowMicros, CODE_HANDSHAKE)
      return
    }
    const answer = encodeHandshake({ suite: SUITE_NONE, parameters: this.parameters() })
    core.setScratch(answer)
    this.setPeer(message.parameters)
    const isAnswered = core.exports.connectionAnswer(
      handle,
      random.u32() | 0,
      random.u32() | 0,
      this.options.packetBytesMax,
      answer.length,
    )
    if (isAnswered === 0) {
      core.exports.connectionClose(handle, this.nowMicros, CODE_HANDSHAKE)
      return
    }
    core.exports.connectionAddress(handle)
    const { address, port } = this.addresses.unpack(core.i32, PARAMS_ADDRESS >> 2)
    const connection = new Connection(this, core, handle, { socketIndex: 0, address, port }, false)
    this.remember(handle, connection)
  }

  private setPeer(parameters: TransportParameters): void {
    const { core } = this
    core.setParam(PEER_STREAM_WINDOW, parameters.streamWindowBytes)
    core.setParam(PEER_CONNECTION_WINDOW, parameters.connectionWindowBytes)
    core.setParam(PEER_STREAMS_MAX, parameters.streamsMax)
    core.setParam(PEER_PACKET_BYTES_MAX, parameters.packetBytesMax)
    core.setParam(PEER_ACK_DELAY, parameters.ackDelayMicros)
    core.setParam(PEER_BURST_BYTES, parameters.burstBytes)
    core.setParam(PEER_IDLE_TIMEOUT, parameters.idleTimeoutMs * 1000)
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
