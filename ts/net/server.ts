/** `Server` of `punchline/net`: the built-in's subclass, see `socket.ts`. */
import { EventEmitter, once } from 'node:events'
import net from 'node:net'
import { defineOnFirstUse } from './first-use.ts'
import { type InternalServer, kIsOwn, kListener, kListenPlan, kOptions } from './internals.ts'
import { type ServerBase, serverMethods } from './server-overrides.ts'
import { adoptAccepted, Socket, type SocketOptions, takeOptions } from './socket.ts'
import type { TransportOptions } from './transport-choice.ts'

/** Options of the constructor: those of `net.Server` and ours, which `listen` may override. */
export type ServerOptions = net.ServerOpts & TransportOptions

/** A server: `net.Server` whose connections are `Socket`s. */
export interface Server extends net.Server {
  listen(port?: number, hostname?: string, backlog?: number, listeningListener?: () => void): this
  listen(port?: number, hostname?: string, listeningListener?: () => void): this
  listen(port?: number, backlog?: number, listeningListener?: () => void): this
  listen(port?: number, listeningListener?: () => void): this
  listen(path: string, backlog?: number, listeningListener?: () => void): this
  listen(path: string, listeningListener?: () => void): this
  listen(options: net.ListenOptions & TransportOptions, listeningListener?: () => void): this
  // biome-ignore lint/suspicious/noExplicitAny: the built-in declares handles so.
  listen(handle: any, backlog?: number, listeningListener?: () => void): this
  // biome-ignore lint/suspicious/noExplicitAny: the built-in declares handles so.
  listen(handle: any, listeningListener?: () => void): this
  on(event: 'connection', listener: (socket: Socket) => void): this
  on(event: 'close' | 'listening', listener: () => void): this
  on(event: 'error', listener: (error: Error) => void): this
  on(event: 'drop', listener: (data?: net.DropArgument) => void): this
  // biome-ignore lint/suspicious/noExplicitAny: the built-in declares other events so.
  on(event: string, listener: (...args: any[]) => void): this
  /** UDP ports that it is reached by, that of `address()` first; none over TCP alone. */
  readonly udpPorts: readonly number[]
  /**
   * Gives connections as they come, until the server is closed; throws what 'error' tells. Who
   * leaves the loop leaves the server listening; connections that nobody has taken are reset.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<Socket>
}

/** Listens to new connections. */
export type ConnectionListener = (socket: Socket) => void

/** The class, which may be called without `new` like the built-in. */
export interface ServerConstructor {
  new (connectionListener?: ConnectionListener): Server
  new (options?: ServerOptions, connectionListener?: ConnectionListener): Server
  (connectionListener?: ConnectionListener): Server
  (options?: ServerOptions, connectionListener?: ConnectionListener): Server
  readonly prototype: Server
}

/** A server for stream sockets over TCP, over Punchline's transport, or both on one port number. */
// A function and not a class: see `socket.ts`.
export const Server = function (
  this: InternalServer | undefined,
  options?: ServerOptions | ConnectionListener,
  connectionListener?: ConnectionListener,
): unknown {
  if (!(this instanceof Server)) {
    return new Server(options as ServerOptions, connectionListener)
  }
  Reflect.apply(net.Server, this, [options, connectionListener])
  const server = this as unknown as InternalServer
  server[kOptions] = takeOptions(options)
  server[kListenPlan] = null
  return undefined
} as unknown as ServerConstructor

// Compiled to CommonJS the function would have no name.
Object.defineProperty(Server, 'name', { value: 'Server' })
Object.setPrototypeOf(Server, net.Server)
Object.setPrototypeOf(Server.prototype, net.Server.prototype)

const makeSocket = (options: SocketOptions) => new Socket(options) as never

defineOnFirstUse(Server.prototype, ['listen', '_listen2'], () =>
  serverMethods(net.Server.prototype as unknown as ServerBase, makeSocket),
)
Object.defineProperties(Server.prototype, {
  [kIsOwn]: { value: true },
  udpPorts: {
    get(this: InternalServer): readonly number[] {
      const listener = this[kListener]
      return listener ? (listener.ports ?? [listener.address.port]) : []
    },
    enumerable: false,
    configurable: true,
  },
  [Symbol.asyncIterator]: {
    value(this: Server): AsyncIterableIterator<Socket> {
      return connectionsOf(this)
    },
    enumerable: false,
    configurable: true,
    writable: true,
  },
  emit: {
    // The built-in makes what it accepts over TCP; it must be a `Socket` before anybody sees it.
    value(this: Server, event: string | symbol, ...args: unknown[]): boolean {
      if (event === 'connection') adoptAccepted(args[0])
      return Reflect.apply(EventEmitter.prototype.emit, this, [event, ...args]) as boolean
    },
    enumerable: false,
    configurable: true,
    writable: true,
  },
})

async function* connectionsOf(server: Server): AsyncIterableIterator<Socket> {
  const waiting: Socket[] = []
  let wake = () => {}
  const stop = new AbortController()
  const take = (socket: Socket) => {
    waiting.push(socket)
    wake()
  }
  server.on('connection', take)
  const over = once(server, 'close', { signal: stop.signal }).then(() => wake())
  // Told where it is waited for, below.
  over.catch(() => {})
  try {
    while (server.listening || waiting.length > 0) {
      const socket = waiting.shift()
      if (socket !== undefined) yield socket
      else await Promise.race([over, new Promise<void>((resolve) => (wake = resolve))])
    }
  } finally {
    stop.abort()
    server.off('connection', take)
    for (const socket of waiting) socket.resetAndDestroy()
  }
}
