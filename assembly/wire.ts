/**
 * Wire format: packet headers, frames, variable-length integers. docs/protocol.md is the
 * specification; all integers are little-endian.
 */
import { VERSION } from './layout'
import { low32, type ptr, r8, r16, r32, w8, w16, w32 } from './prelude'

// ── First byte ───────────────────────────────────────────────────────────────────────────────────
// 192–255 is ours, the rest belongs to STUN (0–3), TURN channels (64–79) and RTP (128–191).

export const FIRST_OURS: i32 = 0xc0
export const FIRST_LONG: i32 = 0x20
/** A datagram of this one byte asks nothing of us: it only finds out whether the port is open. */
export const ROUTE_PROBE: i32 = 0xff
/** Low bit of a short header's first byte: which of two key epochs. */
export const SHORT_EPOCH: i32 = 0x01

export const TYPE_INITIAL: i32 = 0
export const TYPE_HANDSHAKE: i32 = 1
export const TYPE_RETRY: i32 = 2
export const TYPE_VERSION: i32 = 3
export const TYPE_REFUSE: i32 = 4
export const TYPE_RESET: i32 = 5

// ── Short header: first byte, path number, destination connection id, packet number ──────────────

export const SHORT_PATH: i32 = 1
/** In both header forms. */
export const PACKET_CID: i32 = 2
export const SHORT_NUMBER: i32 = 10
export const SHORT_SIZE: i32 = 14

// ── Long header: first byte, cookie size, destination id, version, source id, message length ─────

/** 0, or COOKIE_SIZE in first packets that answer a RETRY: the cookie follows the header. */
export const LONG_COOKIE_SIZE: i32 = 1
export const LONG_VERSION: i32 = 10
export const LONG_SOURCE_CID: i32 = 14
export const LONG_LENGTH: i32 = 22
export const LONG_SIZE: i32 = 24

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

// ── Frames ───────────────────────────────────────────────────────────────────────────────────────

export const FRAME_PADDING: i32 = 0x00
export const FRAME_PING: i32 = 0x01
/** largest, delay in µs, count of further ranges, first range length − 1, (gap − 1, length − 1)* */
export const FRAME_ACK: i32 = 0x02
/** path number, then as ACK */
export const FRAME_ACK_PATH: i32 = 0x03
/** stream, code, final size */
export const FRAME_RESET: i32 = 0x04
/** stream, code */
export const FRAME_STOP: i32 = 0x05
/** 0x08–0x0b: stream, offset, [length], bytes */
export const FRAME_STREAM: i32 = 0x08
export const STREAM_FIN_BIT: i32 = 0x01
export const STREAM_LENGTH_BIT: i32 = 0x02
/** limit of the connection */
export const FRAME_MAX_DATA: i32 = 0x10
/** stream, limit */
export const FRAME_MAX_STREAM_DATA: i32 = 0x11
/** count of streams the peer may have opened in all */
export const FRAME_MAX_STREAMS: i32 = 0x12
/** limit at which the connection is blocked */
export const FRAME_DATA_BLOCKED: i32 = 0x14
/** stream, limit at which it is blocked */
export const FRAME_STREAM_DATA_BLOCKED: i32 = 0x15
/** stream, source port: the port that the opener reports as its own */
export const FRAME_OPEN: i32 = 0x18
/** stream */
export const FRAME_ACCEPT: i32 = 0x19
/** stream, code */
export const FRAME_REFUSE: i32 = 0x1a
/** code */
export const FRAME_CLOSE: i32 = 0x1c
/** 8 bytes, to be sent back from where they arrived */
export const FRAME_PATH_CHALLENGE: i32 = 0x1d
export const FRAME_PATH_RESPONSE: i32 = 0x1e
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
