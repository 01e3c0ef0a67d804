import {
  CODE_CLOSED,
  type Core,
  FIGURE_BYTES_IN_FLIGHT,
  FIGURE_BYTES_RECEIVED,
  FIGURE_BYTES_SENT,
  FIGURE_CONGESTION_WINDOW,
  FIGURE_MEMORY_USED,
  FIGURE_PACKET_BYTES,
  FIGURE_PACKETS_LOST,
  FIGURE_PACKETS_RECEIVED,
  FIGURE_PACKETS_RETRANSMITTED,
  FIGURE_PACKETS_SENT,
  FIGURE_PROBE_TIMEOUT,
  FIGURE_PROBES,
  FIGURE_PROBES_UNANSWERED,
  FIGURE_RTT_MIN,
  FIGURE_RTT_SMOOTHED,
  FIGURE_RTT_VARIANCE,
  FIGURE_STREAMS,
  type Handle,
} from '../../bindings/core.ts'
import type { DatagramAddress } from '../machine.ts'
import type { Endpoint } from './endpoint.ts'
import { type PackedPeerKey, packPeerKey, unpackPeerKey } from './identity.ts'
import type { InitiatorHandshake, ResponderHandshake, SecurityInfo } from './security.ts'
import { Stream, type StreamOwner } from './stream.ts'

export interface ConnectionOwner {
  /** The handshake is through. */
  opened?: (() => void) | undefined
  /** Probes are not answered: the peer may be gone. Told once per silence. */
  silent?(connection: Connection): void
  /** The peer has proven that it is at another address now: `remote`. */
  moved?(): void
  /** The connection is over, CODE_…; its streams were told before. */
  closed?(code: number): void
}

/** Figures of a connection; times are microseconds, sizes bytes. */
export interface ConnectionFigures {
  readonly rttSmoothedMicros: number
  readonly rttVarianceMicros: number
  readonly rttMinMicros: number
  readonly congestionWindowBytes: number
  readonly inFlightBytes: number
  readonly packetsSent: number
  readonly packetsReceived: number
  readonly packetsLost: number
  readonly packetsRetransmitted: number
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly probes: number
  /** Since the peer was heard: the present silence. */
  readonly probesUnanswered: number
  /** The probe timer's present period, back-off included (RFC 9002 §6.2). */
  readonly probeTimeoutMicros: number
  readonly packetBytes: number
  readonly memoryBytes: number
  readonly streams: number
}

const FIGURE_NAMES: readonly (readonly [keyof ConnectionFigures, number])[] = [
  ['rttSmoothedMicros', FIGURE_RTT_SMOOTHED],
  ['rttVarianceMicros', FIGURE_RTT_VARIANCE],
  ['rttMinMicros', FIGURE_RTT_MIN],
  ['congestionWindowBytes', FIGURE_CONGESTION_WINDOW],
  ['inFlightBytes', FIGURE_BYTES_IN_FLIGHT],
  ['packetsSent', FIGURE_PACKETS_SENT],
  ['packetsReceived', FIGURE_PACKETS_RECEIVED],
  ['packetsLost', FIGURE_PACKETS_LOST],
  ['packetsRetransmitted', FIGURE_PACKETS_RETRANSMITTED],
  ['bytesSent', FIGURE_BYTES_SENT],
  ['bytesReceived', FIGURE_BYTES_RECEIVED],
  ['probes', FIGURE_PROBES],
  ['probesUnanswered', FIGURE_PROBES_UNANSWERED],
  ['probeTimeoutMicros', FIGURE_PROBE_TIMEOUT],
  ['packetBytes', FIGURE_PACKET_BYTES],
  ['memoryBytes', FIGURE_MEMORY_USED],
  ['streams', FIGURE_STREAMS],
]

/** How far back-off of probes goes before another socket is tried. */
const PATIENCE_MICROS = 1_000_000

/** Two endpoints that know each other. Streams to one peer share it. */
export class Connection {
  readonly endpoint: Endpoint
  readonly isInitiator: boolean
  owner: ConnectionOwner | undefined
  /** @internal By which the endpoint knows it. */
  tag = 0
  /** @internal As long as it goes on. */
  handshake: InitiatorHandshake | ResponderHandshake | undefined
  private leaving: AbortController | undefined
  private info: Omit<SecurityInfo, 'remote'> | undefined
  private peerKey: PackedPeerKey | undefined
  private remoteAddress: DatagramAddress
  private readonly core: Core
  private handle: Handle
  private isHandshaken = false
  /** Another socket was changed to during the present silence. */
  private isLooking = false
  private readonly streams = new Set<Stream>()

  /** @internal Connections come from `Endpoint.connect` and `Endpoint.onConnection`. */
  constructor(
    endpoint: Endpoint,
    core: Core,
    handle: Handle,
    remote: DatagramAddress,
    isInitiator: boolean,
  ) {
    this.endpoint = endpoint
    this.core = core
    this.handle = handle
    this.remoteAddress = remote
    this.isInitiator = isInitiator
  }

  /** Where the peer is now, and which socket of ours leads there. */
  get remote(): DatagramAddress {
    return this.remoteAddress
  }

  /** The handshake is through. */
  get isOpen(): boolean {
    return this.isHandshaken && this.handle !== 0
  }

  get isClosed(): boolean {
    return this.handle === 0
  }

  /** What was proven about the peer, and what protects the packets; undefined before that. */
  get security(): SecurityInfo | undefined {
    const { info, peerKey } = this
    return info && { ...info, remote: peerKey && unpackPeerKey(peerKey) }
  }

  /** Streams the owner still holds. */
  get streamCount(): number {
    return this.streams.size
  }

  /**
   * Opens a stream: it and what is written to it leave at once, or as soon as the handshake is
   * through. Undefined when the connection is over or memory is short.
   * @param port what the opener calls its own port, 0 … 65,535
   */
  openStream(port: number, owner: StreamOwner): Stream | undefined {
    const handle = this.core.exports.streamOpen(this.handle, port)
    if (handle === 0) return undefined
    const stream = new Stream(this, this.core, handle)
    stream.owner = owner
    this.remember(stream)
    this.endpoint.work()
    return stream
  }

  /** Closes: the peer is told; what is not acknowledged is gone. */
  close(code: number = CODE_CLOSED): void {
    if (this.handle === 0) return
    this.core.exports.connectionClose(this.handle, this.endpoint.now, code)
    this.finishClosing(code)
    this.endpoint.work()
  }

  /**
   * Closes when everything that was written has arrived at the peer: each stream is finished now, and
   * what the peer writes later is lost.
   */
  end(): void {
    if (this.handle === 0) return
    for (const stream of this.streams) if (!stream.isSettled) stream.finish()
    this.endpoint.closeWhenSettled(this)
  }

  /** @internal Whether nothing of ours is on its way. */
  get isSettled(): boolean {
    return [...this.streams].every((stream) => stream.isSettled)
  }

  /** The peer is known to be gone: what it sent can still be read, nobody is told. */
  lose(code: number): void {
    if (this.handle === 0) return
    this.core.exports.connectionLose(this.handle, code)
    this.endpoint.handleEvents()
  }

  figures(): ConnectionFigures {
    this.core.exports.connectionFigures(this.handle)
    const figures = FIGURE_NAMES.map(([name, index]) => [name, this.core.param(index)])
    return Object.fromEntries(figures) as unknown as ConnectionFigures
  }

  /** Silence in milliseconds after which a probe leaves; 0: never. */
  setKeepAlive(ms: number): void {
    this.core.exports.connectionKeepAlive(this.handle, ms * 1000)
    this.endpoint.work()
  }

  /** Whether it is kept also without streams. */
  setPinned(isPinned: boolean): void {
    this.core.exports.connectionPin(this.handle, isPinned ? 1 : 0)
    this.endpoint.work()
  }

  /** @internal */
  get coreHandle(): Handle {
    return this.handle
  }

  /** @internal */
  remember(stream: Stream): void {
    this.streams.add(stream)
    this.endpoint.remember(stream.coreHandle, stream)
  }

  /** @internal */
  forget(stream: Stream): void {
    if (this.streams.delete(stream)) this.endpoint.forget(stream)
  }

  /** @internal Aborted when the connection is over. */
  get signal(): AbortSignal {
    this.leaving ??= new AbortController()
    return this.leaving.signal
  }

  /** @internal */
  handleMoved(remote: DatagramAddress): void {
    this.remoteAddress = remote
    this.owner?.moved?.()
  }

  /**
   * Leaves through another of the endpoint's sockets from now on: the peer follows. For a socket that
   * failed, or a machine that changes networks.
   */
  moveTo(socketIndex: number): void {
    if (this.handle === 0) return
    this.core.exports.connectionSocket(this.handle, this.endpoint.now, socketIndex)
    this.remoteAddress = { ...this.remoteAddress, socketIndex }
    this.endpoint.work()
  }

  /**
   * @internal Probes are not answered: if the way is broken where nobody says so, another socket may
   * lead around it. They are tried in turn until one is heard through: the first may come back.
   */
  handleSilence(sockets: readonly number[]): void {
    const { probesUnanswered, probeTimeoutMicros, rttSmoothedMicros } = this.figures()
    // A change forgets the round trip, so there is none until somebody answers.
    if (rttSmoothedMicros > 0) this.isLooking = false
    if (!this.isLooking && probesUnanswered === 2) this.owner?.silent?.(this)
    // A program that is busy for a moment is no broken way.
    if (sockets.length < 2 || probeTimeoutMicros < PATIENCE_MICROS) return
    this.isLooking = true
    const at = sockets.indexOf(this.remoteAddress.socketIndex)
    this.moveTo(sockets[(at + 1) % sockets.length] as number)
  }

  /** @internal The handshake is through on this side. */
  handleSecured(info: SecurityInfo): void {
    const { remote, ...rest } = info
    this.info = rest
    this.peerKey = remote && packPeerKey(remote)
    this.handshake = undefined
  }

  /** @internal */
  handleOpened(): void {
    this.isHandshaken = true
    this.endpoint.beginTrace(this)
    this.owner?.opened?.()
  }

  /** @internal The core has ended the connection. */
  handleClosed(code: number): void {
    if (this.handle === 0) return
    this.core.exports.connectionRelease(this.handle)
    this.finishClosing(code, true)
  }

  /** @internal The core's part is gone, but for streams when they are severed. */
  finishClosing(code: number, isSevered = false): void {
    this.handle = 0
    this.handshake = undefined
    this.leaving?.abort()
    this.endpoint.endTrace(this, code)
    this.endpoint.forget(this)
    const isRefusal = !this.isHandshaken
    for (const stream of [...this.streams]) {
      stream.handleConnectionClosed(code, isRefusal, isSevered)
    }
    this.owner?.closed?.(code)
  }
}
