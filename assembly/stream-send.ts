/**
 * The sending side of a stream: bytes from the host until the peer has acknowledged them.
 */
import {
  BUFFER_PAGES,
  bufferEmpty,
  bufferEnsure,
  bufferExtent,
  bufferLocate,
  bufferRelease,
  isSmall,
} from './buffer'
import {
  addControl,
  CN_BLOCKED,
  CN_FLAGS,
  CN_LIMIT_OUT,
  CN_PATHS,
  CN_RETRY_AT,
  CN_SAID_BLOCKED,
  CN_SEND_PAGES,
  CN_SENT,
  CN_STATE,
  CN_STREAMS,
  CONTROL_DATA_BLOCKED,
  flightWindow,
  STATE_ESTABLISHED,
  starve,
  wantSend,
} from './connection'
import { CODE, tell } from './endpoint'
import { CODE_NONE, PARAMS, STREAM_FINISHED, STREAM_STOPPED, STREAM_WRITABLE } from './layout'
import { isPlenty, maySpendOnSending, OWNER_QUOTA, PAGE_SIZE } from './pages'
import { PATH_IN_FLIGHT_COUNT } from './path'
import { add32, maxf, minf, mini, type ptr, r32, rf64, w32, wf64 } from './prelude'
import {
  RANGE_END,
  RANGE_START,
  RANGES_COUNT,
  RANGES_HEAD,
  RANGES_TAIL,
  rangesAdd,
  rangesClear,
  rangesNextHeld,
  rangesNextMissing,
  rangesRemove,
} from './ranges'
import {
  addStreamControl,
  destroyIfDone,
  mayOpen,
  RANGES_MAX,
  readyIfNeeded,
  ST_ACKED,
  ST_ACKED_RANGES,
  ST_ALL_LOST,
  ST_CODE_OUT,
  ST_CONNECTION,
  ST_FIN,
  ST_FIN_ACKED,
  ST_FIN_LOST,
  ST_FIN_SENT,
  ST_FLAGS,
  ST_LIMIT_OUT,
  ST_LOST_RANGES,
  ST_NEXT,
  ST_REFUSED,
  ST_RELEASED,
  ST_RESET_OUT,
  ST_SAID_BLOCKED,
  ST_SEND_BUFFER,
  ST_SENT,
  ST_WRITE_BLOCKED,
  ST_WRITTEN,
  STREAM_BLOCKED_DUE,
  STREAM_RESET_DUE,
  sendingIsOver,
  streamFor,
  unusable,
  WINDOW_SHARE,
} from './stream'

/** Bytes a stream may hold that were never sent, however small the congestion window is. */
const SEND_BUFFER_MIN: f64 = 262144.0

// ── Writing: calls of the host ──────────────────────────────────────────────────────────────────────

/**
 * Bytes that may still be written when a share of `fill` of what there is room for counts as full:
 * one window that was never sent, so that it never runs dry. How much of what was sent is not
 * acknowledged does not matter (one packet that is lost again and again holds back many windows),
 * except for memory.
 */
function sendRoom(st: ptr, fill: f64): f64 {
  const cn: ptr = r32(st + ST_CONNECTION)
  const written: f64 = rf64(st + ST_WRITTEN)
  const window: f64 = flightWindow(cn, r32(cn + CN_PATHS))
  const unsent: f64 = maxf(SEND_BUFFER_MIN, window) * fill - (written - rf64(st + ST_SENT))
  const most: f64 = f64(r32(cn + OWNER_QUOTA)) * WINDOW_SHARE
  return minf(unsent, most * fill - (written - rf64(st + ST_ACKED)))
}

/**
 * Room for up to `want` bytes in one piece: gives how many fit, PARAMS[0] is where. 0: full, the
 * host is told by STREAM_WRITABLE.
 */
export function streamReserve(st: ptr, want: i32): i32 {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_FIN | ST_RESET_OUT | ST_REFUSED)) !== 0) return 0
  const cn: ptr = r32(st + ST_CONNECTION)
  const written: f64 = rf64(st + ST_WRITTEN)
  const room: f64 = sendRoom(st, 1.0)
  if (room >= 1.0 && want > 0 && !mustYield(st)) {
    const p: ptr = roomAt(st, written, want)
    if (p !== 0) {
      wf64(PARAMS, f64(p))
      return bufferExtent(st + ST_SEND_BUFFER, written, mini(want, i32(minf(room, 1048576.0))))
    }
    starve(cn)
  }
  w32(st + ST_FLAGS, flags | ST_WRITE_BLOCKED)
  return 0
}

/**
 * Whether others come first: while memory is short, who has bytes on their way leaves what becomes
 * free to those who have none, or they would never get any.
 */
function mustYield(st: ptr): bool {
  if (rf64(r32(st + ST_CONNECTION) + CN_RETRY_AT) === Infinity) return false
  return rf64(st + ST_ACKED) < rf64(st + ST_WRITTEN)
}

/** Where `want` bytes may be written, or the first of them; 0 when there is no memory for them. */
function roomAt(st: ptr, offset: f64, want: i32): ptr {
  const cn: ptr = r32(st + ST_CONNECTION)
  const held: ptr = bufferLocate(st + ST_SEND_BUFFER, offset)
  if (held !== 0) return held
  // A connection that has no page on its way gets one in any case, or nothing would ever change.
  const own: i32 = isSmall(st + ST_SEND_BUFFER) ? 1 : 0
  if (r32(cn + CN_SEND_PAGES) !== own && !maySpend(st)) return 0
  const before: i32 = r32(st + ST_SEND_BUFFER + BUFFER_PAGES)
  const p: ptr = bufferEnsure(cn, st + ST_SEND_BUFFER, offset, want)
  add32(cn + CN_SEND_PAGES, r32(st + ST_SEND_BUFFER + BUFFER_PAGES) - before)
  return p
}

/** What waits for a stream that the peer lets in later must not take the memory of those it waits for. */
function maySpend(st: ptr): bool {
  const cn: ptr = r32(st + ST_CONNECTION)
  return mayOpen(st) ? maySpendOnSending(cn, PAGE_SIZE) : isPlenty(cn, PAGE_SIZE)
}

/** Gives back the pages of what is acknowledged. */
function releaseAcked(st: ptr): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  const before: i32 = r32(st + ST_SEND_BUFFER + BUFFER_PAGES)
  bufferRelease(cn, st + ST_SEND_BUFFER, rf64(st + ST_ACKED))
  add32(cn + CN_SEND_PAGES, r32(st + ST_SEND_BUFFER + BUFFER_PAGES) - before)
}

/** Gives back everything that was to be sent. */
export function dropSendBuffer(st: ptr): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  add32(cn + CN_SEND_PAGES, -r32(st + ST_SEND_BUFFER + BUFFER_PAGES))
  bufferEmpty(cn, st + ST_SEND_BUFFER)
}

/** Tries again what found no memory. */
export function relieve(cn: ptr): void {
  wf64(cn + CN_RETRY_AT, Infinity)
  for (let st: ptr = r32(cn + CN_STREAMS); st !== 0; st = r32(st + ST_NEXT)) {
    const flags: i32 = r32(st + ST_FLAGS)
    // A writer with bytes on their way is told when they are acknowledged.
    if ((flags & ST_WRITE_BLOCKED) === 0 || rf64(st + ST_ACKED) < rf64(st + ST_WRITTEN)) continue
    w32(st + ST_FLAGS, flags & ~ST_WRITE_BLOCKED)
    tell(st, STREAM_WRITABLE)
  }
  wantSend(cn)
}

/** After acknowledgements: writers that found no memory need not wait when there is plenty again. */
export function relieveIfEasy(cn: ptr): void {
  if (rf64(cn + CN_RETRY_AT) === Infinity) return
  if (maySpendOnSending(cn, r32(cn + OWNER_QUOTA) >> 3)) relieve(cn)
}

/** Says that the first `size` bytes of the reserved room are written. */
export function streamCommit(st: ptr, size: i32): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_FIN | ST_RESET_OUT | ST_REFUSED)) !== 0 || size <= 0) return
  const written: f64 = rf64(st + ST_WRITTEN)
  if (bufferLocate(st + ST_SEND_BUFFER, written) === 0) return
  if (bufferExtent(st + ST_SEND_BUFFER, written, size) < size) return
  wf64(st + ST_WRITTEN, written + f64(size))
  tellBlocked(st)
  readyIfNeeded(st)
}

/** Says that nothing follows. */
export function streamFinish(st: ptr): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_FIN | ST_RESET_OUT | ST_REFUSED)) !== 0) return
  w32(st + ST_FLAGS, flags | ST_FIN)
  readyIfNeeded(st)
}

/** Resets our side unless everything has arrived. */
export function dropSending(st: ptr, code: i32): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  if ((r32(st + ST_FLAGS) & ST_RESET_OUT) !== 0 || sendingIsOver(st)) return
  w32(st + ST_FLAGS, r32(st + ST_FLAGS) | ST_RESET_OUT)
  w32(st + ST_CODE_OUT, code)
  rangesClear(cn, st + ST_ACKED_RANGES)
  rangesClear(cn, st + ST_LOST_RANGES)
  dropSendBuffer(st)
  addStreamControl(st, STREAM_RESET_DUE)
}

// ── Frames from the peer ────────────────────────────────────────────────────────────────────────────

export function onStop(cn: ptr, number: f64, code: f64): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_RESET_OUT | ST_REFUSED)) !== 0 || sendingIsOver(st)) return CODE_NONE
  dropSending(st, i32(minf(code, 65535.0)))
  if ((flags & ST_RELEASED) === 0) {
    w32(st + CODE, i32(minf(code, 65535.0)))
    tell(st, STREAM_STOPPED)
  }
  return CODE_NONE
}

export function onMaxStreamData(cn: ptr, number: f64, limit: f64): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  if (limit > rf64(st + ST_LIMIT_OUT)) {
    wf64(st + ST_LIMIT_OUT, limit)
    w32(st + ST_FLAGS, r32(st + ST_FLAGS) & ~ST_SAID_BLOCKED)
    askAgainSoon(cn)
    readyIfNeeded(st)
  }
  return CODE_NONE
}

/** The peer allows `limit` bytes in all: streams that waited for that are ready. */
export function onMaxData(cn: ptr, limit: f64): void {
  if (limit <= rf64(cn + CN_LIMIT_OUT)) return
  const wasBlocked: bool = rf64(cn + CN_SENT) >= rf64(cn + CN_LIMIT_OUT)
  wf64(cn + CN_LIMIT_OUT, limit)
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) & ~CN_SAID_BLOCKED)
  askAgainSoon(cn)
  if (!wasBlocked) return
  for (let st: ptr = r32(cn + CN_STREAMS); st !== 0; st = r32(st + ST_NEXT)) readyIfNeeded(st)
}

// ── Credit that holds us back ───────────────────────────────────────────────────────────────────────

/** Whether there are new bytes to send that the stream's limit does not allow. */
export function isBlocked(st: ptr): bool {
  if ((r32(st + ST_FLAGS) & (ST_RESET_OUT | ST_REFUSED)) !== 0) return false
  const sent: f64 = rf64(st + ST_SENT)
  return sent < rf64(st + ST_WRITTEN) && sent >= rf64(st + ST_LIMIT_OUT)
}

/** Tells the peer, once for each limit, that it holds us back: it may have room for more. */
export function tellBlocked(st: ptr): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  if (rf64(st + ST_SENT) >= rf64(st + ST_WRITTEN)) return
  if (r32(cn + CN_STATE) !== STATE_ESTABLISHED) return
  if (isBlocked(st)) {
    if ((r32(st + ST_FLAGS) & ST_SAID_BLOCKED) !== 0) return
    w32(st + ST_FLAGS, r32(st + ST_FLAGS) | ST_SAID_BLOCKED)
    addStreamControl(st, STREAM_BLOCKED_DUE)
  } else {
    if (rf64(cn + CN_SENT) < rf64(cn + CN_LIMIT_OUT)) return
    if ((r32(cn + CN_FLAGS) & CN_SAID_BLOCKED) !== 0) return
    w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAID_BLOCKED)
    addControl(cn, CONTROL_DATA_BLOCKED)
  }
  w32(cn + CN_BLOCKED, 1)
}

/** Credit came, perhaps not enough. */
function askAgainSoon(cn: ptr): void {
  if (r32(cn + CN_BLOCKED) > 1) w32(cn + CN_BLOCKED, 1)
}

/** Says again what is held back, and knows when nothing is any more. */
export function askForCredit(cn: ptr): void {
  const asked: i32 = r32(cn + CN_BLOCKED)
  w32(cn + CN_BLOCKED, 0)
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) & ~CN_SAID_BLOCKED)
  for (let st: ptr = r32(cn + CN_STREAMS); st !== 0; st = r32(st + ST_NEXT)) {
    w32(st + ST_FLAGS, r32(st + ST_FLAGS) & ~ST_SAID_BLOCKED)
    tellBlocked(st)
  }
  if (r32(cn + CN_BLOCKED) !== 0) w32(cn + CN_BLOCKED, asked + 1)
}

// ── What became of sent data ────────────────────────────────────────────────────────────────────────

/** The part [offset, offset + size) arrived. */
export function onDataAcked(st: ptr, offset: f64, size: i32, fin: bool): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_RESET_OUT | ST_REFUSED)) !== 0) return
  const end: f64 = offset + f64(size)
  const before: f64 = rf64(st + ST_ACKED)
  const wasOver: bool = sendingIsOver(st)
  if (end > before) {
    const set: ptr = st + ST_ACKED_RANGES
    if (r32(st + ST_LOST_RANGES + RANGES_COUNT) !== 0) {
      rangesRemove(cn, st + ST_LOST_RANGES, offset, end)
    }
    if (offset <= before) {
      let reached: f64 = end
      while (r32(set + RANGES_HEAD) !== 0) {
        const head: ptr = r32(set + RANGES_HEAD)
        if (rf64(head + RANGE_START) > reached) break
        reached = maxf(reached, rf64(head + RANGE_END))
        rangesRemove(cn, set, rf64(head + RANGE_START), rf64(head + RANGE_END))
      }
      wf64(st + ST_ACKED, reached)
      // Splitting may have failed above; bytes whose pages go now must not be sent again.
      rangesRemove(cn, st + ST_LOST_RANGES, 0.0, reached)
      if (reached >= rf64(st + ST_WRITTEN)) dropSendBuffer(st)
      releaseAcked(st)
    } else if (!rangesAdd(cn, set, offset, end)) {
      // What cannot be remembered as received has to be sent again.
      noteLost(st, offset, end)
    }
  }
  if (fin) w32(st + ST_FLAGS, r32(st + ST_FLAGS) | ST_FIN_SENT | ST_FIN_ACKED)
  if (sendingIsOver(st)) {
    w32(st + ST_FLAGS, r32(st + ST_FLAGS) & ~ST_FIN_LOST)
    if (!wasOver && (flags & ST_RELEASED) === 0) tell(st, STREAM_FINISHED)
    destroyIfDone(st)
  } else if ((flags & ST_WRITE_BLOCKED) !== 0 && hasRoom(st) && !mustYield(st)) {
    w32(st + ST_FLAGS, r32(st + ST_FLAGS) & ~ST_WRITE_BLOCKED)
    tell(st, STREAM_WRITABLE)
  }
}

/** Enough room that waking the writer is worth it. */
function hasRoom(st: ptr): bool {
  return sendRoom(st, 0.75) >= 0.0
}

/** The part was in a packet that is lost: what is not acknowledged has to be sent again. */
export function onDataLost(st: ptr, offset: f64, size: i32, fin: bool): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_RESET_OUT | ST_REFUSED)) !== 0) return
  if (fin && (flags & ST_FIN_ACKED) === 0) w32(st + ST_FLAGS, flags | ST_FIN_LOST)
  const end: f64 = offset + f64(size)
  let from: f64 = maxf(offset, rf64(st + ST_ACKED))
  while (from < end) {
    from = rangesNextMissing(st + ST_ACKED_RANGES, from)
    if (from >= end) break
    const to: f64 = rangesNextHeld(st + ST_ACKED_RANGES, from, end)
    noteLost(st, from, to)
    from = to
  }
  readyIfNeeded(st)
}

/** Notes [from, to) as lost. Too many pieces, or no memory: more is sent again than needed. */
function noteLost(st: ptr, from: f64, to: f64): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  const set: ptr = st + ST_LOST_RANGES
  if (r32(set + RANGES_COUNT) < RANGES_MAX && rangesAdd(cn, set, from, to)) return
  const tail: ptr = r32(set + RANGES_TAIL)
  if (tail !== 0) {
    const start: f64 = minf(from, rf64(tail + RANGE_START))
    const end: f64 = maxf(to, rf64(tail + RANGE_END))
    rangesRemove(cn, set, start, end)
    if (rangesAdd(cn, set, start, end)) return
  }
  w32(st + ST_FLAGS, r32(st + ST_FLAGS) | ST_ALL_LOST)
}

/** The first part that has to be sent again: gives its size, PARAMS[0] its offset; 0: none. */
export function firstLost(st: ptr, most: i32): i32 {
  const cn: ptr = r32(st + ST_CONNECTION)
  const set: ptr = st + ST_LOST_RANGES
  if ((r32(st + ST_FLAGS) & ST_ALL_LOST) !== 0) {
    rangesClear(cn, set)
    if (rf64(st + ST_SENT) > rf64(st + ST_ACKED)) {
      if (!rangesAdd(cn, set, rf64(st + ST_ACKED), rf64(st + ST_SENT))) return headLost(st, most)
    }
    w32(st + ST_FLAGS, r32(st + ST_FLAGS) & ~ST_ALL_LOST)
  }
  const head: ptr = r32(set + RANGES_HEAD)
  if (head === 0) return 0
  const start: f64 = rf64(head + RANGE_START)
  wf64(PARAMS, start)
  return i32(minf(rf64(head + RANGE_END) - start, f64(most)))
}

/**
 * There is no memory even to note that everything is lost. The first part can leave without a note:
 * its acknowledgement, or its loss, brings us back here.
 */
function headLost(st: ptr, most: i32): i32 {
  if (r32(r32(r32(st + ST_CONNECTION) + CN_PATHS) + PATH_IN_FLIGHT_COUNT) !== 0) return 0
  wf64(PARAMS, rf64(st + ST_ACKED))
  return i32(minf(rf64(st + ST_SENT) - rf64(st + ST_ACKED), f64(most)))
}

/** The part is on its way again. */
export function lostWasSent(st: ptr, offset: f64, size: i32): void {
  rangesRemove(r32(st + ST_CONNECTION), st + ST_LOST_RANGES, offset, offset + f64(size))
}
