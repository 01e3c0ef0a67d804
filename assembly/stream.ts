/**
 * A stream: ordered bytes in both directions, with credit, half-close and reset. `net.Socket` is one.
 */
import { forgetBorrowed } from './borrowed'
import { BUFFER_SIZE, bufferEmpty } from './buffer'
import {
  addControl,
  CN_EMPTY_SINCE,
  CN_FLAGS,
  CN_IS_CLIENT,
  CN_LIMIT_OUT,
  CN_NEXT_STREAM,
  CN_PEER_STREAM_WINDOW,
  CN_READY,
  CN_SEEN,
  CN_SENT,
  CN_STATE,
  CN_STREAM_COUNT,
  CN_STREAMS,
  CN_STREAMS_DONE,
  CN_STREAMS_IN,
  CN_STREAMS_OUT,
  CN_STREAMS_SEEN,
  CONTROL_MAX_STREAMS,
  connectionFreeIfDone,
  STATE_CONNECTING,
  STATE_ESTABLISHED,
  wantSend,
} from './connection'
import {
  CODE,
  count,
  ENDPOINT,
  EP_NOW,
  EP_STREAM_COUNT,
  EP_STREAM_WINDOW,
  EP_STREAMS,
  EP_STREAMS_MAX,
  HOST_TAG,
  TAG,
  TAG_STREAM,
  tell,
  untell,
} from './endpoint'
import {
  CODE_ABORTED,
  CODE_LIMIT,
  CODE_NONE,
  CODE_PROTOCOL,
  CODE_REFUSED,
  COUNT_STREAMS_ACCEPTED,
  COUNT_STREAMS_OPENED,
  PARAMS,
  STREAM_ACCEPTED,
  STREAM_OPENED,
  STREAM_READABLE,
  STREAM_REFUSED,
  STREAM_RESET,
  STREAM_STOPPED,
} from './layout'
import { give, take } from './pages'
import { add32, fill, maxi, minf, mini, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { RANGES_COUNT, rangesAdd, rangesClear, rangesContain } from './ranges'
import { discardReceived, leaveCredit, streamEnded, streamReadable } from './stream-receive'
import { dropSendBuffer, dropSending, isBlocked, streamFinish } from './stream-send'
import { tableAdd, tableFind, tableRemove } from './table'

// ── Fields (after those of endpoint.ts) ──────────────────────────────────────────────────────────

export const ST_CONNECTION: i32 = 8
/** Even: opened by the initiator of the connection, odd: by the responder. */
export const ST_NUMBER: i32 = 12
export const ST_FLAGS: i32 = 60
/** We opened it. */
export const ST_LOCAL: i32 = 1
/** OPEN was received; data may come before it. */
export const ST_OPEN_SEEN: i32 = 2
export const ST_ACCEPTED: i32 = 4
export const ST_REFUSED: i32 = 8
/** The host has written everything. */
export const ST_FIN: i32 = 16
export const ST_FIN_SENT: i32 = 32
export const ST_FIN_LOST: i32 = 64
export const ST_FIN_ACKED: i32 = 128
/** We reset our side; ST_CODE_OUT says why. */
export const ST_RESET_OUT: i32 = 256
export const ST_RESET_ACKED: i32 = 512
/** The peer reset its side. */
export const ST_RESET_IN: i32 = 1024
/** The host is gone: what arrives is dropped. */
export const ST_RELEASED: i32 = 2048
/** In the connection's list of ready streams. */
export const ST_READY: i32 = 4096
/** A write did not fit; the host waits for STREAM_WRITABLE. */
export const ST_WRITE_BLOCKED: i32 = 8192
/** Losses could not be noted for want of memory: everything unacknowledged counts as lost. */
export const ST_ALL_LOST: i32 = 16384
/** The peer knows that its limit for the stream holds us back. */
export const ST_SAID_BLOCKED: i32 = 32768

/** The connection is over: what arrived can still be read, nothing else happens any more. */
export const ST_SEVERED: i32 = 65536
/** Two bits above: in which row it waits for its turn. The rows before it come first. */
const ST_PRIORITY_SHIFT: i32 = 17
const ROWS: i32 = 3
const PRIORITY_NORMAL: i32 = 1
const ROW_SIZE: i32 = 8

/** Control frames that are due. */
export const ST_CONTROL: i32 = 36
export const STREAM_OPEN_DUE: i32 = 1
export const STREAM_ACCEPT_DUE: i32 = 2
export const STREAM_REFUSE_DUE: i32 = 4
export const STREAM_RESET_DUE: i32 = 8
export const STREAM_STOP_DUE: i32 = 16
export const STREAM_MAX_DATA_DUE: i32 = 32

export const STREAM_BLOCKED_DUE: i32 = 64

const ST_READY_NEXT: i32 = 40
export const ST_NEXT: i32 = 44
export const ST_PREVIOUS: i32 = 48
/** Port that the opener calls its own. */
export const ST_PORT: i32 = 52
/** Code of our refusal, reset or stop. */
export const ST_CODE_OUT: i32 = 56
/** Sending: bytes written, sent at least once, acknowledged without a gap; the peer's limit. */
export const ST_WRITTEN: i32 = 64
export const ST_SENT: i32 = 72
export const ST_ACKED: i32 = 80
export const ST_LIMIT_OUT: i32 = 88
export const ST_ACKED_RANGES: i32 = 96
export const ST_LOST_RANGES: i32 = 112
export const ST_SEND_BUFFER: i32 = 128
/** Receiving: bytes the host took, received without a gap, highest seen, final size or −1, limit. */
export const ST_TAKEN: i32 = 152
export const ST_CONTIGUOUS: i32 = 160
export const ST_HIGHEST: i32 = 168
export const ST_FINAL: i32 = 176
export const ST_LIMIT_IN: i32 = 184
export const ST_WINDOW: i32 = 192
export const ST_WINDOW_AT: i32 = 200
export const ST_RECEIVED_RANGES: i32 = 208
export const ST_RECEIVE_BUFFER: i32 = 224
const ST_READY_PREVIOUS: i32 = ST_RECEIVE_BUFFER + BUFFER_SIZE
export const ST_SIZE: i32 = ST_READY_PREVIOUS + 8

/** The connection's window, and what waits to be sent, grow to this share of its memory. */
export const WINDOW_SHARE: f64 = 0.5
/** The windows of streams: one that nobody reads must leave the others some of the connection's. */
export const STREAM_WINDOW_SHARE: f64 = 0.375
/** Intervals noted per stream before neighbours are merged or packets dropped. */
export const RANGES_MAX: i32 = 16384

// ── Making and ending ───────────────────────────────────────────────────────────────────────────────

function create(cn: ptr, number: i32, flags: i32): ptr {
  const ep: ptr = r32(cn + ENDPOINT)
  const st: ptr = take(cn, ST_SIZE)
  if (st === 0) return 0
  if (!tableAdd(ep, ep + EP_STREAMS, cn, number, st)) {
    give(cn, st, ST_SIZE)
    return 0
  }
  fill(st, ST_SIZE)
  w32(st + TAG, TAG_STREAM)
  w32(st + ENDPOINT, ep)
  w32(st + ST_CONNECTION, cn)
  w32(st + ST_NUMBER, number)
  w32(st + HOST_TAG, -1)
  w32(st + ST_FLAGS, flags | (PRIORITY_NORMAL << ST_PRIORITY_SHIFT))
  wf64(st + ST_FINAL, -1.0)
  wf64(st + ST_LIMIT_OUT, rf64(cn + CN_PEER_STREAM_WINDOW))
  wf64(st + ST_WINDOW, rf64(ep + EP_STREAM_WINDOW))
  wf64(st + ST_LIMIT_IN, rf64(ep + EP_STREAM_WINDOW))
  wf64(st + ST_WINDOW_AT, rf64(ep + EP_NOW))
  const first: ptr = r32(cn + CN_STREAMS)
  w32(st + ST_NEXT, first)
  if (first !== 0) w32(first + ST_PREVIOUS, st)
  w32(cn + CN_STREAMS, st)
  // The other one was alone, and its window had no need to leave anything.
  if (add32(cn + CN_STREAM_COUNT, 1) === 2) leaveCredit(cn, rf64(first + ST_WINDOW))
  wf64(cn + CN_EMPTY_SINCE, Infinity)
  add32(ep + EP_STREAM_COUNT, 1)
  return st
}

export function streamFind(cn: ptr, number: i32): ptr {
  return tableFind(r32(cn + ENDPOINT) + EP_STREAMS, cn, number)
}

export function nextStream(st: ptr): ptr {
  return r32(st + ST_NEXT)
}

/** Opens a stream to the peer's program; 0 when there is no memory or the connection ends. */
export function streamOpen(cn: ptr, port: i32): ptr {
  const state: i32 = r32(cn + CN_STATE)
  if (state < STATE_CONNECTING || state > STATE_ESTABLISHED) return 0
  const number: i32 = r32(cn + CN_NEXT_STREAM)
  if (number >= 0x3ffffffe) return 0
  const st: ptr = create(cn, number, ST_LOCAL)
  if (st === 0) return 0
  w32(cn + CN_NEXT_STREAM, number + 2)
  w32(st + ST_PORT, port & 0xffff)
  count(r32(cn + ENDPOINT), COUNT_STREAMS_OPENED, 1.0)
  addStreamControl(st, STREAM_OPEN_DUE)
  return st
}

/**
 * The stream with a number that came from the wire: one we have, or one that the peer opens with
 * this very frame. 0 and PARAMS[0] ≠ CODE_NONE: the peer broke a rule. 0 and CODE_NONE: it is gone,
 * or there is no memory (PARAMS[1] = 1).
 */
export function streamFor(cn: ptr, number: f64): ptr {
  wf64(PARAMS, f64(CODE_NONE))
  wf64(PARAMS + 8, 0.0)
  if (number >= 1073741824.0) {
    wf64(PARAMS, f64(CODE_PROTOCOL))
    return 0
  }
  const id: i32 = i32(number)
  const found: ptr = streamFind(cn, id)
  if (found !== 0) return found
  const isOurs: bool = ((id & 1) === 0) === ((r32(cn + CN_FLAGS) & CN_IS_CLIENT) !== 0)
  if (isOurs) {
    // One we never opened is an error, one that is gone is late.
    if (id >= r32(cn + CN_NEXT_STREAM)) wf64(PARAMS, f64(CODE_PROTOCOL))
    return 0
  }
  const index: i32 = id >> 1
  if (index >= r32(cn + CN_STREAMS_IN)) {
    wf64(PARAMS, f64(CODE_LIMIT))
    return 0
  }
  if (rangesContain(cn + CN_SEEN, f64(index))) return 0
  const st: ptr = create(cn, id, 0)
  if (st === 0 || !rangesAdd(cn, cn + CN_SEEN, f64(index), f64(index) + 1.0)) {
    if (st !== 0) destroy(st)
    wf64(PARAMS + 8, 1.0)
    return 0
  }
  add32(cn + CN_STREAMS_SEEN, 1)
  return st
}

export function unusable(): i32 {
  return rf64(PARAMS + 8) !== 0.0 ? NO_MEMORY : i32(rf64(PARAMS))
}

/** Frees the stream's memory. */
function destroy(st: ptr): void {
  const ep: ptr = r32(st + ENDPOINT)
  const cn: ptr = r32(st + ST_CONNECTION)
  unready(st)
  untell(st)
  rangesClear(cn, st + ST_ACKED_RANGES)
  rangesClear(cn, st + ST_LOST_RANGES)
  rangesClear(cn, st + ST_RECEIVED_RANGES)
  dropSendBuffer(st)
  forgetBorrowed(st, Infinity)
  bufferEmpty(cn, st + ST_RECEIVE_BUFFER)
  tableRemove(ep, ep + EP_STREAMS, cn, r32(st + ST_NUMBER))
  const next: ptr = r32(st + ST_NEXT)
  const previous: ptr = r32(st + ST_PREVIOUS)
  if (next !== 0) w32(next + ST_PREVIOUS, previous)
  if (previous !== 0) w32(previous + ST_NEXT, next)
  else w32(cn + CN_STREAMS, next)
  if (add32(cn + CN_STREAM_COUNT, -1) === 0) {
    wf64(cn + CN_EMPTY_SINCE, rf64(ep + EP_NOW))
    wantSend(cn)
  }
  add32(ep + EP_STREAM_COUNT, -1)
  w32(st + TAG, 0)
  give(cn, st, ST_SIZE)
}

export function sendingIsOver(st: ptr): bool {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_RESET_ACKED) !== 0) return true
  return (flags & ST_FIN_ACKED) !== 0 && rf64(st + ST_ACKED) >= rf64(st + ST_WRITTEN)
}

export function receivingIsOver(st: ptr): bool {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_RESET_IN) !== 0) return true
  return rf64(st + ST_FINAL) >= 0.0 && rf64(st + ST_CONTIGUOUS) >= rf64(st + ST_FINAL)
}

/** Frees a stream that both sides are through with and that the host has released. */
export function destroyIfDone(st: ptr): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_RELEASED) === 0) return
  if (!sendingIsOver(st) || !receivingIsOver(st)) return
  const cn: ptr = r32(st + ST_CONNECTION)
  const isPeers: bool = (flags & ST_LOCAL) === 0
  destroy(st)
  if (!isPeers) return
  // The peer may open another one for each of its own that is through. It is told when that is as
  // much as it has left: so it never waits for places that are free, however many stay open.
  const done: i32 = add32(cn + CN_STREAMS_DONE, 1)
  const most: i32 = r32(r32(cn + ENDPOINT) + EP_STREAMS_MAX)
  const told: i32 = r32(cn + CN_STREAMS_IN)
  if (done + most - told >= told - r32(cn + CN_STREAMS_SEEN)) addControl(cn, CONTROL_MAX_STREAMS)
}

/** The host has ended the connection: all its streams are gone. */
export function streamsDestroy(cn: ptr): void {
  while (r32(cn + CN_STREAMS) !== 0) destroy(r32(cn + CN_STREAMS))
}

/**
 * The connection is over, and not by our host: what arrived stays until the host has read it and
 * releases the stream, as the kernel keeps what a peer sent before it went.
 */
export function streamsSever(cn: ptr): void {
  let next: ptr = 0
  for (let st: ptr = r32(cn + CN_STREAMS); st !== 0; st = next) {
    next = r32(st + ST_NEXT)
    const flags: i32 = r32(st + ST_FLAGS)
    const isKnown: bool = (flags & (ST_LOCAL | ST_OPEN_SEEN)) !== 0
    if ((flags & ST_RELEASED) !== 0 || !isKnown) destroy(st)
    else sever(st)
  }
}

function sever(st: ptr): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  unready(st)
  w32(st + ST_FLAGS, r32(st + ST_FLAGS) | ST_SEVERED | ST_RESET_OUT)
  w32(st + ST_CONTROL, 0)
  rangesClear(cn, st + ST_ACKED_RANGES)
  rangesClear(cn, st + ST_LOST_RANGES)
  dropSendBuffer(st)
}

/** The host lets go of a stream whose connection is over. */
function destroySevered(st: ptr): void {
  const cn: ptr = r32(st + ST_CONNECTION)
  destroy(st)
  connectionFreeIfDone(cn)
}

/** The handshake is through: the peer's credit is known. */
export function streamsEstablished(cn: ptr): void {
  for (let st: ptr = r32(cn + CN_STREAMS); st !== 0; st = r32(st + ST_NEXT)) {
    wf64(st + ST_LIMIT_OUT, rf64(cn + CN_PEER_STREAM_WINDOW))
    readyIfNeeded(st)
  }
}

// ── Readiness ───────────────────────────────────────────────────────────────────────────────────────

function ready(st: ptr): void {
  if ((r32(st + ST_FLAGS) & ST_SEVERED) !== 0) return
  wantSend(r32(st + ST_CONNECTION))
  queueUp(st)
}

/** Where the row of its priority has its head and tail. */
function rowOf(st: ptr): ptr {
  const priority: i32 = (r32(st + ST_FLAGS) >> ST_PRIORITY_SHIFT) & 3
  return r32(st + ST_CONNECTION) + CN_READY + priority * ROW_SIZE
}

/** Changes which streams come first. Streams of one priority take turns. */
export function setPriority(st: ptr, priority: i32): void {
  const wasReady: bool = (r32(st + ST_FLAGS) & ST_READY) !== 0
  unready(st)
  const others: i32 = r32(st + ST_FLAGS) & ~(3 << ST_PRIORITY_SHIFT)
  w32(st + ST_FLAGS, others | (mini(maxi(priority, 0), ROWS - 1) << ST_PRIORITY_SHIFT))
  if (wasReady) queueUp(st)
}

/** To the end of its row of ready streams. The connection itself may have had its turn. */
export function queueUp(st: ptr): void {
  const row: ptr = rowOf(st)
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_READY) !== 0) return
  w32(st + ST_FLAGS, flags | ST_READY)
  const tail: ptr = r32(row + 4)
  w32(st + ST_READY_NEXT, 0)
  w32(st + ST_READY_PREVIOUS, tail)
  if (tail !== 0) w32(tail + ST_READY_NEXT, st)
  else w32(row, st)
  w32(row + 4, st)
}

/** Takes a stream off the list. */
function unready(st: ptr): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_READY) === 0) return
  const row: ptr = rowOf(st)
  const next: ptr = r32(st + ST_READY_NEXT)
  const previous: ptr = r32(st + ST_READY_PREVIOUS)
  if (previous !== 0) w32(previous + ST_READY_NEXT, next)
  else w32(row, next)
  if (next !== 0) w32(next + ST_READY_PREVIOUS, previous)
  else w32(row + 4, previous)
  w32(st + ST_FLAGS, flags & ~ST_READY)
}

/** The first ready stream of the first row that has any, or 0. */
export function firstReady(cn: ptr): ptr {
  for (let i: i32 = 0; i < ROWS; i++) {
    const st: ptr = r32(cn + CN_READY + i * ROW_SIZE)
    if (st !== 0) return st
  }
  return 0
}

/** Takes the first ready stream off its row, or gives 0. */
export function nextReady(cn: ptr): ptr {
  const st: ptr = firstReady(cn)
  if (st !== 0) unready(st)
  return st
}

/** Whether the peer has given credit for opening this stream. */
export function mayOpen(st: ptr): bool {
  if ((r32(st + ST_FLAGS) & ST_LOCAL) === 0) return true
  return r32(st + ST_NUMBER) >> 1 < r32(r32(st + ST_CONNECTION) + CN_STREAMS_OUT)
}

/** Whether there is anything that could leave now, as far as the stream's own credit goes. */
export function hasToSend(st: ptr): bool {
  if (!mayOpen(st)) return false
  if (r32(st + ST_CONTROL) !== 0) return true
  return hasLost(st) || hasNew(st) || finIsDue(st)
}

/** Data or FIN that was sent before and has to be sent again. */
export function hasLost(st: ptr): bool {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_RESET_OUT) !== 0) return false
  return (
    r32(st + ST_LOST_RANGES + RANGES_COUNT) !== 0 || (flags & (ST_FIN_LOST | ST_ALL_LOST)) !== 0
  )
}

export function hasNew(st: ptr): bool {
  if ((r32(st + ST_FLAGS) & ST_RESET_OUT) !== 0) return false
  const sent: f64 = rf64(st + ST_SENT)
  if (sent >= rf64(st + ST_WRITTEN) || sent >= rf64(st + ST_LIMIT_OUT)) return false
  const cn: ptr = r32(st + ST_CONNECTION)
  return rf64(cn + CN_SENT) < rf64(cn + CN_LIMIT_OUT)
}

export function finIsDue(st: ptr): bool {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_FIN | ST_FIN_SENT | ST_RESET_OUT)) !== ST_FIN) return false
  return rf64(st + ST_SENT) >= rf64(st + ST_WRITTEN)
}

export function readyIfNeeded(st: ptr): void {
  if (hasToSend(st)) ready(st)
}

export function addStreamControl(st: ptr, bits: i32): void {
  w32(st + ST_CONTROL, r32(st + ST_CONTROL) | bits)
  if (mayOpen(st)) ready(st)
}

// ── Opening and leaving: calls of the host ──────────────────────────────────────────────────────────

export function streamAccept(st: ptr): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_LOCAL | ST_ACCEPTED | ST_REFUSED)) !== 0) return
  w32(st + ST_FLAGS, flags | ST_ACCEPTED)
  count(r32(st + ENDPOINT), COUNT_STREAMS_ACCEPTED, 1.0)
  addStreamControl(st, STREAM_ACCEPT_DUE)
}

/** Refuses and releases a stream that the peer opened. */
export function streamRefuse(st: ptr, code: i32): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & (ST_LOCAL | ST_ACCEPTED | ST_REFUSED)) !== 0) return
  if ((flags & ST_SEVERED) !== 0) {
    destroySevered(st)
    return
  }
  w32(st + ST_FLAGS, flags | ST_REFUSED | ST_RELEASED | ST_RESET_OUT)
  w32(st + ST_CODE_OUT, code)
  discardReceived(st)
  addStreamControl(st, STREAM_REFUSE_DUE)
}

/** Resets our side and asks the peer to stop: what is not acknowledged is gone. */
export function streamAbort(st: ptr, code: i32): void {
  if ((r32(st + ST_FLAGS) & ST_REFUSED) !== 0) return
  if (!receivingIsOver(st)) addStreamControl(st, STREAM_STOP_DUE)
  w32(st + ST_CODE_OUT, code)
  dropSending(st, code)
}

/**
 * The host is gone. What was written still leaves, with a FIN; what is unread, or comes later,
 * resets the stream, as TCP does.
 */
export function streamRelease(st: ptr): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_RELEASED) !== 0) return
  if ((flags & ST_SEVERED) !== 0) {
    destroySevered(st)
    return
  }
  w32(st + ST_FLAGS, flags | ST_RELEASED)
  if ((flags & ST_LOCAL) === 0 && (flags & (ST_ACCEPTED | ST_REFUSED)) === 0) {
    w32(st + ST_FLAGS, flags | (PRIORITY_NORMAL << ST_PRIORITY_SHIFT))
    streamRefuse(st, CODE_REFUSED)
    return
  }
  if (rf64(st + ST_HIGHEST) > rf64(st + ST_TAKEN)) streamAbort(st, CODE_ABORTED)
  else streamFinish(st)
  discardReceived(st)
  destroyIfDone(st)
}

/** Marks a frame that could not be stored: the packet must count as not received. */
export const NO_MEMORY: i32 = -1

// ── Frames from the peer: each gives CODE_NONE, or the code to close the connection with ────────────

export function onOpen(cn: ptr, number: f64, port: f64): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_LOCAL) !== 0 || port > 65535.0) return CODE_PROTOCOL
  if ((flags & ST_OPEN_SEEN) !== 0) return CODE_NONE
  w32(st + ST_FLAGS, flags | ST_OPEN_SEEN)
  w32(st + ST_PORT, i32(port))
  // Frames that overtook this one: the host knows nothing of the stream yet, so they are told now.
  let bits: i32 = STREAM_OPENED
  if (streamReadable(st) > 0.0 || streamEnded(st)) bits |= STREAM_READABLE
  if ((flags & ST_RESET_IN) !== 0) bits |= STREAM_RESET
  if ((flags & ST_RESET_OUT) !== 0) bits |= STREAM_STOPPED
  tell(st, bits)
  return CODE_NONE
}

export function onAccept(cn: ptr, number: f64): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_LOCAL) === 0) return CODE_PROTOCOL
  if ((flags & (ST_ACCEPTED | ST_REFUSED)) !== 0) return CODE_NONE
  w32(st + ST_FLAGS, flags | ST_ACCEPTED)
  tell(st, STREAM_ACCEPTED)
  return CODE_NONE
}

export function onRefuse(cn: ptr, number: f64, code: f64): i32 {
  const st: ptr = streamFor(cn, number)
  if (st === 0) return unusable()
  const flags: i32 = r32(st + ST_FLAGS)
  if ((flags & ST_LOCAL) === 0) return CODE_PROTOCOL
  if ((flags & (ST_ACCEPTED | ST_REFUSED)) !== 0) return CODE_NONE
  // Refusing is the peer's reset of its empty side. Ours tells the peer how much it has to count.
  w32(st + ST_FLAGS, flags | ST_REFUSED | ST_RESET_IN)
  w32(st + CODE, i32(minf(code, 65535.0)))
  dropSending(st, CODE_REFUSED)
  if ((flags & ST_RELEASED) === 0) tell(st, STREAM_REFUSED)
  destroyIfDone(st)
  return CODE_NONE
}

/** The peer allows `limit` streams in all: those that waited may leave. */
export function onMaxStreams(cn: ptr, limit: f64): void {
  const most: i32 = i32(minf(limit, 536870911.0))
  const before: i32 = r32(cn + CN_STREAMS_OUT)
  if (most <= before) return
  w32(cn + CN_STREAMS_OUT, most)
  // A packet may carry hundreds of these frames: the walk is for streams that wait, if there are any.
  if (r32(cn + CN_NEXT_STREAM) >> 1 <= before) return
  for (let st: ptr = r32(cn + CN_STREAMS); st !== 0; st = r32(st + ST_NEXT)) readyIfNeeded(st)
}

// ── What became of control frames ───────────────────────────────────────────────────────────────────

/** Control frames arrived. */
export function onControlAcked(st: ptr, bits: i32): void {
  const flags: i32 = r32(st + ST_FLAGS)
  if ((bits & (STREAM_RESET_DUE | STREAM_REFUSE_DUE)) !== 0) {
    w32(st + ST_FLAGS, flags | ST_RESET_ACKED)
    destroyIfDone(st)
  }
}

/** Control frames were lost: what still matters is due again. */
export function onControlLost(st: ptr, bits: i32): void {
  const flags: i32 = r32(st + ST_FLAGS)
  let due: i32 = bits
  if ((flags & (ST_ACCEPTED | ST_REFUSED)) !== 0) due &= ~STREAM_OPEN_DUE
  if ((flags & ST_RESET_ACKED) !== 0) due &= ~(STREAM_RESET_DUE | STREAM_REFUSE_DUE)
  if (receivingIsOver(st)) due &= ~(STREAM_STOP_DUE | STREAM_MAX_DATA_DUE)
  if (!isBlocked(st)) due &= ~STREAM_BLOCKED_DUE
  if (due !== 0) addStreamControl(st, due)
}
