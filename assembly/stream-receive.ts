/**
 * The receiving side of a stream: bytes from the peer until the host has taken them, and the credit
 * that this opens.
 */
import {
  borrow,
  borrowedAfter,
  borrowedExtent,
  borrowedLocate,
  borrowedOffset,
  forgetBorrowed,
} from './borrowed'
import { bufferCopyIn, bufferEmpty, bufferExtent, bufferLocate, bufferRelease } from './buffer'
import {
  addControl,
  CN_LIMIT_IN,
  CN_PATHS,
  CN_RECEIVED,
  CN_STREAM_COUNT,
  CN_TAKEN,
  CN_WINDOW,
  CN_WINDOW_AT,
  CONTROL_MAX_DATA,
} from './connection'
import { CODE, count, ENDPOINT, EP_FLAGS, EP_LENDS, EP_NOW, tell } from './endpoint'
import {
  CODE_ABORTED,
  CODE_FLOW_CONTROL,
  CODE_NONE,
  CODE_PROTOCOL,
  COUNT_STREAM_BYTES_RECEIVED,
  PARAMS,
  STREAM_ACCEPTED,
  STREAM_READABLE,
  STREAM_RESET,
} from './layout'
import { maySpendOnGaps, OWNER_QUOTA } from './pages'
import { PATH_RTT_SMOOTHED } from './path'
import { addf64, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'
import {
  RANGE_END,
  RANGE_START,
  RANGES_COUNT,
  RANGES_HEAD,
  rangesAdd,
  rangesClear,
  rangesRemove,
} from './ranges'
import {
  addStreamControl,
  destroyIfDone,
  NO_MEMORY,
  RANGES_MAX,
  ST_ACCEPTED,
  ST_CONNECTION,
  ST_CONTIGUOUS,
  ST_FINAL,
  ST_FLAGS,
  ST_HIGHEST,
  ST_LIMIT_IN,
  ST_LOCAL,
  ST_RECEIVE_BUFFER,
  ST_RECEIVED_RANGES,
  ST_REFUSED,
  ST_RELEASED,
  ST_RESET_IN,
  ST_SEVERED,
  ST_TAKEN,
  ST_WINDOW,
  ST_WINDOW_AT,
  STREAM_MAX_DATA_DUE,
  STREAM_WINDOW_SHARE,
  streamAbort,
  streamFor,
  unusable,
  WINDOW_SHARE,
} from './stream'

// ── Reading: calls of the host ──────────────────────────────────────────────────────────────────────

/** Bytes that `streamPeek` could give in all. */
export function streamReadable(st: ptr): f64 {
  if ((r32(st + ST_FLAGS) & ST_RESET_IN) !== 0) return 0.0
  return rf64(st + ST_CONTIGUOUS) - rf64(st + ST_TAKEN)
}

/** Whether the peer's FIN was reached and everything was read. A reset is not such an end. */
export function streamEnded(st: ptr): bool {
  if ((r32(st + ST_FLAGS) & ST_RESET_IN) !== 0) return false
  return rf64(st + ST_FINAL) >= 0.0 && rf64(st + ST_TAKEN) >= rf64(st + ST_FINAL)
}

/**
 * The next bytes in one piece: gives how many, PARAMS[0] is where, PARAMS[1] 1 when they lie in the
 * receive arena.
 */
export function streamPeek(st: ptr): i32 {
  let readable: f64 = streamReadable(st)
  if (readable < 1.0) return 0
  const taken: f64 = rf64(st + ST_TAKEN)
  const borrowed: ptr = borrowedAfter(st, taken)
  const isBorrowed: bool = borrowed !== 0 && borrowedOffset(borrowed) <= taken
  wf64(PARAMS + 8, isBorrowed ? 1.0 : 0.0)
  if (isBorrowed) {
    wf64(PARAMS, f64(borrowedLocate(borrowed, taken)))
    return borrowedExtent(borrowed, taken)
  }
  if (borrowed !== 0) readable = borrowedOffset(borrowed) - taken
  wf64(PARAMS, f64(bufferLocate(st + ST_RECEIVE_BUFFER, taken)))
  return bufferExtent(st + ST_RECEIVE_BUFFER, taken, i32(minf(readable, 65536.0)))
}

/** Says that the host has taken `size` bytes: opens the windows. */
export function streamConsume(st: ptr, size: i32): void {
  const by: f64 = minf(f64(size), streamReadable(st))
  if (by <= 0.0) return
  const cn: ptr = r32(st + ST_CONNECTION)
  const taken: f64 = rf64(st + ST_TAKEN) + by
  wf64(st + ST_TAKEN, taken)
  forgetBorrowed(st, taken)
  if (taken >= rf64(st + ST_HIGHEST)) {
    bufferEmpty(cn, st + ST_RECEIVE_BUFFER)
  }
  bufferRelease(cn, st + ST_RECEIVE_BUFFER, taken)
  if ((r32(st + ST_FLAGS) & ST_SEVERED) !== 0) return
  if (rf64(st + ST_FINAL) < 0.0) {
    if (
      widen(st + ST_WINDOW, st + ST_WINDOW_AT, st + ST_LIMIT_IN, taken, cn, STREAM_WINDOW_SHARE)
    ) {
      addStreamControl(st, STREAM_MAX_DATA_DUE)
      leaveCredit(cn, rf64(st + ST_WINDOW))
    }
  }
  takeCredit(cn, by)
}

/** Counts bytes as taken on the connection's account. */
function takeCredit(cn: ptr, by: f64): void {
  const taken: f64 = rf64(cn + CN_TAKEN) + by
  wf64(cn + CN_TAKEN, taken)
  if (widen(cn + CN_WINDOW, cn + CN_WINDOW_AT, cn + CN_LIMIT_IN, taken, cn, WINDOW_SHARE)) {
    addControl(cn, CONTROL_MAX_DATA)
  }
}

/**
 * Whether it is time to tell the peer a new limit: when a quarter of the window was taken. A window
 * of which a quarter goes within a round trip is too small, because what is lost once or twice holds
 * back what follows for as many: it is doubled, within the memory there is.
 */
function widen(windowAt: ptr, timeAt: ptr, limitAt: ptr, taken: f64, cn: ptr, share: f64): bool {
  const window: f64 = rf64(windowAt)
  if (taken + window - rf64(limitAt) < window * 0.25) return false
  const now: f64 = rf64(r32(cn + ENDPOINT) + EP_NOW)
  const rtt: f64 = rf64(r32(cn + CN_PATHS) + PATH_RTT_SMOOTHED)
  let wider: f64 = window
  if (now - rf64(timeAt) < rtt) wider = doubled(window, cn, share)
  wf64(windowAt, wider)
  wf64(timeAt, now)
  wf64(limitAt, maxf(rf64(limitAt), taken + wider))
  return true
}

/**
 * A stream that nobody reads must leave the others some of the connection's credit, whatever its
 * window has become.
 */
export function leaveCredit(cn: ptr, streamWindow: f64): void {
  if (r32(cn + CN_STREAM_COUNT) < 2) return
  const share: f64 = STREAM_WINDOW_SHARE / WINDOW_SHARE
  if (streamWindow > rf64(cn + CN_WINDOW) * share) widenConnection(cn)
}

function widenConnection(cn: ptr): void {
  const wider: f64 = doubled(rf64(cn + CN_WINDOW), cn, WINDOW_SHARE)
  wf64(cn + CN_WINDOW, wider)
  wf64(cn + CN_LIMIT_IN, maxf(rf64(cn + CN_LIMIT_IN), rf64(cn + CN_TAKEN) + wider))
  addControl(cn, CONTROL_MAX_DATA)
}

/** Twice the window, within a share of the connection's memory. */
function doubled(window: f64, cn: ptr, share: f64): f64 {
  return maxf(window, minf(window * 2.0, f64(r32(cn + OWNER_QUOTA)) * share))
}

/**
 * The peer has used up the stream's limit. If that was not the program's doing, because it has read
 * everything there was without a gap, the window is too small for the path.
 */
export function onStreamBlocked(cn: ptr, number: f64, limit: f64): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  const window: f64 = rf64(st + ST_WINDOW)
  if (rf64(st + ST_FINAL) >= 0.0) return CODE_NONE
  if (limit >= rf64(st + ST_LIMIT_IN)) {
    // Who has not sent most of it is not held back by it.
    if (streamReadable(st) > 0.0 || rf64(st + ST_HIGHEST) < limit - window * 0.5) return CODE_NONE
    const wider: f64 = doubled(window, cn, STREAM_WINDOW_SHARE)
    if (wider > rf64(cn + CN_WINDOW) * 0.5) widenConnection(cn)
    wf64(st + ST_WINDOW, wider)
    wf64(st + ST_LIMIT_IN, maxf(rf64(st + ST_LIMIT_IN), rf64(st + ST_TAKEN) + wider))
  }
  // Or it has not heard of a limit that is higher.
  if (rf64(st + ST_LIMIT_IN) > limit) addStreamControl(st, STREAM_MAX_DATA_DUE)
  return CODE_NONE
}

/** The peer has used up the limit of the connection, unless it has not heard of the last one. */
export function onBlocked(cn: ptr, limit: f64): void {
  if (rf64(cn + CN_LIMIT_IN) > limit) addControl(cn, CONTROL_MAX_DATA)
}

/** Drops what was received and not taken; its credit goes back. */
export function discardReceived(st: ptr): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  const left: f64 = rf64(st + ST_HIGHEST) - rf64(st + ST_TAKEN)
  wf64(st + ST_TAKEN, rf64(st + ST_HIGHEST))
  wf64(st + ST_CONTIGUOUS, rf64(st + ST_HIGHEST))
  rangesClear(cn, st + ST_RECEIVED_RANGES)
  forgetBorrowed(st, Infinity)
  bufferEmpty(cn, st + ST_RECEIVE_BUFFER)
  if (left > 0.0) takeCredit(cn, left)
}

// ── Frames from the peer ────────────────────────────────────────────────────────────────────────────

export function onStreamData(cn: ptr, number: f64, offset: f64, p: ptr, size: i32, fin: bool): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  const end: f64 = offset + f64(size)
  const highest: f64 = rf64(st + ST_HIGHEST)
  const final: f64 = rf64(st + ST_FINAL)
  // RFC 9000 §4.5: the final size never changes.
  if (final >= 0.0 && (end > final || (fin && end !== final))) return CODE_PROTOCOL
  if (fin && end < highest) return CODE_PROTOCOL
  if (end > rf64(st + ST_LIMIT_IN)) return CODE_FLOW_CONTROL
  if (end > highest) {
    if (rf64(cn + CN_RECEIVED) + (end - highest) > rf64(cn + CN_LIMIT_IN)) return CODE_FLOW_CONTROL
  }
  const flags: i32 = r32(st + ST_FLAGS)
  const isDropped: bool = (flags & (ST_RELEASED | ST_RESET_IN)) !== 0
  if (!isDropped && !store(st, offset, p, size)) return NO_MEMORY
  if (end > highest) {
    addf64(cn + CN_RECEIVED, end - highest)
    wf64(st + ST_HIGHEST, end)
  }
  if (fin) wf64(st + ST_FINAL, end)
  // Only a program that took the stream writes to it: ACCEPT was overtaken, or lost.
  if ((flags & (ST_LOCAL | ST_ACCEPTED | ST_REFUSED)) === ST_LOCAL) {
    w32(st + ST_FLAGS, flags | ST_ACCEPTED)
    if ((flags & ST_RELEASED) === 0) tell(st, STREAM_ACCEPTED)
  }
  if (isDropped) {
    if (end > highest) {
      discardReceived(st)
      // RFC 9293 §3.6.1: data for a closed socket is answered with a reset.
      if ((flags & (ST_RESET_IN | ST_REFUSED)) === 0) streamAbort(st, CODE_ABORTED)
    }
    destroyIfDone(st)
    return CODE_NONE
  }
  if (
    rf64(st + ST_CONTIGUOUS) > rf64(st + ST_TAKEN) ||
    (fin && rf64(st + ST_CONTIGUOUS) >= rf64(st + ST_FINAL)) ||
    streamEnded(st)
  ) {
    tell(st, STREAM_READABLE)
  }
  return CODE_NONE
}

/** Stores the new part of [offset, offset + size); false when there is no memory for it. */
function store(st: ptr, offset: f64, p: ptr, size: i32): bool {
  const cn: ptr = r32(st + ST_CONNECTION)
  const contiguous: f64 = rf64(st + ST_CONTIGUOUS)
  const end: f64 = offset + f64(size)
  if (end <= contiguous) return true
  const skip: i32 = offset < contiguous ? i32(contiguous - offset) : 0
  const from: f64 = offset + f64(skip)
  const set: ptr = st + ST_RECEIVED_RANGES
  const isNext: bool = from <= contiguous
  if (!isNext) {
    if (!maySpendOnGaps(cn) || r32(set + RANGES_COUNT) >= RANGES_MAX) return false
  }
  const lends: bool = isNext && (r32(r32(st + ENDPOINT) + EP_FLAGS) & EP_LENDS) !== 0
  if (
    !(lends && borrow(st, from, p + skip, size - skip)) &&
    !bufferCopyIn(cn, st + ST_RECEIVE_BUFFER, from, p + skip, size - skip)
  ) {
    return false
  }
  if (!isNext) return rangesAdd(cn, set, from, end)
  let reached: f64 = end
  while (r32(set + RANGES_HEAD) !== 0) {
    const head: ptr = r32(set + RANGES_HEAD)
    if (rf64(head + RANGE_START) > reached) break
    reached = maxf(reached, rf64(head + RANGE_END))
    rangesRemove(cn, set, rf64(head + RANGE_START), rf64(head + RANGE_END))
  }
  wf64(st + ST_CONTIGUOUS, reached)
  count(r32(st + ENDPOINT), COUNT_STREAM_BYTES_RECEIVED, reached - contiguous)
  return true
}

export function onReset(cn: ptr, number: f64, code: f64, final: f64): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  const highest: f64 = rf64(st + ST_HIGHEST)
  const known: f64 = rf64(st + ST_FINAL)
  if (final < highest || (known >= 0.0 && known !== final)) return CODE_PROTOCOL
  if (final > rf64(st + ST_LIMIT_IN)) return CODE_FLOW_CONTROL
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_RESET_IN) !== 0) return CODE_NONE
  if (rf64(cn + CN_RECEIVED) + (final - highest) > rf64(cn + CN_LIMIT_IN)) return CODE_FLOW_CONTROL
  // RFC 9000 §3.2: a reset says nothing new to who has read everything up to the end.
  const wasOver: bool = streamEnded(st)
  addf64(cn + CN_RECEIVED, final - highest)
  wf64(st + ST_HIGHEST, final)
  wf64(st + ST_FINAL, final)
  if (!wasOver) {
    discardReceived(st)
    w32(st + ST_FLAGS, flags | ST_RESET_IN)
    if ((flags & ST_RELEASED) === 0) {
      w32(st + CODE, i32(minf(code, 65535.0)))
      tell(st, STREAM_RESET)
    }
  }
  destroyIfDone(st)
  return CODE_NONE
}
