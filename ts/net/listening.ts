/**
 * From `_listen2` of a server to accepting: on UDP alone, or on TCP and UDP with one port number.
 */
import diagnosticsChannel from 'node:diagnostics_channel'
import { getSystemErrorName } from 'node:util'
import { getCarrier } from './carrier.ts'
import { builtinNet, type InternalServer, kListenPlan, type ServerHandle } from './internals.ts'
import type { ListenTarget } from './line.ts'
import { type Accept, ListenHandle } from './listen-handle.ts'
import type { ServerBase } from './server-overrides.ts'
import { codeOf, isSystemErrorCode, listenException } from './system-errors.ts'

// A number that is free for TCP may be taken for UDP. 16 failures in a row mean that ports are scarce.
const portAttemptsMax = 16

// Bits of `flags` in `_listen2`: libuv's UV_TCP_IPV6ONLY and UV_TCP_REUSEPORT.
const IPV6_ONLY = 1
const REUSE_PORT = 2

const listenChannel = diagnosticsChannel.tracingChannel('net.server.listen')

/** The arguments of `_listen2`. */
export type Listen2 = Parameters<InternalServer['_listen2']>

/** Listens on UDP; 'listening' or 'error' follow. */
export function listenOnUdp(server: InternalServer, accept: Accept, args: Listen2): void {
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
export function listenOnBoth(
  server: InternalServer,
  base: ServerBase,
  accept: Accept,
  args: Listen2,
): void {
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
    morePorts: server[kListenPlan]?.morePorts,
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
