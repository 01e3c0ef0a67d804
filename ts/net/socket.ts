/**
 * `Socket` of `punchline/net`: the built-in's subclass, so that `instanceof net.Socket` holds and
 * everything over TCP, pipes and descriptors is the built-in itself.
 */
import net from 'node:net'
import { figureDescriptors, type SocketFigures } from './figures.ts'
import { type InternalSocket, kIsOwn, kLink, kOptions } from './internals.ts'
import { type SocketBase, socketAccessors, socketMethods } from './socket-overrides.ts'
import type { TransportOptions } from './transport-choice.ts'

/** Options of the constructor: those of `net.Socket` and ours. */
export type SocketOptions = net.SocketConstructorOpts & TransportOptions

/** A socket: `net.Socket` with `stats()` and `path`. */
export interface Socket extends net.Socket, SocketFigures {
  connect(options: net.SocketConnectOpts & TransportOptions, connectionListener?: () => void): this
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
  const { transport, security, connectTimeoutMs } = options as TransportOptions
  if (transport === undefined && security === undefined && connectTimeoutMs === undefined) {
    return null
  }
  return { transport, security, connectTimeoutMs }
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
  return undefined
} as unknown as SocketConstructor

Object.setPrototypeOf(Socket, net.Socket)
Object.setPrototypeOf(Socket.prototype, net.Socket.prototype)

// Methods of the built-in are enumerable; programs that copy them to a wrapper count on that.
Object.assign(Socket.prototype, socketMethods(net.Socket.prototype as unknown as SocketBase))
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
