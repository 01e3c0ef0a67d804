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
import { maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'

/** A train is no longer than the path carries in this time … */
const TRAIN_MICROS: f64 = 1000.0
/** … and than this; a host that rings late may make up for as much. */
const TRAIN_BYTES: f64 = 65536.0
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
  const next: f64 = maxf(rf64(path + PATH_PACE_NEXT), now - TRAIN_MICROS)
  if (rf64(path + PATH_PACE_NEXT) <= now) wf64(path + PATH_PACE_TRAIN, now)
  wf64(path + PATH_PACE_NEXT, next + f64(bytes) / rate)
}

/** Something is due that pacing holds back, or is not. */
export function paceWaits(path: ptr, waits: bool): void {
  w32(path + PATH_PACE_WAITS, waits ? 1 : 0)
}

/** When the next train may leave, Infinity when none waits. */
export function paceDeadline(path: ptr): f64 {
  return r32(path + PATH_PACE_WAITS) !== 0 ? rf64(path + PATH_PACE_NEXT) : Infinity
}
