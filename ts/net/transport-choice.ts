/**
 * Which way a call goes. The call's own option is stronger than the object's, that is stronger than
 * `configure()`, that is stronger than `PUNCHLINE_TRANSPORT`, and without any of them it is `auto`.
 */
import { SocketError } from '../errors.ts'
import { loadOrCreateNodeKey } from '../io/index.ts'
import {
  type EndpointOptionsGiven,
  type NodeKey,
  resolveEndpointOptions,
  type SecurityMode,
} from '../transport/index.ts'
import { netRegistry, type TransportChoice } from './carrier.ts'
import { chooseSecurity, type SecurityOption } from './security-choice.ts'

/** Options of ours that every call with an options object accepts beside those of `node:net`. */
export interface TransportOptions {
  /**
   * `tcp`: the kernel's TCP, as `node:net`. `udp`: Punchline's transport straight to host and port.
   * `auto` (default): addresses and names that resolve locally go over TCP; a server in `auto`
   * accepts both on one port number.
   */
  transport?: TransportChoice | undefined
  /**
   * Protection over UDP: `'noise'` (default) is encrypted, `'none'` is plaintext guarded by a CRC.
   * An object also says who the peer has to be, or who may connect.
   */
  security?: SecurityOption | undefined
  /** How long a peer may stay silent before connecting over UDP fails with ETIMEDOUT. Default 30,000. */
  connectTimeoutMs?: number | undefined
  /**
   * `listen`: further UDP ports of the same server, 0 for any free one. Peers reach it by each, and
   * when one of its sockets fails their connections go on through the others. Up to 8 MiB of kernel
   * buffers each.
   */
  morePorts?: readonly number[] | undefined
}

/** Settings for all sockets of the process. */
export interface Configuration {
  /** Replaces `PUNCHLINE_TRANSPORT`; undefined gives it back its say. */
  transport?: TransportChoice | undefined
  /** Replaces `PUNCHLINE_SECURITY`; undefined gives it back its say. */
  security?: SecurityMode | undefined
  /** Who this process is, for UDP sockets bound from now on: a key, or the file it is kept in. */
  nodeKey?: NodeKey | string | undefined
  /** Limits and times of the UDP transport, for UDP sockets bound from now on. */
  endpoint?: EndpointOptionsGiven | undefined
}

/**
 * Changes settings for sockets and servers made from now on.
 * @throws {SocketError} ERR_PUNCHLINE_TRANSPORT_INVALID, ERR_PUNCHLINE_SECURITY_UNSUPPORTED
 * @throws {TransportError} ERR_PUNCHLINE_IDENTITY for a key file that can't be used
 * @throws {RangeError} for an endpoint option out of range
 */
export function configure(configuration: Configuration): void {
  if ('transport' in configuration) {
    const { transport } = configuration
    netRegistry().transport = transport === undefined ? undefined : checked(transport, 'configure')
  }
  if ('security' in configuration) {
    const { security } = configuration
    netRegistry().security = security === undefined ? undefined : chooseSecurity(security).mode
  }
  if ('nodeKey' in configuration) {
    const { nodeKey } = configuration
    netRegistry().nodeKey = typeof nodeKey === 'string' ? loadOrCreateNodeKey(nodeKey).key : nodeKey
  }
  if ('endpoint' in configuration) {
    const { endpoint = {} } = configuration
    resolveEndpointOptions(endpoint)
    netRegistry().endpoint = endpoint
  }
}

/**
 * Says which transport a call uses. `wishes` are values of `transport` options, strongest first.
 * @throws {SocketError} ERR_PUNCHLINE_TRANSPORT_INVALID
 */
export function chooseTransport(...wishes: readonly unknown[]): TransportChoice {
  for (const wish of wishes) {
    if (wish !== undefined && wish !== null) return checked(wish, "option 'transport'")
  }
  const configured = netRegistry().transport
  if (configured !== undefined) return configured
  const fromEnvironment = process.env['PUNCHLINE_TRANSPORT']
  if (fromEnvironment === undefined || fromEnvironment === '') return 'auto'
  return checked(fromEnvironment, 'PUNCHLINE_TRANSPORT')
}

function checked(value: unknown, where: string): TransportChoice {
  if (value === 'tcp' || value === 'udp' || value === 'auto') return value
  throw new SocketError(
    'ERR_PUNCHLINE_TRANSPORT_INVALID',
    `${where} must be 'tcp', 'udp' or 'auto', not ${JSON.stringify(value) ?? String(value)}`,
  )
}
