/**
 * The types of `node:net` under their names, so that an import of it can be replaced in TypeScript,
 * too; options also take ours.
 */
import type net from 'node:net'
import type { ServerOptions } from './server.ts'
import type { SocketConnectOptions, SocketOptions } from './socket.ts'
import type { TransportOptions } from './transport-choice.ts'

export type AddressInfo = net.AddressInfo
export type BlockList = net.BlockList
export type DropArgument = net.DropArgument
export type IPVersion = net.IPVersion
export type IpcNetConnectOpts = net.IpcNetConnectOpts
export type IpcSocketConnectOpts = net.IpcSocketConnectOpts
export type ListenOptions = net.ListenOptions & TransportOptions
export type LookupFunction = net.LookupFunction
export type NetConnectOpts = net.NetConnectOpts & TransportOptions
export type OnReadOpts = net.OnReadOpts
export type ServerOpts = ServerOptions
export type SocketAddress = net.SocketAddress
export type SocketAddressInitOptions = net.SocketAddressInitOptions
export type SocketConnectOpts = SocketConnectOptions
export type SocketConstructorOpts = SocketOptions
export type SocketReadyState = net.SocketReadyState
export type TcpNetConnectOpts = net.TcpNetConnectOpts & TransportOptions
export type TcpSocketConnectOpts = net.TcpSocketConnectOpts & TransportOptions
