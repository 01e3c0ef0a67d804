/**
 * How sockets over UDP are protected. The call's own option is stronger than the object's, that is
 * stronger than `configure()`, that is stronger than `PUNCHLINE_SECURITY`, and without any of them
 * it is `noise`: encrypted.
 */
import { SocketError } from '../errors.ts'
import { loadOrCreateNodeKey, systemRandom } from '../io/index.ts'
import {
  type EndpointSecurity,
  type InitiatorDemands,
  NodeKey,
  type PeerKey,
  parseNodeId,
  parseRecord,
  type SecurityMode,
  type Ticket,
} from '../transport/index.ts'
import { netRegistry } from './carrier.ts'

/** The peer's or our own demands on security, for `connect` and `listen`. */
export interface SecurityOptions {
  /**
   * `noise` (default): encrypted and authenticated packets. `none`: plaintext, guarded against
   * accidents by CRC32C only; both sides must say so.
   */
  readonly mode?: SecurityMode | undefined
  /** connect: the peer's node id, as `formatNodeId` writes it. Nobody else is talked to. */
  readonly remoteId?: string | Uint8Array | undefined
  /** connect: the peer's public record; as `remoteId`, and nobody but the peer learns who we are. */
  readonly remoteKey?: Uint8Array | PeerKey | undefined
  /** connect: asked about a peer that is not known; false ends it. Default: trust. */
  readonly verify?: ((remote: PeerKey) => boolean) | undefined
  /** connect: a secret that both sides were given for this connection. */
  readonly ticket?: Ticket | undefined
  /** listen: asked before anything of a peer is accepted. Default: everybody may. */
  readonly authorize?: EndpointSecurity['authorize']
  /** listen: finds the key of a ticket by its name. */
  readonly ticketKey?: ((id: Uint8Array) => Uint8Array | undefined) | undefined
}

/** What `security` options may be. */
export type SecurityOption = SecurityMode | SecurityOptions

/** Demands that were checked. */
export interface ChosenSecurity extends SecurityOptions {
  readonly mode: SecurityMode
}

/**
 * Says how a call is protected. `wishes` are values of `security` options, strongest first.
 * @throws {SocketError} ERR_PUNCHLINE_SECURITY_UNSUPPORTED for what is no such option,
 *   ERR_PUNCHLINE_IDENTITY for a peer's id or record that can't be read
 */
export function chooseSecurity(...wishes: readonly unknown[]): ChosenSecurity {
  const wish = wishes.find((each) => each !== undefined && each !== null)
  const options = (typeof wish === 'object' ? wish : { mode: wish }) as SecurityOptions
  const fromEnvironment = process.env['PUNCHLINE_SECURITY'] || undefined
  const mode = options.mode ?? netRegistry().security ?? fromEnvironment ?? 'noise'
  if (mode !== 'noise' && mode !== 'none') {
    throw new SocketError(
      'ERR_PUNCHLINE_SECURITY_UNSUPPORTED',
      `security must be 'noise' or 'none', not ${JSON.stringify(mode) ?? String(mode)}`,
    )
  }
  return { ...options, mode }
}

/** What the transport is asked of a peer that is connected to. */
export function demandsOf(security: ChosenSecurity): InitiatorDemands {
  const { mode, remoteId, remoteKey, verify, ticket } = security
  return {
    mode,
    remoteId: typeof remoteId === 'string' ? parseNodeId(remoteId) : remoteId,
    remoteKey: remoteKey instanceof Uint8Array ? parseRecord(remoteKey) : remoteKey,
    verify,
    ticket,
  }
}

let functionCount = 0
const functionNumbers = new WeakMap<object, number>()

/** Names demands: sockets to one peer share a connection only if they ask the same of it. */
export function nameOf({ mode, remoteId, remoteKey, verify, ticket }: InitiatorDemands): string {
  const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex')
  let number = 0
  if (verify !== undefined) {
    number = functionNumbers.get(verify) ?? ++functionCount
    functionNumbers.set(verify, number)
  }
  return [mode, hex(remoteId), hex(remoteKey?.nodeId), number, hex(ticket?.id)].join(' ')
}

/**
 * Who this process is: what `configure` or PUNCHLINE_NODE_KEY (a file) say, else a key that lives as
 * long as the process.
 */
export function ownNodeKey(): NodeKey {
  const registry = netRegistry()
  const path = process.env['PUNCHLINE_NODE_KEY']
  registry.nodeKey ??= path ? loadOrCreateNodeKey(path).key : NodeKey.generate(systemRandom())
  return registry.nodeKey
}
