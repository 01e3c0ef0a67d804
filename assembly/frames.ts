/**
 * Receiving: the frames of a packet that is known to be the peer's.
 */
import {
  CN_CLOSE_END,
  CN_CLOSE_HEARD,
  CN_FLAGS,
  CN_PATHS,
  CN_SAY_CLOSE,
  pathOf,
  probeTimeout,
  STATE_CLOSING,
  STATE_DRAINING,
  setState,
  tellClosed,
  wantSend,
} from './connection'
import { ecnCounts } from './ecn'
import { CODE, count, ENDPOINT, EP_FROM } from './endpoint'
import { CODE_NONE, CODE_PROTOCOL, COUNT_ACKS_RECEIVED } from './layout'
import { onChallenge, onResponse } from './migration'
import { PATH_NEXT } from './path'
import { minf, type ptr, r8, r32, rf64, w32, wf64 } from './prelude'
import { ackBegin, ackDone, rangeAcked } from './recovery'
import { NO_MEMORY, onAccept, onMaxStreams, onOpen, onRefuse, streamsSever } from './stream'
import { onBlocked, onReset, onStreamBlocked, onStreamData } from './stream-receive'
import { onMaxData, onMaxStreamData, onStop } from './stream-send'
import {
  CHALLENGE_SIZE,
  FRAME_ACCEPT,
  FRAME_ACK,
  FRAME_ACK_PATH,
  FRAME_CLOSE,
  FRAME_DATA_BLOCKED,
  FRAME_ECN,
  FRAME_MAX_DATA,
  FRAME_MAX_STREAM_DATA,
  FRAME_MAX_STREAMS,
  FRAME_OPEN,
  FRAME_PADDING,
  FRAME_PATH_CHALLENGE,
  FRAME_PATH_RESPONSE,
  FRAME_PING,
  FRAME_REFUSE,
  FRAME_RESET,
  FRAME_STOP,
  FRAME_STREAM,
  FRAME_STREAM_DATA_BLOCKED,
  readVarint,
  STREAM_FIN_BIT,
  STREAM_LENGTH_BIT,
  varintSizeAt,
} from './wire'

/** Intervals in one ACK frame that are looked at: more is a peer that makes us work. */
const ACK_RANGES_LIMIT: f64 = 256.0

/** A closed connection is remembered so long at most. */
const LINGER_MAX: f64 = 10000000.0

/** A frame's integers are read one after the other; this is what was left of the packet. */
const TRUNCATED: f64 = -1.0

/** Reads the integer at `p` if it ends before `end`; negative when it does not or is too large. */
function integer(p: ptr, end: ptr): f64 {
  if (p >= end || p + varintSizeAt(p) > end) return TRUNCATED
  return readVarint(p)
}

/** Reads an ACK frame; gives the pointer after it, 0 when it is not one. */
function ackFrame(cn: ptr, path: ptr, from: ptr, end: ptr, now: f64): ptr {
  const largest: f64 = integer(from, end)
  // Acknowledging what was never sent is an attack or a defect.
  if (largest < 0.0 || largest >= rf64(path + PATH_NEXT)) return 0
  let p: ptr = from + varintSizeAt(from)
  const delay: f64 = integer(p, end)
  if (delay < 0.0) return 0
  p += varintSizeAt(p)
  const further: f64 = integer(p, end)
  if (further < 0.0 || further > ACK_RANGES_LIMIT) return 0
  p += varintSizeAt(p)
  ackBegin(cn, path, largest, delay, now)
  let stop: f64 = largest + 1.0
  let left: f64 = further
  while (true) {
    const length: f64 = integer(p, end)
    if (length < 0.0 || length + 1.0 > stop) return 0
    p += varintSizeAt(p)
    const start: f64 = stop - length - 1.0
    rangeAcked(cn, path, start, stop, now)
    if (left < 1.0) break
    left -= 1.0
    const gap: f64 = integer(p, end)
    if (gap < 0.0 || gap + 1.0 > start) return 0
    p += varintSizeAt(p)
    stop = start - gap - 1.0
  }
  ackDone(cn, path, now)
  count(r32(cn + ENDPOINT), COUNT_ACKS_RECEIVED, 1.0)
  return p
}

/** Packets may be under way for three probe timeouts; a peer can make them last, but not for ever. */
function lingerUntil(cn: ptr, now: f64): void {
  const period: f64 = minf(probeTimeout(cn, r32(cn + CN_PATHS)) * 3.0, LINGER_MAX)
  wf64(cn + CN_CLOSE_END, now + period)
}

/** The peer closes the connection: we fall silent. */
function closed(cn: ptr, code: f64, now: f64): void {
  streamsSever(cn)
  setState(cn, STATE_DRAINING)
  lingerUntil(cn, now)
  tellClosed(cn, i32(minf(code, 65535.0)))
  wantSend(cn)
}

/** We close the connection: CLOSE goes now, and again to who has not heard it. */
export function closeConnection(cn: ptr, code: i32, now: f64): void {
  streamsSever(cn)
  setState(cn, STATE_CLOSING)
  w32(cn + CODE, code)
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_CLOSE)
  lingerUntil(cn, now)
  wantSend(cn)
}

/** A packet for a connection that we closed: say so again, ever more seldom. */
export function heardAfterClose(cn: ptr): void {
  const heard: i32 = r32(cn + CN_CLOSE_HEARD) + 1
  w32(cn + CN_CLOSE_HEARD, heard)
  if ((heard & (heard - 1)) !== 0) return
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_CLOSE)
  wantSend(cn)
}

/** Set by `readFrames`: whether the packet asks for an acknowledgement. */
export const ELICITING: i32 = 1
/** Set by `readFrames`: the connection was closed by the peer. */
export const CLOSED: i32 = 2
/** Set by `readFrames`: the packet was full, so the sender has more. */
export const MID_BURST: i32 = 4

/**
 * Applies the frames in [from, end). Gives ELICITING and CLOSED bits, or −code to close the
 * connection with; NO_MEMORY − 65,536: the packet must count as not received.
 */
export function readFrames(cn: ptr, path: ptr, from: ptr, end: ptr, now: f64): i32 {
  let bits: i32 = 0
  let p: ptr = from
  while (p < end) {
    const type: i32 = r8(p)
    p += 1
    if (type === FRAME_PADDING) continue
    if (type === FRAME_ACK) {
      p = ackFrame(cn, path, p, end, now)
      if (p === 0) return -CODE_PROTOCOL
      continue
    }
    if (type === FRAME_ACK_PATH) {
      const other: f64 = integer(p, end)
      if (other < 0.0 || other > 255.0) return -CODE_PROTOCOL
      const named: ptr = pathOf(cn, i32(other))
      if (named === 0) return -CODE_PROTOCOL
      p = ackFrame(cn, named, p + varintSizeAt(p), end, now)
      if (p === 0) return -CODE_PROTOCOL
      continue
    }
    if (type === FRAME_PATH_CHALLENGE || type === FRAME_PATH_RESPONSE) {
      if (end - p < CHALLENGE_SIZE) return -CODE_PROTOCOL
      if (type === FRAME_PATH_RESPONSE) onResponse(cn, path, p, now)
      else onChallenge(cn, path, p, r32(r32(cn + ENDPOINT) + EP_FROM))
      p += CHALLENGE_SIZE
      continue
    }
    if (type === FRAME_ECN) {
      const marked: f64 = integer(p, end)
      if (marked < 0.0) return -CODE_PROTOCOL
      p += varintSizeAt(p)
      const congested: f64 = integer(p, end)
      if (congested < 0.0) return -CODE_PROTOCOL
      p += varintSizeAt(p)
      ecnCounts(path, marked, congested)
      continue
    }
    bits = (bits | ELICITING) & ~MID_BURST
    if (type === FRAME_PING) continue
    // All others start with an integer; most name a stream with it.
    const first: f64 = integer(p, end)
    if (first < 0.0) return -CODE_PROTOCOL
    p += varintSizeAt(p)
    if (type === FRAME_MAX_DATA) {
      onMaxData(cn, first)
      continue
    }
    if (type === FRAME_MAX_STREAMS) {
      onMaxStreams(cn, first)
      continue
    }
    if (type === FRAME_DATA_BLOCKED) {
      onBlocked(cn, first)
      continue
    }
    if (type === FRAME_CLOSE) {
      closed(cn, first, now)
      return bits | CLOSED
    }
    let result: i32 = CODE_NONE
    if (type === FRAME_ACCEPT) result = onAccept(cn, first)
    else {
      const second: f64 = integer(p, end)
      if (second < 0.0) return -CODE_PROTOCOL
      p += varintSizeAt(p)
      if ((type & ~(STREAM_FIN_BIT | STREAM_LENGTH_BIT)) === FRAME_STREAM) {
        let size: i32 = end - p
        if ((type & STREAM_LENGTH_BIT) !== 0) {
          const length: f64 = integer(p, end)
          if (length < 0.0) return -CODE_PROTOCOL
          p += varintSizeAt(p)
          if (length > f64(end - p)) return -CODE_PROTOCOL
          size = i32(length)
        }
        if ((type & (STREAM_LENGTH_BIT | STREAM_FIN_BIT)) === 0) bits |= MID_BURST
        if (second + f64(size) > 9007199254740991.0) return -CODE_PROTOCOL
        result = onStreamData(cn, first, second, p, size, (type & STREAM_FIN_BIT) !== 0)
        p += size
      } else if (type === FRAME_OPEN) result = onOpen(cn, first, second)
      else if (type === FRAME_REFUSE) result = onRefuse(cn, first, second)
      else if (type === FRAME_STOP) result = onStop(cn, first, second)
      else if (type === FRAME_MAX_STREAM_DATA) result = onMaxStreamData(cn, first, second)
      else if (type === FRAME_STREAM_DATA_BLOCKED) result = onStreamBlocked(cn, first, second)
      else if (type === FRAME_RESET) {
        const final: f64 = integer(p, end)
        if (final < 0.0) return -CODE_PROTOCOL
        p += varintSizeAt(p)
        result = onReset(cn, first, second, final)
      } else return -CODE_PROTOCOL
    }
    if (result === NO_MEMORY) return UNSTORED
    if (result !== CODE_NONE) return -result
  }
  return bits
}

/** Answer of `readFrames` for a packet that could not be stored. */
export const UNSTORED: i32 = -65536
