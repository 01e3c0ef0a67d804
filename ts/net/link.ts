/**
 * What a socket over UDP has instead of a handle: it moves bytes between one `net.Socket` and one
 * `Line`, and turns what the line says into what libuv would have said. One `Link` lives from one
 * `connect` (or accept) to the `close` that belongs to it; the next `connect` on the same socket
 * gets a new one, so that late events of the old line find nobody.
 */
import { AsyncResource } from 'node:async_hooks'
import { FrameCutter } from './frame-cutter.ts'
import {
  type ClosingHandle,
  type InternalSocket,
  nodeMajorVersion,
  readSymbol,
  socketSymbols,
  type WriteCallback,
} from './internals.ts'
import { connectWrapper, isReadByHttp2, isReadByWrapper, showHandle } from './js-stream-wrapper.ts'
import type { Line, LineFailure, LineOwner, LineRefusal, LineStats } from './line.ts'
import { RecordCutter } from './record-cutter.ts'
import { errnoException } from './system-errors.ts'
import type { WriteJob } from './write-job.ts'

const CONNECTED = 1
const REFUSED = 2
const WRITABLE = 4
const READABLE = 8
const FAILED = 16

// After so many chunks in a row the event loop gets a turn: libuv stops at 32 reads, too.
const chunksPerTurnMax = 32

/** Who hears about the outcome of dialling: the `connect` that is under way. */
export interface DialObserver {
  connected(): void
  refused(code: LineRefusal, cause: Error | undefined): void
}

interface UserBuffer {
  buffer: Uint8Array
  readonly callback: (this: InternalSocket, size: number, buffer: Uint8Array) => unknown
  readonly makeNext: (() => unknown) | null
}

export class Link extends AsyncResource implements LineOwner {
  /** Null before dialling and after closing. */
  line: Line | null = null
  /** True from `destroy` on. */
  isClosed = false
  bytesRead = 0
  /** Bytes of all writes handed over, accepted by the window or not yet. */
  bytesDispatched = 0

  private socket: InternalSocket | null = null
  private observer: DialObserver | null = null
  private isOpen = false
  private isReading = false
  private isEnded = false
  // The built-in constructor has added one.
  private endListenerCount = 1
  private isRefWanted = true
  private isNoDelay = false
  private isKeptAlive = false
  private isLineRef = true
  private events = 0
  private isScheduled = false
  private chunksThisTurn = 0
  private failure: { code: LineFailure; cause: Error | undefined } | null = null
  private refusal: { code: LineRefusal; cause: Error | undefined } | null = null
  private job: WriteJob | null = null
  private jobCallback: WriteCallback | null = null
  private earlyJob: WriteJob | null = null
  private isEarlyAllowed = false
  private isEarlySent = false
  private userBuffer: UserBuffer | null = null
  private cutter: FrameCutter | RecordCutter | null = null
  /** What the cutter has left for the next tick. */
  private rest: Buffer | null = null
  private isHeld = false
  private lastStats: LineStats | undefined

  constructor() {
    super('PUNCHLINE_LINK')
  }

  // ---- From the carrier. User code must not run inside a carrier, so these only take notes. ----

  connected(): void {
    this.note(CONNECTED)
  }

  refused(code: LineRefusal, cause?: Error): void {
    this.refusal = { code, cause }
    this.note(REFUSED)
  }

  readable(): void {
    this.note(READABLE)
  }

  writable(): void {
    this.note(WRITABLE)
  }

  finished(): void {
    // 'finish' was emitted when the bytes were handed over, as with the kernel's buffer.
  }

  failed(code: LineFailure, cause?: Error): void {
    this.failure = { code, cause }
    this.note(FAILED)
  }

  // ---- From the socket. ----

  /** Binds to the socket that `connect` was called on. */
  attach(socket: InternalSocket): void {
    this.socket = socket
    this.takeUserBuffer(socket)
  }

  /** Binds an accepted line to its socket. */
  attachAccepted(socket: InternalSocket, line: Line): void {
    this.socket = socket
    this.line = line
    this.isOpen = true
    this.updateRef()
  }

  /**
   * Takes the line that is being dialled; `observer` hears how it went. Bytes leave with the
   * opening only if no other address may be tried: the loser could have delivered them, too.
   */
  attachDialled(line: Line, observer: DialObserver, isOnlyAttempt: boolean): void {
    this.line = line
    this.observer = observer
    this.isEarlyAllowed = isOnlyAttempt
    this.isLineRef = true
    this.updateRef()
    this.flushEarly()
  }

  /** Gives up a dialled line that has not answered, to try another address. */
  dropDialled(): void {
    this.events = 0
    this.observer = null
    if (this.line !== null) {
      this.line.reset()
      this.line.owner = nobody
    }
    this.line = null
  }

  startReading(): void {
    if (this.isReading || this.isEnded || this.isClosed || this.isHeld) return
    this.isReading = true
    this.updateRef()
    this.events |= this.failure === null ? READABLE : FAILED
    if (this.isScheduled || this.socket === null) return
    // libuv, too, starts to read from the next turn of the loop on.
    this.isScheduled = true
    setImmediate(runLink, this)
  }

  stopReading(): void {
    this.isReading = false
    this.updateRef()
  }

  /** The socket pauses: who takes bytes in exact turns gets none from now on, as from libuv. */
  pause(socket: InternalSocket): void {
    this.lookForCutter(socket)
    this.isHeld = this.cutter !== null
    if (this.isHeld || this.hasUserBuffer) this.stopReading()
  }

  /** The socket reads on. */
  resume(): void {
    const isDue = this.isHeld || this.hasUserBuffer
    this.isHeld = false
    if (isDue && this.line !== null) this.startReading()
  }

  /**
   * Looks whether the runtime has wrapped the socket as a stream; called when somebody resumes it.
   * Cheap unless listeners of 'end' have come or gone.
   */
  noticeWrapper(): void {
    const { socket } = this
    if (socket === null || (!this.isOpen && !socket.connecting)) return
    const count = socket.listenerCount('end')
    if (count === this.endListenerCount) return
    this.endListenerCount = count
    if (!isReadByWrapper(socket)) return
    if (this.isOpen) showHandle(socket)
    else connectWrapper(socket)
  }

  /** True from 'connect' until closing. */
  get isConnected(): boolean {
    return this.isOpen && !this.isClosed
  }

  /** True while bytes are taken from the line as they come. */
  get reading(): boolean {
    return this.isReading
  }

  /** True when the `onread` option is in use: then `pause` stops the line at once. */
  get hasUserBuffer(): boolean {
    return this.userBuffer !== null
  }

  /** Lets a write that waits for 'connect' leave with the opening. */
  setEarlyJob(job: WriteJob): void {
    this.earlyJob = job
    this.flushEarly()
  }

  /** The early write, to be dispatched now that the line is open. */
  takeEarlyJob(): WriteJob | null {
    const job = this.earlyJob
    this.earlyJob = null
    return job
  }

  /** Writes; the callback runs when the line has accepted every byte, at once if it can. */
  dispatch(job: WriteJob, callback: WriteCallback): void {
    this.bytesDispatched += job.sizeBytes
    if (this.failure !== null) {
      callback(this.writeError(this.failure))
    } else if (this.line === null || job.flush(this.line)) {
      callback()
    } else {
      this.job = job
      this.jobCallback = callback
      this.updateRef()
    }
  }

  /** Sends FIN after what was written. */
  finish(callback: () => void): void {
    if (this.failure === null) this.line?.finish()
    // libuv reports a shutdown when the running callback and its ticks are over, before immediates.
    queueMicrotask(() => process.nextTick(() => this.runInAsyncScope(callback)))
  }

  setRef(isRef: boolean): void {
    this.isRefWanted = isRef
    this.updateRef()
  }

  /** Passes `setNoDelay` and `setKeepAlive` on, whose values the built-in keeps on the socket. */
  applySettings(): void {
    this.applyNoDelay()
    this.applyKeepAlive()
  }

  applyNoDelay(): void {
    const { socket } = this
    if (this.line === null || socket === null || !this.isUsable) return
    const isNoDelay = readSymbol(socket, socketSymbols().noDelay) === true
    if (isNoDelay === this.isNoDelay) return
    this.isNoDelay = isNoDelay
    this.line.setNoDelay(isNoDelay)
  }

  applyKeepAlive(): void {
    const { socket } = this
    if (this.line === null || socket === null || !this.isUsable) return
    const isKeptAlive = readSymbol(socket, socketSymbols().keepAlive) === true
    if (!isKeptAlive && !this.isKeptAlive) return
    this.isKeptAlive = isKeptAlive
    const delaySeconds = Number(readSymbol(socket, socketSymbols().keepAliveInitialDelay)) || 0
    this.line.setKeepAlive(isKeptAlive, delaySeconds * 1000)
  }

  stats(): LineStats | undefined {
    return this.isUsable ? (this.line?.stats() ?? this.lastStats) : this.lastStats
  }

  /** What stands in for a handle while the built-in `_destroy` does its work. */
  closingHandle(): ClosingHandle {
    return {
      bytesRead: this.bytesRead,
      bytesWritten: this.bytesDispatched,
      close: (callback) => this.close(callback, false),
      reset: (callback) => {
        this.close(callback, true)
        return 0
      },
    }
  }

  // ---- Details. ----

  private flushEarly(): void {
    if (this.earlyJob === null || this.line === null || !this.isEarlyAllowed) return
    this.isEarlySent = true
    this.earlyJob.flush(this.line)
  }

  private get isUsable(): boolean {
    return this.line !== null && this.failure === null && this.refusal === null
  }

  private close(callback: () => void, isReset: boolean): void {
    const { line, jobCallback } = this
    if (line !== null) this.lastStats = line.stats()
    if (line !== null && !this.isUsable) line.release()
    else if (line !== null) {
      // `connect` has told the writer that nothing was sent, so nothing may arrive.
      const isUnsaid = this.isEarlySent && !this.isOpen
      if (isReset || isUnsaid || line.readableSize > 0) line.reset()
      else line.release()
    }
    // Nothing comes any more, and the carrier may keep the line for a while: not the socket, too.
    if (line !== null) line.owner = nobody
    this.isClosed = true
    this.isReading = false
    this.events = 0
    this.line = null
    this.observer = null
    this.earlyJob = null
    this.job = null
    this.jobCallback = null
    // libuv cancels writes before it reports the close, and reports both from the loop. What Node
    // makes of the cancelling has changed: before 22 it kept it from the writer.
    if (jobCallback !== null) {
      const error = nodeMajorVersion >= 22 ? errnoException('ECANCELED', 'write') : null
      setImmediate(() => this.runInAsyncScope(jobCallback, null, error))
    }
    setImmediate(() => this.runInAsyncScope(callback))
  }

  // As with libuv: a request under way (connecting, writing) keeps the process alive in any case, a
  // handle only while it reads and is not unref'ed, an idle one never.
  private updateRef(): void {
    if (this.line === null || !this.isUsable) return
    const isRequested = !this.isOpen || this.job !== null
    const isRef = isRequested || (this.isRefWanted && this.isReading)
    if (isRef === this.isLineRef) return
    this.isLineRef = isRef
    this.line.setRef(isRef)
  }

  private note(event: number): void {
    this.events |= event
    if (event === READABLE && !this.isReading) return
    this.schedule()
  }

  private schedule(): void {
    if (this.isScheduled || this.socket === null) return
    this.isScheduled = true
    process.nextTick(runLink, this)
  }

  // One event of libuv is one callback, with all microtasks and ticks run before the next: the
  // detour lets them run here, too.
  private scheduleNext(): void {
    if (this.isScheduled || this.isClosed) return
    this.isScheduled = true
    if (this.chunksThisTurn < chunksPerTurnMax) {
      queueMicrotask(() => process.nextTick(runLink, this))
    } else {
      this.chunksThisTurn = 0
      setImmediate(runLink, this)
    }
  }

  /** @internal Runs the most urgent noted event; called by `runLink` only. */
  step(): void {
    this.isScheduled = false
    const { socket } = this
    if (this.isClosed || socket === null) return
    try {
      const event = this.takeEvent()
      if (event === CONNECTED) this.onConnected(socket)
      else if (event === REFUSED) this.onRefused()
      else if (event === WRITABLE) this.onWritable(socket)
      else if (event === READABLE) this.onReadable(socket)
      else if (event === FAILED) this.onFailed(socket)
    } finally {
      // Also after an exception of user code: the program may survive it by 'uncaughtException'.
      if ((this.isReading ? this.events : this.events & ~READABLE) !== 0) this.scheduleNext()
    }
  }

  private takeEvent(): number {
    for (let event = CONNECTED; event <= FAILED; event <<= 1) {
      if ((this.events & event) === 0) continue
      if (event === READABLE && !this.isReading) continue
      this.events &= ~event
      return event
    }
    return 0
  }

  private onConnected(socket: InternalSocket): void {
    const { observer } = this
    this.observer = null
    this.isOpen = true
    this.updateRef()
    socket._sockname = null
    observer?.connected()
  }

  private onRefused(): void {
    const { observer, refusal } = this
    this.observer = null
    this.line = null
    if (refusal !== null) {
      this.refusal = null
      observer?.refused(refusal.code, refusal.cause)
    }
  }

  private onWritable(socket: InternalSocket): void {
    const { job, jobCallback, line } = this
    if (line === null || this.failure !== null) return
    if (!this.isOpen) {
      this.flushEarly()
      return
    }
    if (job === null || jobCallback === null) return
    socket._unrefTimer()
    if (!job.flush(line)) return
    this.job = null
    this.jobCallback = null
    this.updateRef()
    jobCallback(null)
  }

  private onReadable(socket: InternalSocket): void {
    const { line } = this
    if (line === null) return
    const isMore =
      this.userBuffer === null
        ? this.readChunk(socket, line)
        : this.readIntoUserBuffer(socket, line, this.userBuffer)
    if (isMore) this.chunksThisTurn += 1
    else this.chunksThisTurn = 0
  }

  private readChunk(socket: InternalSocket, line: Line): boolean {
    this.lookForCutter(socket)
    let chunk = this.rest ?? line.read()
    this.rest = null
    if (chunk === null) return this.reachEnd(socket, line)
    if (this.cutter !== null) {
      const size = this.cutter.cut(chunk)
      if (size < chunk.length) this.rest = chunk.subarray(size)
      chunk = chunk.subarray(0, size)
    }
    this.bytesRead += chunk.length
    this.events |= READABLE
    socket._unrefTimer()
    if (!socket.push(chunk)) this.stopReading()
    return true
  }

  private lookForCutter(socket: InternalSocket): void {
    if (this.bytesRead > 0 || this.cutter !== null || !isReadByWrapper(socket)) return
    this.cutter = isReadByHttp2(socket) ? new FrameCutter() : new RecordCutter()
  }

  private readIntoUserBuffer(socket: InternalSocket, line: Line, user: UserBuffer): boolean {
    const size = line.readInto(user.buffer)
    if (size === 0) return this.reachEnd(socket, line)
    this.bytesRead += size
    this.events |= READABLE
    socket._unrefTimer()
    const isMoreWanted = user.callback.call(socket, size, user.buffer) !== false
    const next = user.makeNext?.()
    if (next instanceof Uint8Array) user.buffer = next
    if (!isMoreWanted) this.stopReading()
    return true
  }

  private reachEnd(socket: InternalSocket, line: Line): boolean {
    if (!line.ended || !this.isReading) return false
    this.isEnded = true
    this.stopReading()
    if (!socket.allowHalfOpen && isReadByWrapper(socket)) socket.allowHalfOpen = true
    socket._unrefTimer()
    socket.push(null)
    socket.read(0)
    return false
  }

  private onFailed(socket: InternalSocket): void {
    const { failure, line } = this
    if (failure === null) return
    if (!this.isOpen) {
      this.refusal = {
        code: failure.code === 'EPIPE' ? 'ECONNRESET' : failure.code,
        cause: failure.cause,
      }
      this.onRefused()
      return
    }
    if (this.isReading && line !== null) {
      // The kernel, too, gives what had arrived before, and the peer's FIN.
      const isRest = this.rest !== null || line.readableSize > 0
      if (isRest) this.events |= FAILED
      if (isRest || line.ended) this.onReadable(socket)
      else socket.destroy(errnoException(failure.code, 'read', failure.cause))
    }
    if (!this.isReading) this.failJob(failure)
    // Nobody reads or writes: libuv would not know yet. `startReading` and `dispatch` will tell.
  }

  private failJob(failure: { code: LineFailure; cause: Error | undefined }): void {
    const { jobCallback } = this
    this.job = null
    this.jobCallback = null
    jobCallback?.(this.writeError(failure))
  }

  private writeError(failure: { code: LineFailure; cause: Error | undefined }): Error {
    // The kernel says EPIPE when the peer had ended before it reset.
    const isAfterEnd = failure.code === 'ECONNRESET' && this.isEnded
    return errnoException(isAfterEnd ? 'EPIPE' : failure.code, 'write', failure.cause)
  }

  private takeUserBuffer(socket: InternalSocket): void {
    const symbols = socketSymbols()
    const callback = readSymbol(socket, symbols.userBufferCallback)
    if (typeof callback !== 'function') return
    const makeNext = readSymbol(socket, symbols.userBufferMaker)
    const isMade = typeof makeNext === 'function'
    const buffer: unknown = isMade ? makeNext() : readSymbol(socket, symbols.userBuffer)
    if (!(buffer instanceof Uint8Array)) return
    this.userBuffer = {
      buffer,
      callback: callback as UserBuffer['callback'],
      makeNext: isMade ? (makeNext as () => unknown) : null,
    }
  }
}

const nobody: LineOwner = {
  connected() {},
  refused() {},
  readable() {},
  writable() {},
  finished() {},
  failed() {},
}

function runLink(link: Link): void {
  link.runInAsyncScope(link.step, link)
}
