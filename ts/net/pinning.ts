/**
 * Peers that are kept: a pinned peer has a connection to us whenever there is a way to it, so that a
 * socket to it opens within one round trip, after an hour of blackout as after a restart.
 */
import net from 'node:net'
import { SocketError } from '../errors.ts'
import { getCarrier } from './carrier.ts'
import type { PinnedLine } from './line.ts'
import { chooseSecurity, type SecurityOption } from './security-choice.ts'
import { nodeError } from './system-errors.ts'

export interface PinOptions {
  /** IP literal: a name may lead elsewhere tomorrow. */
  readonly host: string
  readonly port: number
  /** As `connect`'s, and sockets share the pinned connection only if theirs is the same. */
  readonly security?: SecurityOption | undefined
  /** There is a connection; `epoch` counts them from 1. */
  readonly connected?: ((epoch: number) => void) | undefined
  /** It is gone, with the sockets on it; the next one is being tried for. */
  readonly lost?: (() => void) | undefined
}

/** A peer that is kept until `unpin`. It does not keep the process alive. */
export interface PinnedPeer {
  readonly isConnected: boolean
  /** How many connections there have been. */
  readonly epoch: number
  /** Lets go: the connection stays while sockets use it, and is not made again. */
  unpin(): void
  [Symbol.dispose](): void
}

/**
 * Keeps a connection to a peer over UDP. Costs about 4 KiB, and one small packet each way in
 * `keepAliveMs`; while the peer is away about one packet a second.
 * @throws TypeError ERR_INVALID_IP_ADDRESS; SocketError ERR_PUNCHLINE_NO_CARRIER
 */
export function pin(options: PinOptions): PinnedPeer {
  const { host: address, port, connected, lost } = options
  const family = net.isIP(address)
  if (family !== 4 && family !== 6) {
    throw nodeError('ERR_INVALID_IP_ADDRESS', `Invalid IP address: ${String(address)}`)
  }
  const security = chooseSecurity(options.security)
  const carrier = getCarrier()
  if (carrier.pin === undefined) {
    throw new SocketError('ERR_PUNCHLINE_NO_CARRIER', 'This carrier does not pin peers')
  }
  const pinned: PinnedLine = carrier.pin({ address, port, family, security }, { connected, lost })
  const unpin = () => pinned.release()
  return {
    get isConnected() {
      return pinned.isConnected
    },
    get epoch() {
      return pinned.epoch
    },
    unpin,
    [Symbol.dispose]: unpin,
  }
}
