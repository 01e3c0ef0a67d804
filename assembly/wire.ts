/**
 * Wire format: packet headers, frames, variable-length integers. docs/protocol.md is the
 * specification; all integers are little-endian. Offsets, types and codes are made from `wire.json`.
 */
import { VERSION } from './layout'
import { low32, type ptr, r8, r16, r32, w8, w16, w32 } from './prelude'
import {
  LONG_COOKIE_SIZE,
  LONG_LENGTH,
  LONG_SOURCE_CID,
  LONG_VERSION,
  SHORT_CID,
  SHORT_NUMBER,
  SHORT_PATH,
} from './wire-fields'

export * from './wire-fields'

// ── First byte ───────────────────────────────────────────────────────────────────────────────────
// 192–255 is ours, the rest belongs to STUN (0–3), TURN channels (64–79) and RTP (128–191).

export const FIRST_OURS: i32 = 0xc0
export const FIRST_LONG: i32 = 0x20
/** A datagram of this one byte asks nothing of us: it only finds out whether the port is open. */
export const ROUTE_PROBE: i32 = 0xff
/** Low bit of a short header's first byte: which of two key epochs. */
export const SHORT_EPOCH: i32 = 0x01

/** The destination identifier, in both header forms. */
export const PACKET_CID: i32 = SHORT_CID

// ── Sizes ────────────────────────────────────────────────────────────────────────────────────────

/** CRC32C after the last frame, or the tag of packet protection. */
export const CRC_SIZE: i32 = 4
export const TAG_SIZE: i32 = 16
/** Proof that a first packet's sender gets what is sent to its address. */
export const COOKIE_SIZE: i32 = 8

/** First packets are padded to this, so that an answer of three times the size is little. */
export const INITIAL_SIZE: i32 = 1200
/** Padding after two unanswered first packets: what a 576-byte link carries. */
export const INITIAL_SIZE_FLOOR: i32 = 548
/** How many are padded to INITIAL_SIZE. */
export const INITIALS_LARGE: i32 = 2
/** Longest handshake message: it fits a first packet, and half-open connections cost little. */
export const MESSAGE_SIZE_MAX: i32 = 1100
/** Smallest packet size that a connection may be configured for. */
export const PACKET_SIZE_MIN: i32 = 548
export const PACKET_SIZE_MAX: i32 = 65507

// ── Bits of STREAM frames ────────────────────────────────────────────────────────────────────────

export const STREAM_FIN_BIT: i32 = 0x01
export const STREAM_LENGTH_BIT: i32 = 0x02

/** What PATH_CHALLENGE and PATH_RESPONSE carry. */
export const CHALLENGE_SIZE: i32 = 8

// ── Variable-length integers ─────────────────────────────────────────────────────────────────────
// The low two bits of the first byte say the size: 0 → 1, 1 → 2, 2 → 4, 3 → 8 bytes, little-endian,
// value in the bits above. Values above 2^53 − 1 are a protocol error.

export const VARINT_MAX: f64 = 9007199254740991.0

export function varintSize(value: f64): i32 {
  return value < 64.0 ? 1 : value < 16384.0 ? 2 : value < 1073741824.0 ? 4 : 8
}

/** Size of the integer that starts with this byte. */
export function varintSizeAt(p: ptr): i32 {
  return 1 << (r8(p) & 3)
}

/** Reads the integer at `p`; the caller has checked that all of it is there. −1: above 2^53 − 1. */
export function readVarint(p: ptr): f64 {
  const first: i32 = r8(p)
  const kind: i32 = first & 3
  if (kind === 0) return f64(first >> 2)
  if (kind === 1) return f64(r16(p) >> 2)
  if (kind === 2) return f64(r32(p) >>> 2)
  const high: i32 = r32(p + 4)
  // 62 bits: 30 low ones and 32 high ones, of which 23 may be used.
  if ((high & ~0x7fffff) !== 0) return -1.0
  return f64(high) * 1073741824.0 + f64(r32(p) >>> 2)
}

/** Writes the integer in its shortest form and gives the pointer after it. */
export function writeVarint(p: ptr, value: f64): ptr {
  if (value < 64.0) {
    w8(p, i32(value) << 2)
    return p + 1
  }
  if (value < 16384.0) {
    w16(p, (i32(value) << 2) | 1)
    return p + 2
  }
  if (value < 1073741824.0) {
    w32(p, (i32(value) << 2) | 2)
    return p + 4
  }
  const high: f64 = Math.floor(value / 1073741824.0)
  w32(p, (i32(value - high * 1073741824.0) << 2) | 3)
  w32(p + 4, i32(high))
  return p + 8
}

/** Completes a truncated packet number: the one nearest to what is expected next (RFC 9000 §A.3). */
export function expandNumber(low: i32, expected: f64): f64 {
  const number: f64 = expected + f64((low - low32(expected)) | 0)
  return number < 0.0 ? number + 4294967296.0 : number
}

export function writeShortHeader(
  p: ptr,
  epoch: i32,
  path: i32,
  cidLow: i32,
  cidHigh: i32,
  number: f64,
): void {
  w8(p, FIRST_OURS | (epoch & SHORT_EPOCH))
  w8(p + SHORT_PATH, path)
  w32(p + PACKET_CID, cidLow)
  w32(p + PACKET_CID + 4, cidHigh)
  w32(p + SHORT_NUMBER, low32(number))
}

export function writeLongHeader(
  p: ptr,
  type: i32,
  destinationLow: i32,
  destinationHigh: i32,
  sourceLow: i32,
  sourceHigh: i32,
  length: i32,
): void {
  w8(p, FIRST_OURS | FIRST_LONG | type)
  w8(p + LONG_COOKIE_SIZE, 0)
  w32(p + PACKET_CID, destinationLow)
  w32(p + PACKET_CID + 4, destinationHigh)
  w32(p + LONG_VERSION, VERSION)
  w32(p + LONG_SOURCE_CID, sourceLow)
  w32(p + LONG_SOURCE_CID + 4, sourceHigh)
  w16(p + LONG_LENGTH, length)
}
