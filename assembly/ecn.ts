/**
 * Explicit congestion notification (RFC 3168; RFC 9000 §13.4): packets leave marked as from somebody
 * who listens, a queue that fills marks them once more instead of dropping them, and the receiver says
 * how many of either it has got. Not every way carries marks, and some swallow what is marked: they
 * are believed only while what is said of them fits what arrived.
 */
import { ENDPOINT, EP_FLAGS, EP_MARKS } from './endpoint'
import { DESC_PORT } from './layout'
import {
  PATH_CONNECTION,
  PATH_ECN_ACKED,
  PATH_ECN_BEFORE,
  PATH_ECN_CONGESTED,
  PATH_ECN_CONGESTED_IN,
  PATH_ECN_HANDLED,
  PATH_ECN_LOST,
  PATH_ECN_MARKED_IN,
  PATH_ECN_SEEN,
  PATH_ECN_SINCE,
  PATH_ECN_STATE,
  PATH_NEXT,
  PATH_PROBE_COUNT,
} from './path'
import { add32, addf64, maxf, type ptr, r32, rf64, w32, wf64 } from './prelude'

/** The two bits of the IP header, where a descriptor has them. */
const SHIFT: i32 = 16
const CAPABLE: i32 = 2
const CONGESTED: i32 = 3

/** Packets are not marked. */
const OFF: i32 = 0
/** They are, but none is known to have arrived. */
const TESTING: i32 = 1
const WORKS: i32 = 2
/** So many marked packets lost before one arrived, or probe timeouts: what is marked may be swallowed. */
const LOST_MAX: i32 = 10
const PROBES_MAX: i32 = 2

/** Packets of the path leave marked from now on, if the endpoint's sockets can do that. */
export function ecnStart(path: ptr): void {
  if ((r32(r32(r32(path + PATH_CONNECTION) + ENDPOINT) + EP_FLAGS) & EP_MARKS) === 0) return
  w32(path + PATH_ECN_STATE, TESTING)
  w32(path + PATH_ECN_LOST, 0)
  wf64(path + PATH_ECN_SINCE, rf64(path + PATH_NEXT))
  wf64(path + PATH_ECN_ACKED, 0.0)
  wf64(path + PATH_ECN_BEFORE, rf64(path + PATH_ECN_SEEN))
  wf64(path + PATH_ECN_HANDLED, rf64(path + PATH_ECN_CONGESTED))
}

function stop(path: ptr): void {
  w32(path + PATH_ECN_STATE, OFF)
}

/**
 * The train of a descriptor leaves marked. Not if it only acknowledges: its loss would never show
 * (RFC 3168 §6.1.4 for the like of it).
 */
export function ecnMark(path: ptr, desc: ptr): void {
  if (r32(path + PATH_ECN_STATE) === OFF) return
  w32(desc + DESC_PORT, (r32(desc + DESC_PORT) & 0xffff) | (CAPABLE << SHIFT))
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

export function ecnLost(path: ptr, number: f64): void {
  if (r32(path + PATH_ECN_STATE) !== TESTING || number < rf64(path + PATH_ECN_SINCE)) return
  if (rf64(path + PATH_ECN_ACKED) > 0.0) return
  if (add32(path + PATH_ECN_LOST, 1) >= LOST_MAX) stop(path)
}

/** A probe timeout: nothing at all is heard, perhaps because the way has become another. */
export function ecnProbe(path: ptr): void {
  if (r32(path + PATH_ECN_STATE) !== OFF && r32(path + PATH_PROBE_COUNT) >= PROBES_MAX) stop(path)
}

/** After an ACK frame: how many more packets passed a queue that fills. */
export function ecnAckDone(path: ptr): f64 {
  if (r32(path + PATH_ECN_STATE) === OFF || rf64(path + PATH_ECN_ACKED) === 0.0) return 0.0
  // RFC 9000 §13.4.2.1: of what arrived less is said to have been marked than was.
  if (rf64(path + PATH_ECN_SEEN) - rf64(path + PATH_ECN_BEFORE) < rf64(path + PATH_ECN_ACKED)) {
    stop(path)
    return 0.0
  }
  w32(path + PATH_ECN_STATE, WORKS)
  const news: f64 = rf64(path + PATH_ECN_CONGESTED) - rf64(path + PATH_ECN_HANDLED)
  wf64(path + PATH_ECN_HANDLED, rf64(path + PATH_ECN_CONGESTED))
  return news
}
