import {
  CODE_ABORTED,
  CODE_REFUSED,
  type Core,
  type Handle,
  STREAM_ACCEPTED,
  STREAM_FINISHED,
  STREAM_READABLE,
  STREAM_REFUSED,
  STREAM_RESET,
  STREAM_STOPPED,
  STREAM_WRITABLE,
} from '../../bindings/core.ts'
import type { Connection } from './connection.ts'
import { makeReadBuffer } from './read-buffer.ts'

/** What a stream tells its owner. Calls come while the driver drives the endpoint. */
export interface StreamOwner {
  /** The peer's program took the stream. */
  accepted?(): void
  /** The peer's program, or its transport, does not want it. `code`: CODE_… of bindings/core. */
  refused?(code: number): void
  /** `read` has bytes, or `ended` has become true. */
  readable(): void
  /** `write` takes more after it took less than it was given. */
  writable(): void
  /** Every byte and our FIN were acknowledged. */
  finished?(): void
  /**
   * The peer reset the stream, or the connection is gone: CODE_…. After the latter `read` still
   * gives what had arrived, up to the peer's FIN, until `release` or `reset`.
   */
  failed(code: number): void
}

/** `urgent` before all others, `background` when nothing else has anything to send. */
export const STREAM_PRIORITIES = ['urgent', 'normal', 'background'] as const
export type StreamPriority = (typeof STREAM_PRIORITIES)[number]

/** Bytes given by one `read` at most, unless asked for more. */
const READ_MAX = 65_536

/** An ordered byte stream in both directions, with half-close and reset. */
export class Stream {
  readonly connection: Connection
  /** Set it as soon as the stream is there: events without an owner are lost. */
  owner: StreamOwner | undefined
  /** @internal By which the endpoint knows it. */
  tag = 0
  /** Port that the opener calls its own. */
  readonly port: number
  /** Number on the wire. */
  readonly number: number
  private readonly core: Core
  /** 0 after the core's part is gone. */
  private handle: Handle
  /** The owner is gone; only what was written still has to arrive. */
  private isLingering = false
  private isFinishing = false
  private isFinished = false
  /** The connection is gone; what had arrived is still there. */
  private isSevered = false

  /** @internal Streams come from `Connection.openStream` and `Endpoint.onStream`. */
  constructor(connection: Connection, core: Core, handle: Handle) {
    this.connection = connection
    this.core = core
    this.handle = handle
    this.number = core.exports.streamNumber(handle)
    this.port = core.param(0)
  }

  /** Copies as much of `chunk` as there is room for; gives how many bytes. */
  write(chunk: Uint8Array): number {
    const { exports: raw, u8 } = this.core
    let done = 0
    while (done < chunk.length) {
      const room = raw.streamReserve(this.handle, chunk.length - done)
      if (room === 0) break
      const part = room === chunk.length ? chunk : chunk.subarray(done, done + room)
      u8.set(part, this.core.param(0))
      raw.streamCommit(this.handle, room)
      done += room
    }
    if (done > 0) this.connection.endpoint.work()
    return done
  }

  /** Says that nothing follows. */
  finish(): void {
    this.isFinishing = true
    this.core.exports.streamFinish(this.handle)
    this.connection.endpoint.work()
  }

  /**
   * Which streams of the connection come first when there is less room than all of them would fill;
   * those of one priority take turns. Of this side only.
   */
  setPriority(priority: StreamPriority): void {
    this.core.exports.streamPriority(this.handle, STREAM_PRIORITIES.indexOf(priority))
  }

  /** Bytes that `read` could give now. */
  get readableSize(): number {
    return this.core.exports.streamReadable(this.handle)
  }

  /** The peer's FIN was reached and everything was read. */
  get ended(): boolean {
    return this.core.exports.streamEnded(this.handle) !== 0
  }

  /** Gives up to `sizeMax` bytes as a private Buffer, or null when nothing is there. */
  read(sizeMax = READ_MAX): Buffer | null {
    let size = Math.min(this.readableSize, sizeMax)
    if (size === 0) return null
    const piece = this.core.exports.streamPeek(this.handle)
    // What lies there as it came in one datagram is given as such.
    if (this.core.param(1) !== 0) size = Math.min(size, piece)
    const target = makeReadBuffer(size)
    this.readInto(target)
    return target
  }

  /** As `read`, into the caller's memory; gives the number of bytes. */
  readInto(target: Uint8Array): number {
    const { exports: raw, bytes } = this.core
    let done = 0
    while (done < target.length) {
      const piece = Math.min(raw.streamPeek(this.handle), target.length - done)
      if (piece === 0) break
      const from = this.core.param(0)
      bytes.copy(target, done, from, from + piece)
      raw.streamConsume(this.handle, piece)
      done += piece
    }
    if (done > 0) this.connection.endpoint.work()
    return done
  }

  /** Takes a stream that the peer opened. */
  accept(): void {
    this.core.exports.streamAccept(this.handle)
    this.connection.endpoint.work()
  }

  /** Does not take it; the stream is gone. */
  refuse(code: number = CODE_REFUSED): void {
    this.core.exports.streamRefuse(this.handle, code)
    this.drop()
  }

  /** Aborts both directions and releases: what is not acknowledged is gone, the peer is told. */
  reset(code: number = CODE_ABORTED): void {
    this.owner = undefined
    this.core.exports.streamAbort(this.handle, code)
    this.core.exports.streamRelease(this.handle)
    this.drop()
  }

  /**
   * The owner is gone. What was written still arrives, with a FIN behind it; what is unread or comes
   * later makes the transport reset the peer.
   */
  release(): void {
    this.owner = undefined
    if (this.handle === 0) return
    const isUnread = this.readableSize > 0
    if (this.isFinished || isUnread || this.isSevered) {
      this.core.exports.streamRelease(this.handle)
      this.drop()
      return
    }
    this.isLingering = true
    this.connection.endpoint.lingering += 1
    if (!this.isFinishing) this.finish()
    // The FIN may have been acknowledged by now without an owner to hear it.
  }

  /** What the owner wrote, and the FIN, are all acknowledged. */
  get isSettled(): boolean {
    return this.isFinished || this.handle === 0
  }

  /** @internal Events of the core. */
  handleEvent(bits: number, code: number): void {
    if ((bits & STREAM_FINISHED) !== 0) this.isFinished = true
    if (this.isLingering) {
      const isOver =
        (bits & (STREAM_FINISHED | STREAM_RESET | STREAM_STOPPED | STREAM_REFUSED)) !== 0
      if (!isOver && this.readableSize === 0) return
      this.core.exports.streamRelease(this.handle)
      this.drop()
      return
    }
    const owner = this.owner
    if (owner === undefined) return
    if ((bits & STREAM_REFUSED) !== 0) {
      this.core.exports.streamRelease(this.handle)
      this.drop()
      owner.refused?.(code)
      return
    }
    if ((bits & STREAM_ACCEPTED) !== 0) owner.accepted?.()
    if ((bits & STREAM_READABLE) !== 0 && this.owner === owner) owner.readable()
    if ((bits & STREAM_FINISHED) !== 0 && this.owner === owner) owner.finished?.()
    if ((bits & STREAM_WRITABLE) !== 0 && this.owner === owner) owner.writable()
    if ((bits & (STREAM_RESET | STREAM_STOPPED)) !== 0 && this.owner === owner) {
      this.core.exports.streamAbort(this.handle, CODE_ABORTED)
      this.core.exports.streamRelease(this.handle)
      this.drop()
      owner.failed(code)
    }
  }

  /**
   * @internal The connection is gone. With `isSevered` the core keeps what had arrived until the
   * stream is released.
   */
  handleConnectionClosed(code: number, isRefusal: boolean, isSevered: boolean): void {
    const owner = this.owner
    this.isSevered = isSevered && owner !== undefined && !isRefusal
    if (!this.isSevered) {
      if (isSevered) this.core.exports.streamRelease(this.handle)
      this.drop()
    }
    if (isRefusal && owner?.refused !== undefined) owner.refused(code)
    else owner?.failed(code)
  }

  /** @internal The core's part goes with the endpoint. */
  handleEndpointGone(): void {
    this.drop()
  }

  /** @internal */
  get coreHandle(): Handle {
    return this.handle
  }

  private drop(): void {
    if (this.handle === 0) return
    this.handle = 0
    this.owner = undefined
    const { endpoint } = this.connection
    const wasLingering = this.isLingering
    this.isLingering = false
    this.connection.forget(this)
    if (wasLingering) {
      endpoint.lingering -= 1
      endpoint.onSettled()
    }
    endpoint.work()
  }
}
