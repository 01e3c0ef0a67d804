/**
 * Pacing: packets leave in short trains at the controller's rate, not as fast as the window allows.
 * Without it a train of a whole window overflows shallow queues.
 */
import {
  PATH_PACE_NEXT,
  PATH_PACE_TRAIN,
  PATH_PACE_WAITS,
  PATH_PACING_RATE,
  PATH_RTT_MIN,
} from './path'
import { addf64, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'

/** A train is no longer than the path carries in this time … */
const TRAIN_MICROS: f64 = 1000.0
/** … and than this. */
const TRAIN_BYTES: f64 = 65536.0
/** What a host may make up for that rings late; JavaScript timers often are by milliseconds. */
const LATE_MICROS: f64 = 4000.0
/** So much in any case: busy hosts ring by tens of milliseconds late, and slow flows would starve. */
const LATE_BYTES: f64 = 16384.0
/** Nearer peers answer sooner than a timer rings: their acknowledgements are the clock. */
export const LOCAL_RTT: f64 = 2000.0

/** Bytes that leave at once. */
export function trainBytes(path: ptr): f64 {
  return minf(rf64(path + PATH_PACING_RATE) * TRAIN_MICROS, TRAIN_BYTES)
}

/** Whether another packet may leave at `now`, as far as pacing goes. */
export function mayLeave(path: ptr, now: f64): bool {
  const rate: f64 = rf64(path + PATH_PACING_RATE)
  if (rate === 0.0 || rf64(path + PATH_RTT_MIN) < LOCAL_RTT) return true
  const next: f64 = rf64(path + PATH_PACE_NEXT)
  if (next <= now) return true
  return rf64(path + PATH_PACE_TRAIN) === now && next < now + trainBytes(path) / rate
}

/** A packet leaves. */
export function pacePacket(path: ptr, bytes: i32, now: f64): void {
  const rate: f64 = rf64(path + PATH_PACING_RATE)
  if (rate === 0.0) return
  // Who had nothing to send, or no window, has no more to make up for than a train.
  const isFirst: bool = rf64(path + PATH_PACE_TRAIN) !== now
  if (isFirst && rf64(path + PATH_PACE_NEXT) <= now) beginTrain(path, TRAIN_MICROS, now)
  addf64(path + PATH_PACE_NEXT, f64(bytes) / rate)
}

function beginTrain(path: ptr, lateMax: f64, now: f64): void {
  wf64(path + PATH_PACE_TRAIN, now)
  wf64(path + PATH_PACE_NEXT, maxf(rf64(path + PATH_PACE_NEXT), now - lateMax))
}

/** Something is due that pacing holds back. */
export function paceWaits(path: ptr): void {
  w32(path + PATH_PACE_WAITS, 1)
}

/** What pacing held back may leave when its time has come, also what should have left by now. */
export function paceResumes(path: ptr, now: f64): void {
  if (r32(path + PATH_PACE_WAITS) === 0) return
  w32(path + PATH_PACE_WAITS, 0)
  if (rf64(path + PATH_PACE_NEXT) > now) return
  const rate: f64 = rf64(path + PATH_PACING_RATE)
  const late: f64 = minf(maxf(LATE_MICROS, LATE_BYTES / rate), TRAIN_BYTES / rate - TRAIN_MICROS)
  beginTrain(path, maxf(late, TRAIN_MICROS), now)
}

/** When the next train may leave, Infinity when none waits. */
export function paceDeadline(path: ptr): f64 {
  return r32(path + PATH_PACE_WAITS) !== 0 ? rf64(path + PATH_PACE_NEXT) : Infinity
}
