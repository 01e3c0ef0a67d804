/**
 * CUBIC (RFC 9438) with HyStart++ (RFC 9406): the window follows a cubic function of the time since
 * the last congestion, flat around the size at which that happened.
 */
import {
  leastWindow,
  SAMPLE_ACKED,
  SAMPLE_FLIGHT,
  SAMPLE_PRIOR,
  SAMPLE_SENT_AT,
  WINDOW_MAX,
} from './congestion'
import {
  PATH_DELIVERED,
  PATH_EPISODE_AT,
  PATH_MODEL,
  PATH_PACING_RATE,
  PATH_PACKET_BYTES,
  PATH_RTT_LATEST,
  PATH_RTT_SMOOTHED,
  PATH_WINDOW,
} from './path'
import { add32, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'

/** Slow start ends here. */
const THRESHOLD: i32 = PATH_MODEL
/** Window at which congestion was met last, and how long the function takes to reach it: µs. */
const PLATEAU: i32 = PATH_MODEL + 8
const PLATEAU_AFTER: i32 = PATH_MODEL + 16
/** When the present growth began, −1: with the next acknowledgement. */
const GROWTH_AT: i32 = PATH_MODEL + 24
/** What Reno would have by now. */
const RENO_WINDOW: i32 = PATH_MODEL + 32
/** HyStart++: the round ends when so much has arrived; its least RTT and that of the one before. */
const ROUND_END: i32 = PATH_MODEL + 40
const ROUND_RTT: i32 = PATH_MODEL + 48
const ROUND_RTT_BEFORE: i32 = PATH_MODEL + 56
const ROUND_SAMPLES: i32 = PATH_MODEL + 64
/** Rounds of conservative slow start, 0: it has not begun; the RTT that began it. */
const CAUTIOUS_ROUNDS: i32 = PATH_MODEL + 68
const CAUTIOUS_RTT: i32 = PATH_MODEL + 72
/** As before the last episode of losses. */
const WINDOW_BEFORE: i32 = PATH_MODEL + 80
const THRESHOLD_BEFORE: i32 = PATH_MODEL + 88
const PLATEAU_BEFORE: i32 = PATH_MODEL + 96

/** RFC 9438 §4.1, §4.6: growth in packets per s³, decrease, and growth of Reno with that decrease. */
const GROWTH: f64 = 0.4
const DECREASE: f64 = 0.7
const RENO_GROWTH: f64 = 0.5294117647058824
/** RFC 9406 §4.3; four acknowledgements per round trip are what the peer grants at least. */
const RTT_RISE_MIN: f64 = 4000.0
const RTT_RISE_MAX: f64 = 16000.0
const SAMPLES_MIN: i32 = 4
const CAUTIOUS_DIVISOR: f64 = 4.0
const CAUTIOUS_ROUNDS_MAX: i32 = 5

const SLOW_START_PACING: f64 = 2.0
const PACING: f64 = 1.25

export function cubicInit(path: ptr): void {
  wf64(path + THRESHOLD, Infinity)
  wf64(path + GROWTH_AT, -1.0)
  wf64(path + ROUND_RTT, Infinity)
  wf64(path + ROUND_RTT_BEFORE, Infinity)
}

/** Cube root by Newton's method: multiplication and division round alike everywhere. */
export function cubeRoot(value: f64): f64 {
  if (value <= 0.0) return 0.0
  let root: f64 = 1.0
  while (root * root * root < value) root *= 2.0
  for (let i: i32 = 0; i < 40; i++) {
    const next: f64 = (root * 2.0 + value / (root * root)) / 3.0
    if (next >= root) break
    root = next
  }
  return root
}

export function cubicAcked(path: ptr, now: f64): void {
  const window: f64 = rf64(path + PATH_WINDOW)
  if (window < rf64(path + THRESHOLD)) watchRtt(path)
  // Packets sent before the decrease prove nothing about the window after it.
  if (rf64(path + SAMPLE_SENT_AT) > rf64(path + PATH_EPISODE_AT)) {
    // RFC 9438 §5.8: an application that does not fill the window proves nothing about a larger one.
    if (f64(r32(path + SAMPLE_FLIGHT)) * 2.0 < window) wf64(path + GROWTH_AT, -1.0)
    else if (window < rf64(path + THRESHOLD)) slowStart(path)
    else avoidCongestion(path, now)
  }
  pace(path)
}

function slowStart(path: ptr): void {
  const divisor: f64 = r32(path + CAUTIOUS_ROUNDS) > 0 ? CAUTIOUS_DIVISOR : 1.0
  setWindow(path, rf64(path + PATH_WINDOW) + rf64(path + SAMPLE_ACKED) / divisor)
}

function setWindow(path: ptr, window: f64): void {
  wf64(path + PATH_WINDOW, minf(maxf(window, leastWindow(path)), WINDOW_MAX))
}

/** RFC 9406 §4.2: a round trip that grows while the window does means that a queue builds up. */
function watchRtt(path: ptr): void {
  const latest: f64 = rf64(path + PATH_RTT_LATEST)
  if (rf64(path + SAMPLE_PRIOR) >= rf64(path + ROUND_END)) {
    wf64(path + ROUND_END, rf64(path + PATH_DELIVERED))
    wf64(path + ROUND_RTT_BEFORE, rf64(path + ROUND_RTT))
    wf64(path + ROUND_RTT, Infinity)
    w32(path + ROUND_SAMPLES, 0)
    if (r32(path + CAUTIOUS_ROUNDS) > 0) {
      if (add32(path + CAUTIOUS_ROUNDS, 1) > CAUTIOUS_ROUNDS_MAX) {
        wf64(path + THRESHOLD, rf64(path + PATH_WINDOW))
        return
      }
    }
  }
  const least: f64 = minf(rf64(path + ROUND_RTT), latest)
  wf64(path + ROUND_RTT, least)
  if (add32(path + ROUND_SAMPLES, 1) < SAMPLES_MIN) return
  const before: f64 = rf64(path + ROUND_RTT_BEFORE)
  if (r32(path + CAUTIOUS_ROUNDS) > 0) {
    // It was not the queue: on as before.
    if (least < rf64(path + CAUTIOUS_RTT)) w32(path + CAUTIOUS_ROUNDS, 0)
  } else if (before !== Infinity) {
    const rise: f64 = minf(maxf(before / 8.0, RTT_RISE_MIN), RTT_RISE_MAX)
    if (least >= before + rise) {
      wf64(path + CAUTIOUS_RTT, least)
      w32(path + CAUTIOUS_ROUNDS, 1)
    }
  }
}

/** RFC 9438 §4.2. */
function avoidCongestion(path: ptr, now: f64): void {
  const window: f64 = rf64(path + PATH_WINDOW)
  const packet: f64 = f64(r32(path + PATH_PACKET_BYTES))
  if (rf64(path + GROWTH_AT) < 0.0) {
    wf64(path + GROWTH_AT, now)
    wf64(path + RENO_WINDOW, window)
    const below: f64 = maxf(rf64(path + PLATEAU) - window, 0.0)
    wf64(path + PLATEAU, window + below)
    wf64(path + PLATEAU_AFTER, cubeRoot(below / packet / GROWTH) * 1e6)
  }
  const acked: f64 = rf64(path + SAMPLE_ACKED)
  const elapsed: f64 = now - rf64(path + GROWTH_AT) + rf64(path + PATH_RTT_SMOOTHED)
  const seconds: f64 = (elapsed - rf64(path + PLATEAU_AFTER)) / 1e6
  const cubic: f64 = rf64(path + PLATEAU) + GROWTH * packet * seconds * seconds * seconds
  const target: f64 = minf(maxf(cubic, window), window * 1.5)
  // Above the plateau Reno with this decrease would grow as Reno itself (§4.3).
  const reno: f64 = rf64(path + RENO_WINDOW)
  const growth: f64 = reno < rf64(path + PLATEAU) ? RENO_GROWTH : 1.0
  wf64(path + RENO_WINDOW, reno + (growth * packet * acked) / window)
  if (cubic < rf64(path + RENO_WINDOW)) setWindow(path, maxf(window, rf64(path + RENO_WINDOW)))
  else setWindow(path, window + ((target - window) * acked) / window)
}

function pace(path: ptr): void {
  const window: f64 = rf64(path + PATH_WINDOW)
  const gain: f64 = window < rf64(path + THRESHOLD) ? SLOW_START_PACING : PACING
  wf64(path + PATH_PACING_RATE, (gain * window) / maxf(rf64(path + PATH_RTT_SMOOTHED), 1.0))
}

/** RFC 9438 §4.6, §4.7. */
export function cubicEpisode(path: ptr): void {
  const window: f64 = rf64(path + PATH_WINDOW)
  const plateau: f64 = rf64(path + PLATEAU)
  wf64(path + WINDOW_BEFORE, window)
  wf64(path + THRESHOLD_BEFORE, rf64(path + THRESHOLD))
  wf64(path + PLATEAU_BEFORE, plateau)
  // Met below the last plateau: others want room, so more is left to them.
  wf64(path + PLATEAU, window < plateau ? window * (1.0 + DECREASE) * 0.5 : window)
  setWindow(path, window * DECREASE)
  wf64(path + THRESHOLD, rf64(path + PATH_WINDOW))
  wf64(path + GROWTH_AT, -1.0)
}

/** RFC 9438 §4.9: there was no congestion. */
export function cubicUndo(path: ptr): void {
  setWindow(path, maxf(rf64(path + PATH_WINDOW), rf64(path + WINDOW_BEFORE)))
  wf64(path + THRESHOLD, rf64(path + THRESHOLD_BEFORE))
  wf64(path + PLATEAU, rf64(path + PLATEAU_BEFORE))
  wf64(path + GROWTH_AT, -1.0)
}

/** The window is at its least: slow start to half of what was, as after a timeout. */
export function cubicCollapsed(path: ptr): void {
  wf64(path + GROWTH_AT, -1.0)
  w32(path + CAUTIOUS_ROUNDS, 0)
}
