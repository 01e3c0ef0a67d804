/**
 * What a socket needs from below: a `Line` is one reliable, ordered, flow-controlled byte stream
 * between two programs, a `Carrier` makes and accepts lines. The UDP transport is one carrier; the
 * tests bring another that lives in memory.
 */
import type { SecurityInfo } from '../transport/index.ts'
import type { ChosenSecurity } from './security-choice.ts'

/** Both ends of a line as `net.Socket` reports them. */
export interface LineAddresses {
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly family: 'IPv4' | 'IPv6'
}

/** Why a line ended without both sides finishing: the `code` that `node:net` gives. */
export type LineFailure = 'ECONNRESET' | 'ETIMEDOUT' | 'EPIPE' | 'EPROTO'

/** Why a line was never opened. */
export type LineRefusal =
  | 'ECONNREFUSED'
  | 'ETIMEDOUT'
  | 'EHOSTUNREACH'
  | 'ENETUNREACH'
  | 'EADDRNOTAVAIL'
  | 'EADDRINUSE'
  | 'EINVAL'
  | 'EACCES'
  | 'ECONNRESET'
  | 'EPROTO'

/**
 * What a line tells its owner. Calls come from the event loop, never from inside a call of the
 * owner to the line, and none comes after `release` or after `failed`/`refused`.
 */
export interface LineOwner {
  /** The peer's program accepted: bytes may flow. Never called on accepted lines. */
  connected(): void
  /** The line was never opened. `cause` carries more when there is more to say. */
  refused(code: LineRefusal, cause?: Error): void
  /** `read` has something to give: bytes, or `ended` has become true. Told once per need: again only after `read` has answered null. */
  readable(): void
  /** `write` accepts bytes again after it accepted less than it was given. */
  writable(): void
  /** The peer's transport acknowledged every byte and our FIN. */
  finished(): void
  /**
   * The peer reset the line, or the connection is gone. Unread bytes are gone with it, or `read`
   * still gives them: it stays callable until `release` and answers null when there is nothing.
   */
  failed(code: LineFailure, cause?: Error): void
}

export interface Line {
  owner: LineOwner
  /** Known at once on accepted lines; on dialled ones the local half is known at once, too. */
  readonly addresses: LineAddresses
  /** The addresses that datagrams really take, when they differ from what the socket reports. */
  readonly path?: LineAddresses
  /** Copies as much of `chunk` as the send window has room for and answers how many bytes. May be called before `connected`: what is accepted then leaves with the opening. */
  write(chunk: Uint8Array): number
  /** Says that nothing follows: FIN goes after all bytes accepted. */
  finish(): void
  /** Gives up to `sizeMax` bytes (default: what is there, at most 64 KiB) as a private Buffer, or null when nothing is there. Reading is what opens the receive window: who does not read, stops the sender. */
  read(sizeMax?: number): Buffer | null
  /** As `read`, but into the caller's memory; answers the number of bytes, 0 when nothing is there. */
  readInto(target: Uint8Array): number
  /** Bytes that `read` could give now. */
  readonly readableSize: number
  /** The peer's FIN was reached: everything was read. */
  readonly ended: boolean
  /** Aborts: the peer sees ECONNRESET, bytes not yet acknowledged are dropped. Releases too. */
  reset(): void
  /**
   * The owner is gone. Written bytes and the FIN (sent if it was not yet) are still delivered;
   * bytes that arrive later, or are unread now, make the transport reset the peer, as TCP does.
   */
  release(): void
  /** Whether this line alone keeps the process alive. Lines start with true. */
  setRef(isRef: boolean): void
  /** Coalescing: with true (the default is false, as in `net`) small writes leave at once. */
  setNoDelay(isNoDelay: boolean): void
  /** Asks for probes while idle. The transport may probe more often by itself. */
  setKeepAlive(isEnabled: boolean, initialDelayMs: number): void
  stats(): LineStats
  /** What was proven about the peer; undefined before the handshake is through. */
  readonly security?: SecurityInfo | undefined
}

/** Figures of one line and of the connection that carries it. */
export interface LineStats {
  readonly transport: 'udp'
  /** Which tier carries datagrams, and why not a faster one ('' when there is none). */
  readonly backend: string
  readonly backendReason?: string
  /**
   * The cipher; 'none' = plaintext, guarded against accidents by CRC32C only; 'handshake' = not yet
   * decided.
   */
  readonly security: string
  readonly [figure: string]: unknown
}

export interface DialTarget {
  /** IP literal: names are resolved by the socket. */
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  /** Own UDP socket bound here; without both the default client endpoint of the family is shared. */
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
  /** Until a peer that never answers is ETIMEDOUT. */
  readonly connectTimeoutMs?: number | undefined
  /** How it is protected, and who the peer has to be; default: what the process is set to. */
  readonly security?: ChosenSecurity | undefined
}

export interface ListenTarget {
  /** IP literal, or undefined: '::' dual stack, '0.0.0.0' where there is no IPv6. */
  readonly address?: string | undefined
  /** 0 = any free port. */
  readonly port: number
  readonly ipv6Only?: boolean | undefined
  readonly reusePort?: boolean | undefined
  /** Further ports at the same address that lead to the same listener; 0 = any free one. */
  readonly morePorts?: readonly number[] | undefined
  /** How peers must protect themselves, and who may come; default: what the process is set to. */
  readonly security?: ChosenSecurity | undefined
  /** How many lines may wait half open; undefined = the carrier's own limit. */
  readonly backlog?: number | undefined
}

export interface ListenerOwner {
  /**
   * A peer wants a line. Answer true after taking it (its `owner` must be set by then), false to
   * refuse it: the peer sees ECONNREFUSED.
   */
  incoming(line: Line): boolean
  /** The socket below failed after it was bound. */
  failed(cause: Error): void
}

export interface Listener {
  readonly address: {
    readonly address: string
    readonly family: 'IPv4' | 'IPv6'
    readonly port: number
  }
  /** All ports that lead here and work, that of `address` first; default: that one. */
  readonly ports?: readonly number[]
  /** Stops accepting at once; accepted lines live on, the port can be listened on again. */
  close(): void
  setRef(isRef: boolean): void
}

/** What a pinned peer tells. */
export interface PinnedLineOwner {
  connected?: ((epoch: number) => void) | undefined
  lost?: (() => void) | undefined
}

/** A peer that a connection is kept to. */
export interface PinnedLine {
  readonly isConnected: boolean
  readonly epoch: number
  release(): void
}

export interface Carrier {
  /** Which tier carries datagrams, for statistics. */
  readonly backend?: string
  readonly backendReason?: string
  /** Ciphers of all connections so far, for statistics. */
  readonly security?: string
  /** Counters of the whole process, for statistics. */
  totals?(): Readonly<Record<string, number>>
  /**
   * Opens a line. Never throws for what the network says: that comes through `owner.refused`.
   * @throws a system error with code (EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL) when
   *   `localAddress` and `localPort` cannot be bound.
   */
  dial(target: DialTarget, owner: LineOwner): Line
  /** Keeps a connection to a peer. */
  pin?(target: DialTarget, owner: PinnedLineOwner): PinnedLine
  /**
   * Binds synchronously: the address is known on return.
   * @throws a system error with code (EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL), errno, syscall
   *   'listen', address and port, as `node:net` emits it.
   */
  listen(target: ListenTarget, owner: ListenerOwner): Listener
}
