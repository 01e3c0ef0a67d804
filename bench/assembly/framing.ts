/**
 * Packet framing for the micro benchmark, over the core's own wire functions: a short header and a
 * STREAM frame with its payload. A module of its own, so that the core does not carry it.
 */
import { copy, type ptr, r8, r32, w8 } from '../../assembly/prelude'
import {
  expandNumber,
  FIRST_OURS,
  FRAME_STREAM,
  PACKET_CID,
  readVarint,
  SHORT_NUMBER,
  SHORT_SIZE,
  STREAM_LENGTH_BIT,
  varintSizeAt,
  writeShortHeader,
  writeVarint,
} from '../../assembly/wire'

const CID_LOW: i32 = 0x12345678
const CID_HIGH: i32 = 0x0badcafe
const STREAM: f64 = 5.0

/** Writes `count` packets one after the other from `to` on and gives the pointer after them. */
export function encodePackets(count: i32, size: i32, from: ptr, to: ptr, first: f64): ptr {
  let p: ptr = to
  let source: ptr = from
  for (let index: i32 = 0; index < count; index++) {
    const number: f64 = first + f64(index)
    writeShortHeader(p, 0, 0, CID_LOW, CID_HIGH, number)
    p = p + SHORT_SIZE
    w8(p, FRAME_STREAM | STREAM_LENGTH_BIT)
    p = writeVarint(p + 1, STREAM)
    p = writeVarint(p, number * f64(size))
    p = writeVarint(p, f64(size))
    copy(p, source, size)
    p = p + size
    source = source + size
  }
  return p
}

/**
 * Reads the packets that lie from `from` to `end`. Gives the sum of packet numbers, offsets and
 * lengths, or −1 when something is not as it should be.
 */
export function decodePackets(from: ptr, end: ptr, expected: f64): f64 {
  let p: ptr = from
  let next: f64 = expected
  let sum: f64 = 0.0
  while (p < end) {
    if (p + SHORT_SIZE + 4 > end) return -1.0
    if (r8(p) !== FIRST_OURS) return -1.0
    if (r32(p + PACKET_CID) !== CID_LOW || r32(p + PACKET_CID + 4) !== CID_HIGH) return -1.0
    const number: f64 = expandNumber(r32(p + SHORT_NUMBER), next)
    p = p + SHORT_SIZE
    if (r8(p) !== (FRAME_STREAM | STREAM_LENGTH_BIT)) return -1.0
    p = p + 1
    if (p + varintSizeAt(p) > end) return -1.0
    const stream: f64 = readVarint(p)
    p = p + varintSizeAt(p)
    if (p >= end || p + varintSizeAt(p) > end) return -1.0
    const offset: f64 = readVarint(p)
    p = p + varintSizeAt(p)
    if (p >= end || p + varintSizeAt(p) > end) return -1.0
    const length: f64 = readVarint(p)
    p = p + varintSizeAt(p)
    if (stream !== STREAM || offset < 0.0 || length < 0.0 || length > f64(end - p)) return -1.0
    p = p + i32(length)
    sum = sum + number + offset + length
    next = number + 1.0
  }
  return sum
}
