/**
 * What a `net.Server` does differently when it listens on UDP. Written once, put on two prototypes,
 * as `socket-overrides.ts`. The built-in `listen` parses, validates and looks up; it then calls
 * `_listen2`, which has kept this name for those who wrap it: there the way is chosen.
 */
import type { Cluster } from 'node:cluster'
import diagnosticsChannel from 'node:diagnostics_channel'
import type net from 'node:net'
import { getCarrier } from './carrier.ts'
import {
  type InternalServer,
  type InternalSocket,
  kListenPlan,
  kOptions,
  type ListenPlan,
  nodeMajorVersion,
  normalizeArguments,
} from './internals.ts'
import type { Accept } from './listen-handle.ts'
import { type Listen2, listenOnBoth, listenOnUdp } from './listening.ts'
import { chooseSecurity } from './security-choice.ts'
import { attachAccepted } from './socket-overrides.ts'
import { nodeError } from './system-errors.ts'
import { chooseTransport, type TransportOptions } from './transport-choice.ts'

// Since Node 21 `maxConnections = 0` means none; before, it meant no limit.
const isZeroMaximal = nodeMajorVersion >= 21

const serverChannel = diagnosticsChannel.channel('net.server.socket')

/** The built-in's methods, from the prototype itself or saved before it was patched. */
export type ServerBase = Pick<InternalServer, 'listen' | '_listen2'>

/** Makes the socket that an accepted line goes into. */
export type MakeSocket = (options: net.SocketConstructorOpts) => InternalSocket

/** Makes the methods, with `base` below them. */
export function serverMethods(base: ServerBase, makeSocket: MakeSocket): ServerBase {
  const accept = acceptInto(makeSocket)
  return {
    listen(this: InternalServer, ...args: unknown[]): InternalServer {
      // A server that listens already throws, and keeps the plan it has.
      if (this._handle) return Reflect.apply(base.listen, this, args) as InternalServer
      const [options] = normalizeArguments(args)
      const transport = chooseTransport(options.transport, this[kOptions]?.transport)
      this[kListenPlan] = transport === 'tcp' ? null : plan(transport, options, this[kOptions])
      if (transport !== 'udp') return Reflect.apply(base.listen, this, args) as InternalServer
      getCarrier()
      return Reflect.apply(base.listen, this, exclusive(args)) as InternalServer
    },

    _listen2(this: InternalServer, ...args: Listen2): void {
      const [address, port, , , fd] = args
      const plan = this[kListenPlan] ?? null
      // A pipe, a descriptor, a handle (also one from a cluster's primary): the built-in's.
      const isPort = typeof fd !== 'number' && typeof port === 'number' && port >= 0
      if (plan === null || !isPort || this._handle) base._listen2.apply(this, args)
      else if (plan.transport === 'udp') listenOnUdp(this, accept, args)
      else listenOnBoth(this, base, accept, [address, port, ...args.slice(2)] as Listen2)
    },
  } as ServerBase
}

function plan(
  transport: 'udp' | 'auto',
  options: TransportOptions,
  own: TransportOptions | null | undefined,
): ListenPlan {
  const security = chooseSecurity(options.security, own?.security)
  return { transport, security, morePorts: checkedPorts(options.morePorts ?? own?.morePorts) }
}

/** As the built-in checks `port`. */
function checkedPorts(ports: unknown): readonly number[] | undefined {
  if (ports === undefined) return undefined
  const isPort = (port: unknown) =>
    Number.isInteger(port) && Number(port) >= 0 && Number(port) < 65_536
  if (Array.isArray(ports) && ports.every(isPort)) return ports
  throw nodeError('ERR_SOCKET_BAD_PORT', 'morePorts should be ports >= 0 and < 65536.')
}

/** As the built-in's handler for new connections, for lines. */
function acceptInto(makeSocket: MakeSocket): Accept {
  return (server, line, link) => {
    const { localAddress, localPort, remoteAddress, remotePort, family } = line.addresses
    if (isFull(server)) {
      server.emit('drop', {
        __proto__: null,
        localAddress,
        localPort,
        localFamily: family,
        remoteAddress,
        remotePort,
        remoteFamily: family,
      } as never)
      line.release()
      return
    }
    if (server.blockList?.check(remoteAddress, family === 'IPv6' ? 'ipv6' : 'ipv4')) {
      line.release()
      return
    }
    const socket = makeSocket({
      allowHalfOpen: server.allowHalfOpen,
      readableHighWaterMark: server.highWaterMark,
      writableHighWaterMark: server.highWaterMark,
    } as net.SocketConstructorOpts)
    attachAccepted(socket, link, { line, isPaused: server.pauseOnConnect })
    if (server.noDelay) socket.setNoDelay(true)
    if (server.keepAlive) socket.setKeepAlive(true, server.keepAliveInitialDelay * 1000)
    server._connections += 1
    socket.server = server
    socket._server = server
    server.emit('connection', socket as unknown as net.Socket)
    if (serverChannel.hasSubscribers) serverChannel.publish({ socket })
  }
}

function isFull(server: InternalServer): boolean {
  const { maxConnections, _connections } = server
  if (maxConnections === undefined || maxConnections === null) return false
  if (maxConnections === 0 && !isZeroMaximal) return false
  return _connections >= maxConnections
}

/**
 * In a cluster's worker the built-in asks the primary for a handle, which has no UDP ones: the
 * worker binds by itself. Elsewhere the arguments stay as they are.
 */
function exclusive(args: unknown[]): unknown[] {
  if (process.send === undefined) return args
  const cluster = process.getBuiltinModule('cluster') as unknown as Cluster
  if (!cluster.isWorker) return args
  const [options, callback] = normalizeArguments(args)
  const backlog = args.slice(1, 3).find((value) => Number(value) >= 0)
  const isAnyPort = args.length === 0 || typeof args[0] === 'function'
  const request = { backlog, ...options, ...(isAnyPort ? { port: 0 } : {}), exclusive: true }
  return callback === null ? [request] : [request, callback]
}
