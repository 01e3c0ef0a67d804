/** A line over the UDP transport: one stream of a connection. */

import { type PunchlineErrorCode, punchlineErrorCodes, TransportError } from '../errors.ts'
import {
  CODE_CONNECT_TIMEOUT,
  CODE_DENIED,
  CODE_HANDSHAKE,
  CODE_IDENTITY,
  CODE_IDLE_TIMEOUT,
  CODE_PROTOCOL,
  CODE_SECURITY,
  CODE_VERSION,
} from '../transport/codes.ts'
import type { ConnectionFigures, SecurityInfo, Stream, StreamOwner } from '../transport/index.ts'
import type { Line, LineAddresses, LineFailure, LineOwner, LineRefusal, LineStats } from './line.ts'

/** What a line needs of the mux that carries it. */
export interface LineHome {
  readonly backend: string
  /** Why it is not a faster one; '' when there is none. */
  readonly backendReason: string
  /** The line's stream is gone, whatever the reason. */
  forget(line: UdpLine): void
  refChanged(): void
}

/** Nobody listens to what happens before an owner is set or after it is gone. */
const NOBODY: LineOwner = {
  connected() {},
  refused() {},
  readable() {},
  writable() {},
  finished() {},
  failed() {},
}

export class UdpLine implements Line, StreamOwner {
  owner: LineOwner = NOBODY
  readonly addresses: LineAddresses
  readonly path: LineAddresses
  /** Whether it keeps the process alive by itself. */
  isRef = true
  private readonly home: LineHome
  private stream: Stream | undefined
  private isAccepted: boolean
  private isReadableTold = false
  private timer: NodeJS.Timeout | undefined
  private lastFigures: ConnectionFigures | undefined
  private lastSecurity: SecurityInfo | undefined
  /** Called once when the line was not opened; gives true when it is dialled again instead. */
  private retry: ((code: number) => boolean) | undefined

  constructor(home: LineHome, addresses: LineAddresses, path: LineAddresses, isAccepted: boolean) {
    this.home = home
    this.addresses = addresses
    this.path = path
    this.isAccepted = isAccepted
  }

  /** Gives the line its stream. `retry` may dial again when the peer turns out to be gone. */
  carry(stream: Stream, retry?: (code: number) => boolean): void {
    this.stream = stream
    this.retry = retry
  }

  /** The line can't be opened: the owner is told in a later turn. */
  fail(code: LineRefusal, cause?: Error): void {
    process.nextTick(() => this.refuse(code, cause))
  }

  /** Gives up unless the peer accepts or refuses in time. */
  expectWithin(timeoutMs: number): void {
    this.timer = setTimeout(() => this.timeOut(), timeoutMs)
    this.timer.unref()
  }

  private timeOut(): void {
    const stream = this.stream
    this.lose()
    stream?.reset()
    this.refuse('ETIMEDOUT')
  }

  // ── What the owner does ────────────────────────────────────────────────────────────────────────

  write(chunk: Uint8Array): number {
    return this.stream?.write(chunk) ?? 0
  }

  finish(): void {
    this.stream?.finish()
  }

  read(sizeMax?: number): Buffer | null {
    const bytes = this.stream?.read(sizeMax) ?? null
    if (bytes === null) this.isReadableTold = false
    return bytes
  }

  readInto(target: Uint8Array): number {
    const size = this.stream?.readInto(target) ?? 0
    if (size === 0) this.isReadableTold = false
    return size
  }

  get readableSize(): number {
    return this.stream?.readableSize ?? 0
  }

  get ended(): boolean {
    return this.stream?.ended ?? false
  }

  reset(): void {
    const stream = this.stream
    this.lose()
    stream?.reset()
  }

  release(): void {
    const stream = this.stream
    this.lose()
    stream?.release()
  }

  /** The process ends: FIN, unless nobody has accepted the line or something was not read. */
  leave(): void {
    if (this.isAccepted && this.readableSize === 0) this.finish()
    else this.reset()
  }

  setRef(isRef: boolean): void {
    if (this.isRef === isRef) return
    this.isRef = isRef
    this.home.refChanged()
  }

  setNoDelay(): void {
    // Writes of one turn leave together in any case, and none waits for an acknowledgement.
  }

  setKeepAlive(isEnabled: boolean, initialDelayMs: number): void {
    if (!isEnabled || initialDelayMs <= 0) return
    // The transport probes by itself; the option can only make it probe more often.
    const { connection } = this.stream ?? {}
    connection?.setKeepAlive(Math.min(initialDelayMs, connection.endpoint.options.keepAliveMs))
  }

  get security(): SecurityInfo | undefined {
    return this.stream?.connection.security ?? this.lastSecurity
  }

  stats(): LineStats {
    const { connection } = this.stream ?? {}
    if (connection !== undefined) this.lastFigures = connection.figures()
    return {
      transport: 'udp',
      backend: this.home.backend,
      backendReason: this.home.backendReason,
      security: this.security?.cipher ?? 'handshake',
      ...this.lastFigures,
    }
  }

  // ── What the stream tells ──────────────────────────────────────────────────────────────────────

  accepted(): void {
    clearTimeout(this.timer)
    this.isAccepted = true
    this.retry = undefined
    this.owner.connected()
  }

  refused(code: number): void {
    clearTimeout(this.timer)
    this.stream?.release()
    const retry = this.retry
    this.retry = undefined
    if (retry?.(code) === true) return
    this.lose()
    this.refuse(refusalOf(code), causeOf(code))
  }

  readable(): void {
    if (this.isReadableTold) return
    this.isReadableTold = true
    this.owner.readable()
  }

  writable(): void {
    this.owner.writable()
  }

  finished(): void {
    this.owner.finished()
  }

  failed(code: number): void {
    if (!this.isAccepted) {
      this.refused(code)
      return
    }
    // What had arrived can still be read, but nothing more comes: nobody has to wait for it.
    this.setRef(false)
    this.owner.failed(failureOf(code), causeOf(code))
  }

  private refuse(code: LineRefusal, cause?: Error): void {
    const { owner } = this
    this.owner = NOBODY
    owner.refused(code, cause)
  }

  /** The stream is not ours any more. */
  private lose(): void {
    clearTimeout(this.timer)
    if (this.stream === undefined) return
    this.lastFigures = this.stream.connection.figures()
    this.lastSecurity = this.stream.connection.security
    this.stream = undefined
    this.home.forget(this)
  }
}

function refusalOf(code: number): LineRefusal {
  if (code === CODE_CONNECT_TIMEOUT || code === CODE_IDLE_TIMEOUT) return 'ETIMEDOUT'
  if (code === CODE_DENIED) return 'EACCES'
  if (CAUSES.has(code)) return 'EPROTO'
  return 'ECONNREFUSED'
}

function failureOf(code: number): LineFailure {
  if (code === CODE_IDLE_TIMEOUT) return 'ETIMEDOUT'
  return CAUSES.has(code) ? 'EPROTO' : 'ECONNRESET'
}

/** More about endings that `node:net` has no word for. */
const CAUSES: ReadonlyMap<number, PunchlineErrorCode> = new Map([
  [CODE_VERSION, 'ERR_PUNCHLINE_VERSION'],
  [CODE_HANDSHAKE, 'ERR_PUNCHLINE_HANDSHAKE'],
  [CODE_PROTOCOL, 'ERR_PUNCHLINE_PROTOCOL'],
  [CODE_SECURITY, 'ERR_PUNCHLINE_SECURITY'],
  [CODE_IDENTITY, 'ERR_PUNCHLINE_IDENTITY'],
  [CODE_DENIED, 'ERR_PUNCHLINE_DENIED'],
])

function causeOf(code: number): Error | undefined {
  const name = CAUSES.get(code)
  return name === undefined ? undefined : new TransportError(name, punchlineErrorCodes[name])
}
