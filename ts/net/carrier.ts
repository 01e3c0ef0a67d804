/**
 * Where sockets find the transport below them. This is the only state that belongs to the whole
 * process: the ES module copy, the CommonJS copy and a second installed copy of the package must
 * agree who listens on which port, so it hangs on a versioned global symbol.
 */
import { SocketError } from '../errors.ts'
import type { EndpointOptionsGiven, NodeKey, SecurityMode } from '../transport/index.ts'
import type { Carrier } from './line.ts'

/** What `configure` and `PUNCHLINE_TRANSPORT` choose between. */
export type TransportChoice = 'tcp' | 'udp' | 'auto'

/** The process-wide state, shared by all copies of this package that speak version 1 of it. */
export interface NetRegistry {
  carrier: Carrier | null
  makeDefaultCarrier: (() => Carrier) | null
  transport: TransportChoice | undefined
  endpoint: EndpointOptionsGiven
  security: SecurityMode | undefined
  nodeKey: NodeKey | undefined
  isRegistered: boolean
}

const registryKey: unique symbol = Symbol.for('punchline.net.v1')

type GlobalWithRegistry = typeof globalThis & { [registryKey]?: NetRegistry }

/** Gives the process-wide state, making it on first use. */
export function netRegistry(): NetRegistry {
  const holder: GlobalWithRegistry = globalThis
  let registry = holder[registryKey]
  if (registry === undefined) {
    registry = {
      carrier: null,
      makeDefaultCarrier: null,
      transport: undefined,
      endpoint: {},
      security: undefined,
      nodeKey: undefined,
      isRegistered: false,
    }
    Object.defineProperty(holder, registryKey, { value: registry })
  }
  return registry
}

/** Puts `carrier` below all sockets made from now on; null brings the default back. */
export function setCarrier(carrier: Carrier | null): void {
  netRegistry().carrier = carrier
}

/**
 * Names what makes the carrier when the first UDP socket needs one. The first copy of the package
 * that is loaded wins, so that two copies share one set of UDP ports.
 */
export function registerDefaultCarrier(make: () => Carrier): void {
  netRegistry().makeDefaultCarrier ??= make
}

/**
 * Gives the carrier, making the default one on first use.
 * @throws {SocketError} ERR_PUNCHLINE_NO_CARRIER when none was set or registered.
 */
export function getCarrier(): Carrier {
  const registry = netRegistry()
  if (registry.carrier === null) {
    if (registry.makeDefaultCarrier === null) {
      throw new SocketError(
        'ERR_PUNCHLINE_NO_CARRIER',
        'The UDP transport is not loaded: import punchline/net or punchline/register first',
      )
    }
    registry.carrier = registry.makeDefaultCarrier()
  }
  return registry.carrier
}
