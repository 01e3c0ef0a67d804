/**
 * `punchline/net`: everything that `node:net` exports on the running Node, with the same behaviour.
 * Sockets and servers may also go over Punchline's own transport: see `TransportOptions`.
 */
import net from 'node:net'
import { registerDefaultCarrier } from './carrier.ts'
import { builtinNet, normalizeArguments } from './internals.ts'
import { pin } from './pinning.ts'
import { promises } from './promises.ts'
import {
  type ConnectionListener,
  type Server as OurServer,
  Server,
  type ServerOptions,
} from './server.ts'
import { type Socket as OurSocket, Socket, type SocketOptions } from './socket.ts'
import { publishClient, publishesInConnectMethod } from './socket-overrides.ts'
import { configure } from './transport-choice.ts'
import type * as types from './types.ts'
import { UdpCarrier } from './udp-carrier.ts'

export type { TransportChoice } from './carrier.ts'
export type { SocketFigures, SocketPath, SocketStats } from './figures.ts'
export type { PinnedPeer, PinOptions } from './pinning.ts'
export type { SecurityOption, SecurityOptions } from './security-choice.ts'
export type { ConnectionListener, ServerConstructor, ServerOptions } from './server.ts'
export type { SocketConstructor, SocketOptions } from './socket.ts'
export type { Configuration, TransportOptions } from './transport-choice.ts'
export type * from './types.ts'
export { configure, pin, promises, Server, Socket }

registerDefaultCarrier(() => new UdpCarrier())

/** The legacy name of `Socket`: the same function. */
export const Stream = Socket

/** Options of `connect` with an options object. */
export type ConnectOptions = types.NetConnectOpts

/**
 * Makes a socket and connects it; 'connect' or 'error' follow.
 * @throws what `net.connect` throws, and `SocketError` for bad options of ours.
 */
export function connect(options: types.NetConnectOpts, connectionListener?: () => void): Socket
export function connect(port: number, host?: string, connectionListener?: () => void): Socket
export function connect(port: number, connectionListener?: () => void): Socket
export function connect(path: string, connectionListener?: () => void): Socket
export function connect(...args: unknown[]): Socket {
  const normalized = normalizeArguments(args)
  const options = normalized[0]
  const socket = new Socket(options as SocketOptions)
  if (!publishesInConnectMethod()) publishClient(socket)
  if (options.timeout) socket.setTimeout(options.timeout)
  return socket.connect(normalized as never)
}

/** The other name of `connect`. */
export const createConnection = connect

/** Makes a server; `connectionListener` listens to 'connection'. */
export function createServer(connectionListener?: ConnectionListener): Server
export function createServer(
  options?: ServerOptions,
  connectionListener?: ConnectionListener,
): Server
export function createServer(
  options?: ServerOptions | ConnectionListener,
  connectionListener?: ConnectionListener,
): Server {
  return new Server(options as ServerOptions, connectionListener)
}

/** Says whether a string is an IPv4 (4) or IPv6 (6) address or neither (0): the built-in's. */
export const isIP = net.isIP
/** Says whether a string is an IPv4 address: the built-in's. */
export const isIPv4 = net.isIPv4
/** Says whether a string is an IPv6 address: the built-in's. */
export const isIPv6 = net.isIPv6
/** Rules on addresses: the built-in's. */
export const BlockList = net.BlockList
/** An address with port and family: the built-in's. */
export const SocketAddress = net.SocketAddress
/** Reads the default of `autoSelectFamily`, which the built-in shares. */
export const getDefaultAutoSelectFamily = net.getDefaultAutoSelectFamily
/** Sets the default of `autoSelectFamily`, which the built-in shares. */
export const setDefaultAutoSelectFamily = net.setDefaultAutoSelectFamily
/** Reads the default of `autoSelectFamilyAttemptTimeout` in ms, which the built-in shares. */
export const getDefaultAutoSelectFamilyAttemptTimeout = net.getDefaultAutoSelectFamilyAttemptTimeout
/** Sets the default of `autoSelectFamilyAttemptTimeout` in ms, which the built-in shares. */
export const setDefaultAutoSelectFamilyAttemptTimeout = net.setDefaultAutoSelectFamilyAttemptTimeout

// What `node:net` exports without documenting it, or only since some version: undefined elsewhere.
const others = builtinNet as unknown as { readonly [name: string]: unknown }
/** Private in `node:net`; some packages use it nevertheless. */
export const _createServerHandle = builtinNet._createServerHandle
/** Private in `node:net`; some packages use it nevertheless. */
export const _normalizeArgs = builtinNet._normalizeArgs
/** Deprecated in `node:net` and gone since Node 24. */
export const _setSimultaneousAccepts = others['_setSimultaneousAccepts']
/** A bound handle of the kernel's, since Node 24.19: sockets that adopt it go over TCP. */
export const BoundSocket = others['BoundSocket']

// Ours replace theirs; whatever else the running Node exports (also what was invented since) stays.
const replaced = {
  configure,
  connect,
  createConnection,
  createServer,
  pin,
  promises,
  Server,
  Socket,
  Stream,
}

/** The module object: all of the built-in's members, and `configure`. */
const moduleObject = Object.defineProperties(
  {},
  {
    ...Object.getOwnPropertyDescriptors(builtinNet),
    ...Object.getOwnPropertyDescriptors(replaced),
  },
) as Omit<typeof net, keyof typeof replaced> & typeof replaced

/** The types that programs write as `net.Socket` and so on after `import net`. */
declare namespace moduleObject {
  type Socket = OurSocket
  type Server = OurServer
  type AddressInfo = types.AddressInfo
  type BlockList = types.BlockList
  type DropArgument = types.DropArgument
  type IPVersion = types.IPVersion
  type IpcNetConnectOpts = types.IpcNetConnectOpts
  type IpcSocketConnectOpts = types.IpcSocketConnectOpts
  type ListenOptions = types.ListenOptions
  type LookupFunction = types.LookupFunction
  type NetConnectOpts = types.NetConnectOpts
  type OnReadOpts = types.OnReadOpts
  type ServerOpts = types.ServerOpts
  type SocketAddress = types.SocketAddress
  type SocketAddressInitOptions = types.SocketAddressInitOptions
  type SocketConnectOpts = types.SocketConnectOpts
  type SocketConstructorOpts = types.SocketConstructorOpts
  type SocketReadyState = types.SocketReadyState
  type TcpNetConnectOpts = types.TcpNetConnectOpts
  type TcpSocketConnectOpts = types.TcpSocketConnectOpts
}

export default moduleObject
