/**
 * Explicit congestion notification (RFC 3168; RFC 9000 §13.4): packets leave marked as from somebody
 * who listens, a queue that fills marks them once more instead of dropping them, and the receiver says
 * how many of either it has got. Not every way carries marks, and some swallow what is marked: they
 * are believed only while what is said of them fits what arrived.
 */
import { probeTimeout } from './connection'
import { ENDPOINT, EP_FLAGS, EP_MARKS } from './endpoint'
import { DESC_PORT } from './layout'
import {
  PATH_CONNECTION,
  PATH_DELIVERED_AT,
  PATH_ECN_ACKED,
  PATH_ECN_BEFORE,
  PATH_ECN_CONGESTED,
  PATH_ECN_CONGESTED_IN,
  PATH_ECN_HANDLED,
  PATH_ECN_IS_ON,
  PATH_ECN_MARKED_IN,
  PATH_ECN_SEEN,
  PATH_ECN_SINCE,
  PATH_NEXT,
} from './path'
import { addf64, maxf, type ptr, r32, rf64, w32, wf64 } from './prelude'

/** The two bits of the IP header, where a descriptor has them. */
const SHIFT: i32 = 16
const CAPABLE: i32 = 2
const CONGESTED: i32 = 3

/** Nothing has arrived for so many probe timeouts: what is marked may be swallowed. */
const SILENCE: f64 = 2.0

/** Packets of the path leave marked from now on, if the endpoint's sockets can do that. */
export function ecnStart(path: ptr): void {
  if ((r32(r32(r32(path + PATH_CONNECTION) + ENDPOINT) + EP_FLAGS) & EP_MARKS) === 0) return
  w32(path + PATH_ECN_IS_ON, 1)
  wf64(path + PATH_ECN_SINCE, rf64(path + PATH_NEXT))
  wf64(path + PATH_ECN_ACKED, 0.0)
  wf64(path + PATH_ECN_BEFORE, rf64(path + PATH_ECN_SEEN))
  wf64(path + PATH_ECN_HANDLED, rf64(path + PATH_ECN_CONGESTED))
}

function stop(path: ptr): void {
  w32(path + PATH_ECN_IS_ON, 0)
}

/** The train of a descriptor leaves marked. `flight`: packets in flight without it. */
export function ecnMark(path: ptr, desc: ptr, flight: i32, now: f64): void {
  if (r32(path + PATH_ECN_IS_ON) === 0) return
  const patience: f64 = probeTimeout(r32(path + PATH_CONNECTION), path) * SILENCE
  if (flight > 0 && now > rf64(path + PATH_DELIVERED_AT) + patience) stop(path)
  else w32(desc + DESC_PORT, (r32(desc + DESC_PORT) & 0xffff) | (CAPABLE << SHIFT))
}

// ── Receiving ────────────────────────────────────────────────────────────────────────────────────

/** A packet has come: how was it marked? */
export function ecnReceived(path: ptr, desc: ptr): void {
  const bits: i32 = (r32(desc + DESC_PORT) >> SHIFT) & 3
  if (bits === CAPABLE) addf64(path + PATH_ECN_MARKED_IN, 1.0)
  else if (bits === CONGESTED) addf64(path + PATH_ECN_CONGESTED_IN, 1.0)
}

/** Whether there is anything to say about marks. */
export function ecnIsSeen(path: ptr): bool {
  return rf64(path + PATH_ECN_MARKED_IN) + rf64(path + PATH_ECN_CONGESTED_IN) > 0.0
}

// ── What the peer says ───────────────────────────────────────────────────────────────────────────

/** Frame ECN: how many of our packets have arrived as they left, and as from a queue that fills. */
export function ecnCounts(path: ptr, marked: f64, congested: f64): void {
  // Older packets say less.
  wf64(path + PATH_ECN_SEEN, maxf(rf64(path + PATH_ECN_SEEN), marked + congested))
  wf64(path + PATH_ECN_CONGESTED, maxf(rf64(path + PATH_ECN_CONGESTED), congested))
}

export function ecnAcked(path: ptr, number: f64): void {
  if (number >= rf64(path + PATH_ECN_SINCE)) addf64(path + PATH_ECN_ACKED, 1.0)
}

/** After an ACK frame: how many more packets passed a queue that fills. */
export function ecnAckDone(path: ptr): f64 {
  if (r32(path + PATH_ECN_IS_ON) === 0 || rf64(path + PATH_ECN_ACKED) === 0.0) return 0.0
  // RFC 9000 §13.4.2.1: of what arrived less is said to have been marked than was.
  if (rf64(path + PATH_ECN_SEEN) - rf64(path + PATH_ECN_BEFORE) < rf64(path + PATH_ECN_ACKED)) {
    stop(path)
    return 0.0
  }
  const news: f64 = rf64(path + PATH_ECN_CONGESTED) - rf64(path + PATH_ECN_HANDLED)
  wf64(path + PATH_ECN_HANDLED, rf64(path + PATH_ECN_CONGESTED))
  return news
}
