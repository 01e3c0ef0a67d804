/**
 * The built-in `net` as this folder uses it: the underscore members that subclasses of `net.Socket`
 * and `net.Server` have always been able to override, which @types/node leaves out. Each was read
 * in the sources of Node 20, 22 and 24; `internals.test.ts` fails on a runtime that lacks one.
 */
import net from 'node:net'
import type { Duplex } from 'node:stream'
import type { Listener } from './line.ts'
import type { Link } from './link.ts'
import type { ListenHandle } from './listen-handle.ts'
import type { ChosenSecurity } from './security-choice.ts'
import type { TransportOptions } from './transport-choice.ts'

/** Set on a socket once it speaks UDP: what it has instead of a handle. */
export const kLink: unique symbol = Symbol('punchline.link')
/** Set on sockets and servers that were constructed with options of ours. */
export const kOptions: unique symbol = Symbol('punchline.options')
/** Set on sockets of ours: the abort signal that their constructor was given. */
export const kSignal: unique symbol = Symbol('punchline.signal')
/** True on the prototypes of our own classes, which need nothing from the patched built-in. */
export const kIsOwn: unique symbol = Symbol.for('punchline.net.v1.isOwn')
/** Set on a server by `listen`, read by `_listen2`: which way this listening goes. */
export const kListenPlan: unique symbol = Symbol('punchline.listenPlan')
/** What listens on UDP for a server. */
export const kListener: unique symbol = Symbol('punchline.listener')

export type WriteCallback = (error?: Error | null) => void

/** One entry of what Writable hands to `_writev`. */
export interface WriteEntry {
  readonly chunk: Uint8Array | string
  readonly encoding: BufferEncoding
}

/** Several writes at once; `allBuffers` is set by Writable. */
export type WriteEntries = WriteEntry[] & { readonly allBuffers?: boolean }

/** What `_getpeername` and `_getsockname` answer. */
export interface EndpointName {
  address?: string
  family?: string
  port?: number
}

/** What the built-in asks of a socket's handle while it destroys the socket. */
export interface ClosingHandle {
  readonly bytesRead: number
  readonly bytesWritten: number
  close(callback: () => void): void
  reset(callback: () => void): number
  onread?: unknown
}

/** Members of `net.Socket` that @types/node does not declare. */
export interface SocketInternals {
  [kLink]?: Link | null
  [kOptions]?: TransportOptions | null
  [kSignal]?: AbortSignal | undefined
  readonly [kIsOwn]?: true
  _handle: unknown
  _parent: InternalSocket | null | undefined
  _server: net.Server | null
  _host: string | null
  _sockname: EndpointName | null
  _peername: EndpointName | null | undefined
  _pendingData: Uint8Array | string | WriteEntries | null
  _pendingEncoding: string
  _undestroy(): void
  _unrefTimer(): void
  _reset(): net.Socket
  _getpeername(): EndpointName
  _getsockname(): EndpointName
  _writeGeneric(
    isWritev: boolean,
    data: Uint8Array | string | WriteEntries,
    encoding: BufferEncoding,
    callback: WriteCallback,
  ): unknown
  readonly _bytesDispatched: number
  server: net.Server | null
  autoSelectFamilyAttemptedAddresses?: string[]
  blockList?: net.BlockList
}

/** `net.Socket` with its internals; `connecting` is written by whoever connects it. */
export type InternalSocket = Omit<net.Socket, 'connecting' | 'allowHalfOpen'> &
  SocketInternals & { connecting: boolean; allowHalfOpen: boolean }

/** What the built-in asks of a server's handle. */
export interface ServerHandle {
  close(callback?: () => void): void
  getsockname(out: EndpointName): number
  ref(): void
  unref(): void
}

/** What `listen` decided for `_listen2`. */
export interface ListenPlan {
  readonly transport: 'udp' | 'auto'
  readonly security: ChosenSecurity
  readonly morePorts: readonly number[] | undefined
}

/** Members of `net.Server` that @types/node does not declare. */
export interface ServerInternals {
  [kOptions]?: TransportOptions | null
  [kListenPlan]?: ListenPlan | null
  [kListener]?: Listener | null
  readonly [kIsOwn]?: true
  _handle: ServerHandle | ListenHandle | null
  _connections: number
  _connectionKey?: string
  _unref: boolean
  _listen2(
    address: string | null,
    port: number | null,
    addressType: number | null,
    backlog: number | undefined,
    fd: number | undefined,
    flags: number | undefined,
  ): void
  allowHalfOpen: boolean
  pauseOnConnect: boolean
  noDelay: boolean
  keepAlive: boolean
  /** Seconds: the built-in constructor has divided what the user gave. */
  keepAliveInitialDelay: number
  highWaterMark: number
  blockList?: net.BlockList
}

export type InternalServer = net.Server & ServerInternals

/** Arguments of `connect` and `listen` as the built-in normalizes them. */
export type NormalizedArguments = [options: ConnectRequest, callback: (() => void) | null]

/** The options of `connect` before they are validated: anything may stand in them. */
export interface ConnectRequest extends TransportOptions {
  port?: unknown
  host?: unknown
  path?: unknown
  family?: unknown
  hints?: number
  lookup?: net.LookupFunction
  localAddress?: string
  localPort?: number
  autoSelectFamily?: unknown
  autoSelectFamilyAttemptTimeout?: unknown
  timeout?: number
  _handle?: unknown
  handle?: unknown
  fd?: unknown
}

/** Functions of the built-in module that @types/node does not declare. */
export interface NetInternals {
  _normalizeArgs(args: readonly unknown[]): NormalizedArguments
  _createServerHandle(
    address: string | null,
    port: number,
    addressType: number,
    fd: number | undefined,
    flags: number | undefined,
  ): number | ServerHandle
}

/** The built-in module with those functions. */
export const builtinNet = net as typeof net & NetInternals

/** `connect` of the built-in as it was before anybody patched the prototype. */
export const builtinSocketConnect = net.Socket.prototype.connect

/** The methods that `socketMethods` replaces. */
export const overriddenMethods = [
  'connect',
  '_read',
  '_final',
  '_destroy',
  '_writeGeneric',
  '_getpeername',
  '_getsockname',
  'pause',
  'resume',
  'read',
  'ref',
  'unref',
  'resetAndDestroy',
  'setKeepAlive',
  'setNoDelay',
] as const

/** The running Node's major version, for the few differences that nothing else shows. */
export const nodeMajorVersion = Number.parseInt(process.versions.node, 10)

// The marker on normalized arguments is a private symbol of the runtime; one call shows it.
let normalizedMarker: symbol | undefined

/** Normalizes arguments of `connect`, passing through what `net.connect` has normalized already. */
export function normalizeArguments(args: readonly unknown[]): NormalizedArguments {
  const first = args[0]
  if (Array.isArray(first)) {
    normalizedMarker ??= Object.getOwnPropertySymbols(builtinNet._normalizeArgs([]))[0]
    if (normalizedMarker !== undefined && normalizedMarker in first)
      return first as NormalizedArguments
  }
  return builtinNet._normalizeArgs(args)
}

/** Finds the symbols under which the built-in constructor keeps the options it has validated. */
export interface SocketSymbols {
  readonly userBuffer: symbol | undefined
  readonly userBufferCallback: symbol | undefined
  readonly userBufferMaker: symbol | undefined
  readonly noDelay: symbol | undefined
  readonly keepAlive: symbol | undefined
  readonly keepAliveInitialDelay: symbol | undefined
}

let socketSymbolsFound: SocketSymbols | undefined

/** Gives those symbols; one the runtime does not have is undefined and its option has no effect. */
export function socketSymbols(): SocketSymbols {
  if (socketSymbolsFound === undefined) {
    const byDescription = new Map<string | undefined, symbol>()
    for (const symbol of Object.getOwnPropertySymbols(new net.Socket())) {
      byDescription.set(symbol.description, symbol)
    }
    socketSymbolsFound = {
      userBuffer: byDescription.get('kBuffer'),
      userBufferCallback: byDescription.get('kBufferCb'),
      userBufferMaker: byDescription.get('kBufferGen'),
      noDelay: byDescription.get('kSetNoDelay'),
      keepAlive: byDescription.get('kSetKeepAlive'),
      keepAliveInitialDelay: byDescription.get('kSetKeepAliveInitialDelay'),
    }
  }
  return socketSymbolsFound
}

/** Reads or is undefined: for members behind symbols that a runtime may not have. */
export function readSymbol(target: object, symbol: symbol | undefined): unknown {
  return symbol === undefined ? undefined : Reflect.get(target, symbol)
}

/** Narrows to what this folder works with. */
export function asInternalSocket(socket: net.Socket | Duplex): InternalSocket {
  return socket as unknown as InternalSocket
}
