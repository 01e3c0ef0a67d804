/**
 * Congestion control behind a small interface: what recovery tells, and what sending asks. Two
 * controllers stand behind it, `cubic.ts` and `bbr.ts`; each path has one.
 *
 * Delivery rates are measured for both in the manner of draft-cheng-iccrg-delivery-rate-estimation:
 * each packet remembers how much had arrived when it left, so its acknowledgement tells how much
 * arrived meanwhile.
 */
import { bbrAcked, bbrCollapsed, bbrInit, bbrLost } from './bbr'
import { cubicAcked, cubicCollapsed, cubicEpisode, cubicInit, cubicUndo } from './cubic'
import {
  PATH_APP_LIMITED,
  PATH_CONTROLLER,
  PATH_DELIVERED,
  PATH_DELIVERED_AT,
  PATH_FIRST_SENT,
  PATH_IN_FLIGHT,
  PATH_IN_FLIGHT_COUNT,
  PATH_PACKET_BYTES,
  PATH_SAMPLE,
  PATH_WINDOW,
  SENT_AT,
  SENT_BYTES,
  SENT_DELIVERED,
  SENT_IS_LIMITED,
  SENT_SINCE_DELIVERED,
  SENT_SINCE_FIRST,
} from './path'
import {
  addf64,
  low32,
  maxf,
  minf,
  type ptr,
  r8,
  r32,
  rf64,
  unsigned,
  w8,
  w32,
  wf64,
} from './prelude'

export const CONTROLLER_BBR: i32 = 0
export const CONTROLLER_CUBIC: i32 = 1

// ── What one ACK frame says ──────────────────────────────────────────────────────────────────────

/** When the newest packet left that it acknowledges, −1: it acknowledges none. */
export const SAMPLE_SENT_AT: i32 = PATH_SAMPLE
/** Bytes that had arrived when that packet left, and when the last of them had. */
export const SAMPLE_PRIOR: i32 = PATH_SAMPLE + 8
export const SAMPLE_PRIOR_AT: i32 = PATH_SAMPLE + 16
/** How long sending what arrived since then took. */
export const SAMPLE_SEND_TIME: i32 = PATH_SAMPLE + 24
/** Bytes that it acknowledges, and bytes found lost since the frame before. */
export const SAMPLE_ACKED: i32 = PATH_SAMPLE + 32
export const SAMPLE_LOST: i32 = PATH_SAMPLE + 40
/** Bytes in flight before it. */
export const SAMPLE_FLIGHT: i32 = PATH_SAMPLE + 48
/** Whether the application limited the rate. */
export const SAMPLE_IS_LIMITED: i32 = PATH_SAMPLE + 52

/** RFC 6928, in bytes, so that paths with large packets do not start with a burst. */
export const WINDOW_INITIAL: f64 = 14720.0
const WINDOW_PACKETS_MIN: f64 = 2.0
export const WINDOW_MAX: f64 = 1073741824.0
/** Differences of time are kept in 31 bits of microseconds: half an hour. */
const SINCE_MAX: f64 = 2147483647.0

export function congestionInit(path: ptr, controller: i32): void {
  w32(path + PATH_CONTROLLER, controller)
  wf64(path + PATH_WINDOW, WINDOW_INITIAL)
  wf64(path + SAMPLE_SENT_AT, -1.0)
  if (controller === CONTROLLER_CUBIC) cubicInit(path)
  else bbrInit(path)
}

export function congestionWindow(path: ptr): f64 {
  return rf64(path + PATH_WINDOW)
}

/** Below this no controller goes. */
export function leastWindow(path: ptr): f64 {
  return WINDOW_PACKETS_MIN * f64(r32(path + PATH_PACKET_BYTES))
}

// ── What sending tells ───────────────────────────────────────────────────────────────────────────

/** A packet leaves: it remembers what had arrived by now. Called before it counts as in flight. */
export function congestionSent(path: ptr, entry: ptr, now: f64): void {
  if (r32(path + PATH_IN_FLIGHT_COUNT) === 0) {
    wf64(path + PATH_FIRST_SENT, now)
    wf64(path + PATH_DELIVERED_AT, now)
  }
  w32(entry + SENT_DELIVERED, low32(rf64(path + PATH_DELIVERED)))
  w32(entry + SENT_SINCE_DELIVERED, since(path + PATH_DELIVERED_AT, now))
  w32(entry + SENT_SINCE_FIRST, since(path + PATH_FIRST_SENT, now))
  w8(entry + SENT_IS_LIMITED, rf64(path + PATH_APP_LIMITED) > 0.0 ? 1 : 0)
}

function since(field: ptr, now: f64): i32 {
  return i32(minf(maxf(now - rf64(field), 0.0), SINCE_MAX))
}

/** Nothing is left to send though the window has room: what follows measures the application. */
export function congestionIdle(path: ptr): void {
  const flight: f64 = f64(r32(path + PATH_IN_FLIGHT))
  if (flight + f64(r32(path + PATH_PACKET_BYTES)) > rf64(path + PATH_WINDOW)) return
  wf64(path + PATH_APP_LIMITED, maxf(rf64(path + PATH_DELIVERED) + flight, 1.0))
}

// ── What acknowledgements tell ───────────────────────────────────────────────────────────────────

/** An ACK frame begins. */
export function congestionAckBegin(path: ptr): void {
  wf64(path + SAMPLE_SENT_AT, -1.0)
  wf64(path + SAMPLE_ACKED, 0.0)
  w32(path + SAMPLE_FLIGHT, r32(path + PATH_IN_FLIGHT))
}

/** It acknowledges a packet that was in flight. */
export function congestionPacketAcked(path: ptr, entry: ptr, now: f64): void {
  const bytes: f64 = f64(r32(entry + SENT_BYTES))
  const delivered: f64 = rf64(path + PATH_DELIVERED) + bytes
  const sentAt: f64 = rf64(entry + SENT_AT)
  wf64(path + PATH_DELIVERED, delivered)
  wf64(path + PATH_DELIVERED_AT, now)
  addf64(path + SAMPLE_ACKED, bytes)
  if (sentAt < rf64(path + SAMPLE_SENT_AT)) return
  wf64(path + SAMPLE_SENT_AT, sentAt)
  const meanwhile: f64 = unsigned((low32(delivered) - r32(entry + SENT_DELIVERED)) | 0)
  wf64(path + SAMPLE_PRIOR, delivered - meanwhile)
  wf64(path + SAMPLE_PRIOR_AT, sentAt - f64(r32(entry + SENT_SINCE_DELIVERED)))
  wf64(path + SAMPLE_SEND_TIME, f64(r32(entry + SENT_SINCE_FIRST)))
  w32(path + SAMPLE_IS_LIMITED, r8(entry + SENT_IS_LIMITED))
  wf64(path + PATH_FIRST_SENT, sentAt)
}

/** Rate at which bytes arrived since the newest acknowledged packet left: bytes per µs, or 0. */
export function sampleRate(path: ptr, least: f64): f64 {
  const arrivalTime: f64 = rf64(path + PATH_DELIVERED_AT) - rf64(path + SAMPLE_PRIOR_AT)
  const time: f64 = maxf(arrivalTime, rf64(path + SAMPLE_SEND_TIME))
  // What seems to have arrived within less than a round trip was acknowledged late before.
  if (time < least || time <= 0.0) return 0.0
  return (rf64(path + PATH_DELIVERED) - rf64(path + SAMPLE_PRIOR)) / time
}

/** The ACK frame is read, and losses are found. */
export function congestionAckEnd(path: ptr, now: f64): void {
  const limited: f64 = rf64(path + PATH_APP_LIMITED)
  if (limited > 0.0 && rf64(path + PATH_DELIVERED) > limited) wf64(path + PATH_APP_LIMITED, 0.0)
  if (rf64(path + SAMPLE_SENT_AT) >= 0.0) {
    if (r32(path + PATH_CONTROLLER) === CONTROLLER_CUBIC) cubicAcked(path, now)
    else bbrAcked(path, now)
  }
  wf64(path + SAMPLE_LOST, 0.0)
}

// ── What losses tell ─────────────────────────────────────────────────────────────────────────────

/** A packet of `bytes` is lost. */
export function congestionLost(path: ptr, bytes: i32): void {
  addf64(path + SAMPLE_LOST, f64(bytes))
  if (r32(path + PATH_CONTROLLER) === CONTROLLER_BBR) bbrLost(path, f64(bytes))
}

/** So many packets passed a queue that fills. */
export function congestionMarked(path: ptr, packets: f64): void {
  if (r32(path + PATH_CONTROLLER) !== CONTROLLER_BBR) return
  bbrLost(path, packets * f64(r32(path + PATH_PACKET_BYTES)))
}

/** It was only late. */
export function congestionSpurious(path: ptr, bytes: i32): void {
  if (r32(path + PATH_CONTROLLER) === CONTROLLER_BBR) bbrLost(path, -f64(bytes))
}

/** The first loss of an episode: those of one round trip are one sign of congestion. */
export function congestionEpisode(path: ptr): void {
  if (r32(path + PATH_CONTROLLER) === CONTROLLER_CUBIC) cubicEpisode(path)
}

/** All losses of the episode were spurious: it was none. */
export function congestionUndo(path: ptr): void {
  if (r32(path + PATH_CONTROLLER) === CONTROLLER_CUBIC) cubicUndo(path)
}

/** RFC 9002 §7.6: everything sent over a long time was lost. */
export function congestionCollapsed(path: ptr): void {
  wf64(path + PATH_WINDOW, leastWindow(path))
  if (r32(path + PATH_CONTROLLER) === CONTROLLER_CUBIC) cubicCollapsed(path)
  else bbrCollapsed(path)
}
