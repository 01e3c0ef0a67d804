/**
 * Congestion control behind a small interface; NewReno in the manner of RFC 9002 §7.
 *
 * Windows are bytes. The state lives in the path from PATH_CONGESTION on.
 */
import { PATH_CONGESTION, PATH_PACKET_BYTES } from './path'
import { maxf, minf, type ptr, r32, rf64, wf64 } from './prelude'

const WINDOW: i32 = PATH_CONGESTION
const THRESHOLD: i32 = PATH_CONGESTION + 8
/** Packets sent before this moment belong to the recovery period. */
const RECOVERY_START: i32 = PATH_CONGESTION + 16
/** Bytes acknowledged towards the next increase. */
const CREDIT: i32 = PATH_CONGESTION + 24

/** Counted in bytes, so that paths with large packets do not start with a burst. */
const WINDOW_INITIAL: f64 = 14720.0
const WINDOW_PACKETS_MIN: f64 = 2.0
const WINDOW_MAX: f64 = 1073741824.0

export function congestionInit(path: ptr): void {
  wf64(path + WINDOW, WINDOW_INITIAL)
  wf64(path + THRESHOLD, Infinity)
  wf64(path + RECOVERY_START, -1.0)
}

export function congestionWindow(path: ptr): f64 {
  return rf64(path + WINDOW)
}

function leastWindow(path: ptr): f64 {
  return WINDOW_PACKETS_MIN * f64(r32(path + PATH_PACKET_BYTES))
}

/** A packet of `bytes` sent at `sentAt` was acknowledged; `flight` bytes were out before the ACK. */
export function congestionAcked(path: ptr, bytes: i32, sentAt: f64, flight: i32): void {
  if (sentAt <= rf64(path + RECOVERY_START)) return
  const window: f64 = rf64(path + WINDOW)
  // RFC 9002 §7.8: an application that does not fill the window proves nothing about a larger one.
  if (f64(flight) * 2.0 < window) return
  if (window < rf64(path + THRESHOLD)) {
    wf64(path + WINDOW, minf(window + f64(bytes), WINDOW_MAX))
    return
  }
  const credit: f64 = rf64(path + CREDIT) + f64(bytes)
  if (credit < window) {
    wf64(path + CREDIT, credit)
    return
  }
  wf64(path + CREDIT, credit - window)
  wf64(path + WINDOW, minf(window + f64(r32(path + PATH_PACKET_BYTES)), WINDOW_MAX))
}

/** A packet sent at `sentAt` was lost: once per round trip the window is halved. */
export function congestionLost(path: ptr, sentAt: f64, now: f64): void {
  if (sentAt <= rf64(path + RECOVERY_START)) return
  wf64(path + RECOVERY_START, now)
  const window: f64 = maxf(rf64(path + WINDOW) * 0.5, leastWindow(path))
  wf64(path + WINDOW, window)
  wf64(path + THRESHOLD, window)
  wf64(path + CREDIT, 0.0)
}

/** RFC 9002 §7.6: everything sent over a long time was lost. */
export function congestionCollapsed(path: ptr): void {
  wf64(path + WINDOW, leastWindow(path))
  wf64(path + RECOVERY_START, -1.0)
  wf64(path + CREDIT, 0.0)
}
