/** What a socket tells about the way its bytes take: `stats()` and `path`. */
import net from 'node:net'
import type { SecurityInfo } from '../transport/index.ts'
import { type InternalSocket, kLink } from './internals.ts'
import type { LineStats } from './line.ts'

/** Figures of a socket. Over UDP those of the line and its connection, over TCP only this. */
export type SocketStats = LineStats | { readonly transport: 'tcp' }

/** Which way a socket's bytes take. */
export interface SocketPath {
  readonly transport: 'tcp' | 'udp'
  /** `ip`: the peer was given by its address, or by a name that the local resolver knows. */
  readonly kind: 'ip'
  readonly localAddress: string
  readonly localPort: number
  readonly remoteAddress: string
  readonly remotePort: number
  readonly family: 'IPv4' | 'IPv6'
}

/** Members of ours on every socket. */
export interface SocketFigures {
  /**
   * Gives the figures of this socket now; after 'close' the last ones. `transport`, and over UDP
   * also `backend`, `security` ('none' is plaintext) and what the transport counts.
   */
  stats(): SocketStats
  /** Says which way the bytes take; undefined before 'connect' and after 'close'. */
  readonly path: SocketPath | undefined
  /**
   * What was proven about the peer, and what protects the bytes; undefined over TCP and before
   * 'connect'.
   */
  readonly security: SecurityInfo | undefined
}

/** Describes `stats`, `path` and `security` for a prototype. */
export const figureDescriptors: PropertyDescriptorMap & ThisType<InternalSocket> = {
  stats: {
    value(this: InternalSocket): SocketStats {
      const link = this[kLink]
      if (!link) return { transport: 'tcp' }
      return link.stats() ?? { transport: 'udp', backend: 'none', security: 'none' }
    },
    enumerable: false,
    configurable: true,
    writable: true,
  },
  security: {
    get() {
      return this[kLink]?.line?.security
    },
    enumerable: false,
    configurable: true,
  },
  path: {
    get() {
      return pathOf(this)
    },
    // Programs that keep a `path` of their own on a socket go on doing so.
    set(value: unknown) {
      const own = { value, enumerable: true, configurable: true, writable: true }
      Object.defineProperty(this, 'path', own)
    },
    enumerable: false,
    configurable: true,
  },
}

function pathOf(socket: InternalSocket): SocketPath | undefined {
  const link = socket[kLink]
  if (link) {
    if (link.line === null || socket.connecting) return undefined
    return { transport: 'udp', kind: 'ip', ...(link.line.path ?? link.line.addresses) }
  }
  const { localAddress, localPort, remoteAddress, remotePort } = socket as unknown as net.Socket
  if (localAddress === undefined || localPort === undefined) return undefined
  if (remoteAddress === undefined || remotePort === undefined) return undefined
  const family = net.isIPv6(remoteAddress) ? 'IPv6' : 'IPv4'
  const names = { localAddress, localPort, remoteAddress, remotePort, family } as const
  return { transport: 'tcp', kind: 'ip', ...names }
}
