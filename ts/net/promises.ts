/** The same calls as promises: what they wait for is what a callback would have been called for. */
import { once } from 'node:events'
import type { NetConnectOpts } from './index.ts'
import { type ConnectionListener, Server, type ServerOptions } from './server.ts'
import { Socket, type SocketOptions } from './socket.ts'
import type { ListenOptions } from './types.ts'

/** Options of `connect`. `signal` gives up: the socket is destroyed, the promise rejects. */
export type PromisedConnectOptions = NetConnectOpts & { readonly signal?: AbortSignal | undefined }

/** Options of `listen`: those of the server and those of its listening. */
export type PromisedListenOptions = ServerOptions & ListenOptions

/**
 * Connects; gives the socket once it is open.
 * @throws what 'error' would have told, or an AbortError
 */
async function connect(options: PromisedConnectOptions): Promise<Socket> {
  const socket = new Socket(options as SocketOptions)
  if (options.timeout) socket.setTimeout(options.timeout)
  const opened = once(socket, 'connect')
  socket.connect(options as never)
  await opened
  return socket
}

/**
 * Makes a server and lets it listen; gives it once it is bound.
 * @throws what 'error' would have told
 */
async function listen(
  options: PromisedListenOptions,
  connectionListener?: ConnectionListener,
): Promise<Server> {
  const server = new Server(options, connectionListener)
  const bound = once(server, 'listening')
  server.listen(options)
  await bound
  return server
}

/**
 * Closes in order. A server takes no new connections and waits for those it has; a socket sends
 * what was written and its FIN, and drops what still comes.
 * @throws what 'error' would have told
 */
async function close(one: Server | Socket): Promise<void> {
  if (one instanceof Server) {
    await new Promise<void>((resolve, reject) => {
      one.close((error) => (error ? reject(error) : resolve()))
    })
    return
  }
  if (one.closed) return
  const closed = once(one, 'close')
  one.resume()
  one.end()
  await closed
}

/** `net.promises`. */
export const promises = { connect, listen, close } as const
