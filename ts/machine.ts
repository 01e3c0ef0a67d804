/**
 * The shape of every protocol part: time and bytes go in; datagrams, events and the next deadline
 * come out. A machine never reads a clock, draws chance, opens a socket or starts a timer: one of
 * the two worlds (`ts/io`, `ts/sim`) drives it and hands these in. So an hour of traffic runs in
 * seconds on a virtual clock, and a failing seed repeats exactly.
 */

import type { KeyObject } from 'node:crypto'

/** Microseconds on the driver's own monotonic clock. A safe integer. */
export type Micros = number

/** "No deadline": what `pollTimeout` and `nextTimeout` answer when nothing is waiting. */
export const NEVER: Micros = Number.POSITIVE_INFINITY

/** Chance, handed in: cryptographic in `ts/io`, seeded in `ts/sim`. */
export interface Random {
  /** Draws 32 uniformly distributed bits, 0 … 2^32 − 1. */
  u32(): number
  /** Fills all of `bytes`. */
  fill(bytes: Uint8Array): void
  /** Draws an X25519 key whose private bytes the program never sees; chance without it draws bytes. */
  x25519KeyPair?(): KeyPair
}

/** The private half stays inside `node:crypto`; the public one is the bytes that travel. */
export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: Uint8Array
}

/** Where a datagram came from or goes to. */
export interface DatagramAddress {
  /** Which of the endpoint's sockets, counted from 0. */
  readonly socketIndex: number
  /** IPv4 or IPv6 literal; IPv4 is never written in its mapped form. */
  readonly address: string
  /** UDP port, 1 … 65,535. */
  readonly port: number
}

/** A part with few datagrams (STUN transaction, hole puncher, gossip node): one call per datagram. */
export interface Machine<Event> {
  handleDatagram(now: Micros, from: DatagramAddress, bytes: Uint8Array): void
  /** Early calls are normal and do nothing. */
  handleTimeout(now: Micros): void
  /** The next datagram to send, or undefined. The bytes are the caller's. */
  pollTransmit(now: Micros): { to: DatagramAddress; bytes: Uint8Array } | undefined
  pollEvent(): Event | undefined
  /** When `handleTimeout` wants to be called, or `NEVER`. */
  pollTimeout(): Micros
}

/**
 * The transport engine: the same five verbs, batched. Datagrams cross in shared memory (receive and
 * train arenas with descriptor tables, see `bindings/core.ts`), never one object per packet.
 */
export interface Engine {
  /**
   * Takes the first `count` receive descriptors and answers how many it consumed. Fewer than
   * `count` means that the event table is full: call again with the rest.
   */
  ingest(now: Micros, count: number): number
  /** Fills send descriptors and answers how many. Call until 0: more may be due. */
  flush(now: Micros): number
  /** Runs what is due. Early calls are normal. */
  timeout(now: Micros): void
  /** When `timeout` wants to be called, or `NEVER`. */
  nextTimeout(): Micros
}

/** How a world without knowledge of the memory layout moves datagrams in and out of an `Engine`. */
export interface DatagramPort extends Engine {
  /**
   * Copies one datagram into the receive arena; false when it is full: `ingest` first. `ecn`: the two
   * bits of explicit congestion notification in its IP header (RFC 3168), default 0.
   */
  deliver(from: DatagramAddress, bytes: Uint8Array, ecn?: number): boolean
  /**
   * Calls `take` for every datagram that the last `flush` described, in order. `bytes` is a view
   * that is valid during the call only. `ecn`: as it is to be marked.
   */
  collect(take: (to: DatagramAddress, bytes: Uint8Array, ecn?: number) => void): void
}
