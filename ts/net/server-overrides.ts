/**
 * What a `net.Server` does differently when it listens on UDP. Written once, put on two prototypes,
 * as `socket-overrides.ts`. The built-in `listen` parses, validates and looks up; it then calls
 * `_listen2`, which has kept this name for those who wrap it: there the way is chosen.
 */
import type { Cluster } from 'node:cluster'
import diagnosticsChannel from 'node:diagnostics_channel'
import type net from 'node:net'
import { getSystemErrorName } from 'node:util'
import { getCarrier } from './carrier.ts'
import {
  builtinNet,
  type InternalServer,
  type InternalSocket,
  kListenPlan,
  kOptions,
  nodeMajorVersion,
  normalizeArguments,
  type ServerHandle,
} from './internals.ts'
import type { ListenTarget } from './line.ts'
import { type Accept, ListenHandle } from './listen-handle.ts'
import { chooseSecurity } from './security-choice.ts'
import { attachAccepted } from './socket-overrides.ts'
import { codeOf, isSystemErrorCode, listenException } from './system-errors.ts'
import { chooseTransport } from './transport-choice.ts'

// A number that is free for TCP may be taken for UDP. 16 failures in a row mean that ports are scarce.
const portAttemptsMax = 16

// Bits of `flags` in `_listen2`: libuv's UV_TCP_IPV6ONLY and UV_TCP_REUSEPORT.
const IPV6_ONLY = 1
const REUSE_PORT = 2

// Since Node 21 `maxConnections = 0` means none; before, it meant no limit.
const isZeroMaximal = nodeMajorVersion >= 21

const serverChannel = diagnosticsChannel.channel('net.server.socket')
const listenChannel = diagnosticsChannel.tracingChannel('net.server.listen')

/** The built-in's methods, from the prototype itself or saved before it was patched. */
export type ServerBase = Pick<InternalServer, 'listen' | '_listen2'>

/** Makes the socket that an accepted line goes into. */
export type MakeSocket = (options: net.SocketConstructorOpts) => InternalSocket

type Listen2 = Parameters<InternalServer['_listen2']>

/** Makes the methods, with `base` below them. */
export function serverMethods(base: ServerBase, makeSocket: MakeSocket): ServerBase {
  const accept = acceptInto(makeSocket)
  return {
    listen(this: InternalServer, ...args: unknown[]): InternalServer {
      // A server that listens already throws, and keeps the plan it has.
      if (this._handle) return Reflect.apply(base.listen, this, args) as InternalServer
      const [options] = normalizeArguments(args)
      const transport = chooseTransport(options.transport, this[kOptions]?.transport)
      const security = () => chooseSecurity(options.security, this[kOptions]?.security)
      this[kListenPlan] = transport === 'tcp' ? null : { transport, security: security() }
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

function listenOnUdp(server: InternalServer, accept: Accept, args: Listen2) {
  const [address, port] = args
  const handle = new ListenHandle(server, accept)
  try {
    const listener = getCarrier().listen(listenTarget(server, args, port ?? 0), handle)
    handle.bound(listener)
    const { address: bound, family } = listener.address
    const isAny = address === null
    server._connectionKey = `${family === 'IPv6' ? 6 : 4}:${isAny ? bound : address}:${port}`
  } catch (error) {
    failListening(server, listenError(error, args, port ?? 0))
    return
  }
  server._handle = handle
  if (listenChannel.asyncEnd.hasSubscribers) listenChannel.asyncEnd.publish({ server })
  if (server._unref) server.unref()
  process.nextTick(() => {
    if (server._handle) server.emit('listening')
  })
}

/** Listens on TCP and UDP with one port number, so that a client may come either way. */
function listenOnBoth(server: InternalServer, base: ServerBase, accept: Accept, args: Listen2) {
  const [, port, , backlog, fd, flags] = args
  if (port === 0) {
    const made = bindSamePort(server, accept, args)
    if (made === null) return
    server._handle = made.handle
    base._listen2.call(server, made.address, port, made.addressType, backlog, fd, flags)
    return
  }
  base._listen2.apply(server, args)
  const { _handle: tcp } = server
  if (!tcp) return
  try {
    joinUdp(server, accept, args, tcp as ServerHandle)
  } catch (error) {
    tcp.close()
    server._handle = null
    failListening(server, listenError(error, args, port ?? 0))
  }
}

interface TcpHandle {
  readonly handle: ServerHandle
  readonly address: string
  readonly addressType: number
}

/** Finds a number that is free in both; null after telling the server that there is none. */
function bindSamePort(server: InternalServer, accept: Accept, args: Listen2): TcpHandle | null {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const made = makeTcpHandle(args)
      try {
        joinUdp(server, accept, [made.address, 0, made.addressType, ...rest(args)], made.handle)
        return made
      } catch (error) {
        made.handle.close()
        throw error
      }
    } catch (error) {
      if (codeOf(error) === 'EADDRINUSE' && attempt < portAttemptsMax) continue
      failListening(server, listenError(error, args, 0))
      return null
    }
  }
}

function rest([, , , backlog, fd, flags]: Listen2): [Listen2[3], Listen2[4], Listen2[5]] {
  return [backlog, fd, flags]
}

function makeTcpHandle([address, port, addressType, , fd, flags]: Listen2): TcpHandle {
  let errno = 0
  const choices: [string, number][] =
    address === null
      ? [
          ['::', 6],
          ['0.0.0.0', 4],
        ]
      : [[address, addressType ?? 4]]
  for (const [choice, type] of choices) {
    const handle = builtinNet._createServerHandle(choice, port ?? 0, type, fd, flags)
    if (typeof handle !== 'number') return { handle, address: choice, addressType: type }
    errno = handle
  }
  throw listenException(getSystemErrorName(errno), { address: choices[0]?.[0], port: port ?? 0 })
}

/** Binds UDP to the number that TCP has, and ties the listener's life to the TCP handle's. */
function joinUdp(server: InternalServer, accept: Accept, args: Listen2, tcp: ServerHandle): void {
  const name: { address?: string; port?: number } = {}
  tcp.getsockname(name)
  const handle = new ListenHandle(server, accept)
  const [address, , addressType, backlog, fd, flags] = args
  const isAny = address === null
  const bound: Listen2 = [
    isAny ? (name.address ?? null) : address,
    0,
    addressType,
    backlog,
    fd,
    flags,
  ]
  handle.bound(getCarrier().listen(listenTarget(server, bound, name.port ?? 0), handle))
  for (const verb of ['ref', 'unref'] as const) {
    const own = tcp[verb]
    tcp[verb] = () => {
      handle[verb]()
      own.call(tcp)
    }
  }
  const close = tcp.close
  tcp.close = (callback) => {
    handle.close()
    close.call(tcp, callback)
  }
}

function listenTarget(
  server: InternalServer,
  [address, , , backlog, , flags]: Listen2,
  port: number,
): ListenTarget {
  return {
    security: server[kListenPlan]?.security,
    address: address ?? undefined,
    port,
    ipv6Only: ((flags ?? 0) & IPV6_ONLY) !== 0,
    reusePort: ((flags ?? 0) & REUSE_PORT) !== 0,
    backlog,
  }
}

function listenError(error: unknown, [address]: Listen2, port: number): Error {
  const code = codeOf(error)
  if (!(error instanceof Error) || code === undefined || !isSystemErrorCode(code)) {
    return error instanceof Error ? error : new Error(String(error))
  }
  return listenException(code, { address: address ?? '::', port })
}

function failListening(server: InternalServer, error: Error): void {
  if (listenChannel.error.hasSubscribers) listenChannel.error.publish({ server, error })
  process.nextTick(() => server.emit('error', error))
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
