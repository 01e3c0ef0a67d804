/**
 * What the driver needs of a UDP socket, whichever tier carries it: `node:dgram`, recvmmsg and
 * sendmmsg on the poll set, or io_uring.
 */
import type { Endpoint } from '../transport/index.ts'

/** The tiers, slowest last. */
export type Backend = 'uring' | 'mmsg' | 'dgram'

export interface UdpBinding {
  /** IP literal, '' for any. */
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  readonly ipv6Only?: boolean
  /** Share the port with other sockets that say so; the kernel spreads peers over them. */
  readonly reusePort?: boolean
}

/** What the network, or the route to it, said about datagrams to an address. */
export interface DatagramRefusal {
  /** ECONNREFUSED: nobody is at that port. EHOSTUNREACH, ENETUNREACH, EACCES, EMSGSIZE …. */
  readonly code: string
  readonly address: string
  readonly port: number
  /** For EMSGSIZE: bytes of an IP packet that the way carries; 0: not known. */
  readonly mtuBytes: number
}

export interface DatagramSocketOwner {
  /** One datagram, valid during the call (tier `dgram`). */
  datagram(bytes: Uint8Array, address: string, port: number): void
  /** The first `count` receive descriptors of the core were filled (native tiers). */
  received(count: number): void
  /** After `flush` answered false: it may be called again. */
  writable(): void
  refused(refusal: DatagramRefusal): void
  /** The socket is of no use any more. */
  failed(error: Error): void
}

/** What a socket has counted. Tiers leave out what they can't know. */
export interface DatagramSocketFigures {
  readonly sendCalls?: number
  readonly receiveCalls?: number
  /** Datagrams that the kernel dropped because the receive buffer was full. */
  readonly drops?: number
  /** Datagrams that the system would not take. */
  readonly sendsFailed?: number
  /** Whether many datagrams leave in one call as one train, and why not. */
  readonly hasSegmentation?: boolean
  readonly segmentationReason?: string
  readonly hasReceiveOffload?: boolean
  /** DF is set: what is too large for the way is dropped, never cut. */
  readonly neverFragments?: boolean
}

/** A bound UDP socket. */
export interface DatagramSocket {
  readonly backend: Backend
  /** IP literal as the system names it. */
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  /** What the system granted, bytes. */
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  /** Whether the bits of explicit congestion notification are sent and seen. */
  readonly hasEcn: boolean
  /**
   * Sends what the endpoint's last `flush` described in `count` descriptors. False: the system does
   * not take everything at once; nothing may be built until `writable`. What the system refuses is
   * lost, like any datagram.
   */
  flush(endpoint: Endpoint, count: number): boolean
  /** Sends one datagram, copied or sent before the call returns. */
  send(bytes: Uint8Array, address: string, port: number): void
  /** Whether it keeps the process alive; true at first. */
  setRef(isRef: boolean): void
  figures(): DatagramSocketFigures
  close(): void
}

/** Asked of the system for each direction; it may grant less. */
export const BUFFER_BYTES = 4 * 1024 * 1024
