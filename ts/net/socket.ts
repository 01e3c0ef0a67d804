/**
 * `Socket` of `punchline/net`: the built-in's subclass, so that `instanceof net.Socket` holds and
 * everything over TCP, pipes and descriptors is the built-in itself.
 */
import net from 'node:net'
import { addAbortSignal } from 'node:stream'
import { figureDescriptors, type SocketFigures } from './figures.ts'
import { defineOnFirstUse } from './first-use.ts'
import {
  type InternalSocket,
  kIsOwn,
  kLink,
  kOptions,
  kSignal,
  normalizeArguments,
  overriddenMethods,
} from './internals.ts'
import { socketAccessors } from './socket-accessors.ts'
import { type SocketBase, socketMethods } from './socket-overrides.ts'
import type { TransportOptions } from './transport-choice.ts'

/** Options of the constructor: those of `net.Socket` and ours. */
export type SocketOptions = net.SocketConstructorOpts & TransportOptions

/** Options of `connect` of a socket. */
export type SocketConnectOptions = net.SocketConnectOpts &
  TransportOptions & { readonly signal?: AbortSignal | undefined }

/** A socket: `net.Socket` with `stats()` and `path`. */
export interface Socket extends net.Socket, SocketFigures {
  /** `signal` destroys the socket with an AbortError, as the constructor's does. */
  connect(options: SocketConnectOptions, connectionListener?: () => void): this
  connect(port: number, host: string, connectionListener?: () => void): this
  connect(port: number, connectionListener?: () => void): this
  connect(path: string, connectionListener?: () => void): this
}

/** The class, which may be called without `new` like the built-in. */
export interface SocketConstructor {
  new (options?: SocketOptions): Socket
  (options?: SocketOptions): Socket
  readonly prototype: Socket
}

/** Gives our own options, or null when there are none. */
export function takeOptions(options: unknown): TransportOptions | null {
  if (typeof options !== 'object' || options === null) return null
  const { transport, security, connectTimeoutMs, morePorts } = options as TransportOptions
  const own = { transport, security, connectTimeoutMs, morePorts }
  return Object.values(own).every((value) => value === undefined) ? null : own
}

/** A stream socket over TCP or over Punchline's transport. */
// A function and not a class: node:net's constructors are called without `new`, and some programs do.
export const Socket = function (
  this: InternalSocket | undefined,
  options?: SocketOptions,
): unknown {
  if (!(this instanceof Socket)) return new Socket(options)
  Reflect.apply(net.Socket, this, [options])
  const socket = this as unknown as InternalSocket
  socket[kOptions] = takeOptions(options)
  socket[kLink] = null
  socket[kSignal] = (options as net.SocketConstructorOpts | undefined)?.signal
  return undefined
} as unknown as SocketConstructor

// Compiled to CommonJS the function would have no name.
Object.defineProperty(Socket, 'name', { value: 'Socket' })
Object.setPrototypeOf(Socket, net.Socket)
Object.setPrototypeOf(Socket.prototype, net.Socket.prototype)

let methodsMade: ReturnType<typeof socketMethods> | undefined

function methods() {
  methodsMade ??= socketMethods(net.Socket.prototype as unknown as SocketBase)
  return methodsMade
}

defineOnFirstUse(Socket.prototype, overriddenMethods, methods)

// Methods of the built-in are enumerable; programs that copy them to a wrapper count on that.
Object.assign(Socket.prototype, {
  connect(this: InternalSocket, ...args: unknown[]): InternalSocket {
    const normalized = normalizeArguments(args)
    const { signal } = normalized[0] as { signal?: unknown }
    // `net.connect` has given it to the constructor.
    const isNew = signal !== undefined && signal !== this[kSignal]
    const isSignal = typeof signal === 'object' && signal !== null && 'aborted' in signal
    // What is no signal throws here, before anything has been started.
    if (isNew && !isSignal) addAbortSignal(signal as AbortSignal, this)
    methods().connect.call(this, normalized as never)
    if (isNew) addAbortSignal(signal as AbortSignal, this)
    return this
  },
})
Object.defineProperties(Socket.prototype, {
  ...socketAccessors,
  ...figureDescriptors,
  [kIsOwn]: { value: true },
})

/** Turns a socket that the built-in accepted over TCP into one of ours. */
export function adoptAccepted(socket: unknown): void {
  if (typeof socket !== 'object' || socket === null) return
  if (Object.getPrototypeOf(socket) === net.Socket.prototype) {
    Object.setPrototypeOf(socket, Socket.prototype)
  }
}
