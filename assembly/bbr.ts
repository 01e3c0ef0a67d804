/**
 * BBR: the window and the rate follow a model of the path, its bandwidth (the most that arrived per
 * time, over some round trips) and its round trip (the least, over ten seconds), instead of losses.
 * Random loss does not slow it down, and it keeps no queue that it has not measured.
 *
 * The states of Cardwell et al., "BBR: Congestion-Based Congestion Control" (2016), and the smaller
 * window of its second version while many packets are lost, unless others keep the queue full.
 */
import {
  SAMPLE_ACKED,
  SAMPLE_IS_LIMITED,
  SAMPLE_LOST,
  SAMPLE_PRIOR,
  sampleRate,
  WINDOW_INITIAL,
  WINDOW_MAX,
} from './congestion'
import { CN_LOCAL_CID } from './connection'
import { trainBytes } from './pacer'
import {
  PATH_APP_LIMITED,
  PATH_CONNECTION,
  PATH_DELIVERED,
  PATH_IN_FLIGHT,
  PATH_MODEL,
  PATH_PACING_RATE,
  PATH_PACKET_BYTES,
  PATH_RTT_LATEST,
  PATH_RTT_MIN,
  PATH_RTT_SMOOTHED,
  PATH_WINDOW,
} from './path'
import { add32, addf64, div, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'

const STATE: i32 = PATH_MODEL
/** Twice as much with each round trip until the bandwidth grows no more. */
const STARTUP: i32 = 0
/** The queue that this has made is emptied. */
const DRAIN: i32 = 1
/** Eight phases of a round trip: more, less, six times as measured. */
const PROBE_BANDWIDTH: i32 = 2
/** Little in flight for a moment, so that the round trip shows without a queue. */
const PROBE_RTT: i32 = 3

/** Phase of PROBE_BANDWIDTH, and when it began. */
const PHASE: i32 = PATH_MODEL + 4
const PHASE_AT: i32 = PATH_MODEL + 8
const PHASES: i32 = 8
/** Largest bandwidth, bytes per µs, in this cycle of phases and in the one before. */
const BANDWIDTH: i32 = PATH_MODEL + 16
const BANDWIDTH_BEFORE: i32 = PATH_MODEL + 24
/** The round ends when a packet is acknowledged that left after so much had arrived. */
const ROUND_END: i32 = PATH_MODEL + 32
/** Rounds since the cycle began: without phases, a cycle is as many rounds. */
const ROUNDS: i32 = PATH_MODEL + 40
/** Rounds without growth in STARTUP, −1: the bandwidth was found. */
const FLAT_ROUNDS: i32 = PATH_MODEL + 44
const FLAT_BANDWIDTH: i32 = PATH_MODEL + 48
const MIN_RTT: i32 = PATH_MODEL + 56
const MIN_RTT_AT: i32 = PATH_MODEL + 64
/** When PROBE_RTT may end, 0: it has not got down yet; and after which round. */
const PROBE_RTT_END: i32 = PATH_MODEL + 72
const PROBE_RTT_ROUND: i32 = PATH_MODEL + 80
/** The least round trip in PROBE_RTT, and the window before it. */
const PROBE_RTT_LEAST: i32 = PATH_MODEL + 112
const WINDOW_BEFORE: i32 = PATH_MODEL + 120
/** Bandwidth when the first phase began. */
const PHASE_BANDWIDTH: i32 = PATH_MODEL + 128
/** The least round trip of this cycle of phases, and of the two before. */
const CYCLE_RTT: i32 = PATH_MODEL + 136
const CYCLE_RTT_BEFORE: i32 = PATH_MODEL + 144
const CYCLE_RTT_BEFORE_THAT: i32 = PATH_MODEL + 152
/** Bytes lost since so many were delivered. */
const LOSS_BYTES: i32 = PATH_MODEL + 88
const LOSS_SINCE: i32 = PATH_MODEL + 96
/** Rounds for which the smaller window holds. */
const CAREFUL_ROUNDS: i32 = PATH_MODEL + 104

/** 2 / ln 2: the least gain that doubles the rate in each round trip. */
const GAIN_STARTUP: f64 = 2.885
const GAIN_DRAIN: f64 = 0.347
const GAIN_MORE: f64 = 1.25
/** While much is lost: a queue that is nearly nothing drops all that is more. */
const GAIN_MORE_CAREFUL: f64 = 1.1
const GAIN_LESS: f64 = 0.75
/**
 * More, by so many packets on top, or by this share of what the path holds: the same for all flows
 * that share a link, so that small ones gain on large ones.
 */
const MORE_PACKETS: f64 = 8.0
const MORE_SHARE: f64 = 0.25
/** Of the bandwidth, so that more is tried at once. */
const GROWN: f64 = 1.15
/** Less, for so many round trips at most: what is still there is not our queue … */
const LESS_MAX: f64 = 3.0
/** … or the path's round trip is so many times longer than it was so long ago. */
const RTT_DOUBTFUL: f64 = 2.5
const MIN_RTT_DOUBTFUL: f64 = 5000000.0
/** Of the window: acknowledgements may come late and several at a time. */
const GAIN_WINDOW: f64 = 2.0
const GAIN_WINDOW_CAREFUL: f64 = 1.4
/**
 * While others keep a queue. Flows whose windows are a multiple of what they get keep the shares that
 * they have, and the one with the smaller multiple loses. So wide, it is the rate that decides.
 */
const GAIN_WINDOW_CROWDED: f64 = 2.7
/** They do when the round trip stays so many times the least, though ours sent less twice. */
const RTT_CROWDED: f64 = 1.62
/** On their way to the network, on top of what it holds. */
const TRAINS: f64 = 3.0
const GAIN_WINDOW_PROBE_RTT: f64 = 0.5
const PACKETS_MIN: f64 = 4.0
/** STARTUP ends when the bandwidth grows by less than this in three rounds. */
const GROWTH: f64 = 1.25
const FLAT_ROUNDS_MAX: i32 = 3
const MIN_RTT_LIFE: f64 = 1e7
const PROBE_RTT_TIME: f64 = 200000.0
/** More loss than this of so many packets is worth care for some rounds; much more ends STARTUP. */
const LOSS_CAREFUL: f64 = 0.02
const LOSS_STARTUP: f64 = 0.15
const LOSS_PACKETS_MIN: f64 = 100.0
const CAREFUL_ROUNDS_MAX: i32 = 16

export function bbrInit(path: ptr): void {
  wf64(path + MIN_RTT, Infinity)
  wf64(path + CYCLE_RTT, Infinity)
}

/** Bytes per µs that the path carries, 0: not known. */
export function bbrBandwidth(path: ptr): f64 {
  return maxf(rf64(path + BANDWIDTH), rf64(path + BANDWIDTH_BEFORE))
}

/** What the path holds, times `gain`. */
function pathBytes(path: ptr, gain: f64): f64 {
  const bandwidth: f64 = bbrBandwidth(path)
  if (bandwidth === 0.0) return WINDOW_INITIAL * gain
  return gain * bandwidth * rf64(path + MIN_RTT)
}

function fewPackets(path: ptr): f64 {
  return PACKETS_MIN * f64(r32(path + PATH_PACKET_BYTES))
}

export function bbrLost(path: ptr, bytes: f64): void {
  addf64(path + LOSS_BYTES, bytes)
}

export function bbrCollapsed(path: ptr): void {
  wf64(path + LOSS_BYTES, 0.0)
}

export function bbrAcked(path: ptr, now: f64): void {
  const isRound: bool = rf64(path + SAMPLE_PRIOR) >= rf64(path + ROUND_END)
  measureBandwidth(path)
  if (isRound) round(path)
  const state: i32 = r32(path + STATE)
  if (state === STARTUP && r32(path + FLAT_ROUNDS) < 0) w32(path + STATE, DRAIN)
  if (r32(path + STATE) === DRAIN && f64(r32(path + PATH_IN_FLIGHT)) <= pathBytes(path, 1.0)) {
    probeBandwidth(path, now)
  }
  if (r32(path + STATE) === PROBE_BANDWIDTH) nextPhase(path, now)
  measureRtt(path, now)
  setRate(path)
  setWindow(path)
}

// ── The model ────────────────────────────────────────────────────────────────────────────────────

function measureBandwidth(path: ptr): void {
  const rate: f64 = sampleRate(path, rf64(path + PATH_RTT_MIN))
  // What the application limited proves a bandwidth that is larger, but none that is smaller.
  if (r32(path + SAMPLE_IS_LIMITED) !== 0 && rate < bbrBandwidth(path)) return
  if (rate > rf64(path + BANDWIDTH)) wf64(path + BANDWIDTH, rate)
}

/** A cycle is over: of the bandwidths before it none counts any more. */
function forgetBandwidth(path: ptr): void {
  // Nothing but the application was measured since: that is no reason to forget the path.
  if (rf64(path + BANDWIDTH) === 0.0) return
  wf64(path + BANDWIDTH_BEFORE, rf64(path + BANDWIDTH))
  wf64(path + BANDWIDTH, 0.0)
  w32(path + ROUNDS, 0)
}

function round(path: ptr): void {
  wf64(path + ROUND_END, rf64(path + PATH_DELIVERED))
  const lossShare: f64 = measureLoss(path)
  const rounds: i32 = add32(path + ROUNDS, 1)
  const isPhased: bool = r32(path + STATE) === PROBE_BANDWIDTH
  if (!isPhased && rounds >= PHASES) forgetBandwidth(path)
  const isMeasured: bool = r32(path + SAMPLE_IS_LIMITED) === 0 || lossShare > LOSS_STARTUP
  if (r32(path + STATE) === STARTUP && isMeasured) watchGrowth(path, lossShare)
}

/** Share of what left that was lost, over a round or as many as make it mean something; else 0. */
function measureLoss(path: ptr): f64 {
  if (r32(path + CAREFUL_ROUNDS) > 0) add32(path + CAREFUL_ROUNDS, -1)
  const delivered: f64 = rf64(path + PATH_DELIVERED)
  const lost: f64 = rf64(path + LOSS_BYTES)
  const sent: f64 = delivered - rf64(path + LOSS_SINCE) + lost
  const packet: f64 = f64(r32(path + PATH_PACKET_BYTES))
  if (sent < LOSS_PACKETS_MIN * packet) return 0.0
  wf64(path + LOSS_SINCE, delivered)
  wf64(path + LOSS_BYTES, 0.0)
  // One or two are chance.
  const share: f64 = lost > packet * 2.0 ? lost / sent : 0.0
  if (share > LOSS_CAREFUL) w32(path + CAREFUL_ROUNDS, CAREFUL_ROUNDS_MAX)
  return share
}

/** STARTUP ends when more in flight makes nothing faster. */
function watchGrowth(path: ptr, lossShare: f64): void {
  const bandwidth: f64 = bbrBandwidth(path)
  if (bandwidth >= rf64(path + FLAT_BANDWIDTH) * GROWTH) {
    wf64(path + FLAT_BANDWIDTH, bandwidth)
    w32(path + FLAT_ROUNDS, 0)
    return
  }
  const isOver: bool = add32(path + FLAT_ROUNDS, 1) >= FLAT_ROUNDS_MAX || lossShare > LOSS_STARTUP
  if (isOver) w32(path + FLAT_ROUNDS, -1)
}

/** A round trip this near to the least proves it again. */
const NEAR_RTT: f64 = 1.0625
const NEAR_MICROS: f64 = 1000.0

function hasQueue(path: ptr): bool {
  return rf64(path + PATH_RTT_LATEST) > rf64(path + MIN_RTT) * NEAR_RTT + NEAR_MICROS
}

/** The least round trip of ten seconds; when it was not seen for so long, it is looked for. */
function measureRtt(path: ptr, now: f64): void {
  const latest: f64 = rf64(path + PATH_RTT_LATEST)
  const least: f64 = rf64(path + MIN_RTT)
  wf64(path + CYCLE_RTT, minf(rf64(path + CYCLE_RTT), latest))
  const isOld: bool = now > rf64(path + MIN_RTT_AT) + MIN_RTT_LIFE
  if (latest < least) wf64(path + MIN_RTT, latest)
  // The last packet of a train waits for its fellows: that near, the least is proven again.
  if (!hasQueue(path)) wf64(path + MIN_RTT_AT, now)
  else if (isOld && r32(path + STATE) !== PROBE_RTT) {
    w32(path + STATE, PROBE_RTT)
    wf64(path + PROBE_RTT_END, 0.0)
    wf64(path + PROBE_RTT_LEAST, Infinity)
    wf64(path + WINDOW_BEFORE, rf64(path + PATH_WINDOW))
  }
  if (r32(path + STATE) !== PROBE_RTT) return
  // Little is in flight on purpose: that says nothing about the bandwidth.
  wf64(path + PATH_APP_LIMITED, rf64(path + PATH_DELIVERED) + f64(r32(path + PATH_IN_FLIGHT)))
  if (rf64(path + PROBE_RTT_END) === 0.0) {
    if (f64(r32(path + PATH_IN_FLIGHT)) > probeRttWindow(path)) return
    wf64(path + PROBE_RTT_END, now + PROBE_RTT_TIME)
    wf64(path + PROBE_RTT_ROUND, rf64(path + PATH_DELIVERED))
    return
  }
  wf64(path + PROBE_RTT_LEAST, minf(rf64(path + PROBE_RTT_LEAST), latest))
  const isRoundOver: bool = rf64(path + SAMPLE_PRIOR) >= rf64(path + PROBE_RTT_ROUND)
  if (!isRoundOver || now < rf64(path + PROBE_RTT_END)) return
  wf64(path + MIN_RTT, rf64(path + PROBE_RTT_LEAST))
  wf64(path + MIN_RTT_AT, now)
  wf64(path + PATH_WINDOW, maxf(rf64(path + PATH_WINDOW), rf64(path + WINDOW_BEFORE)))
  if (r32(path + FLAT_ROUNDS) < 0) probeBandwidth(path, now)
  else w32(path + STATE, STARTUP)
}

// ── Phases ───────────────────────────────────────────────────────────────────────────────────────

/** Enters the phases at any but the second, so that flows that share a link do not march in step. */
function probeBandwidth(path: ptr, now: f64): void {
  const chance: i32 = r32(r32(path + PATH_CONNECTION) + CN_LOCAL_CID) & 0xffff
  const phase: i32 = chance - div(chance, PHASES - 1) * (PHASES - 1)
  w32(path + STATE, PROBE_BANDWIDTH)
  w32(path + PHASE, phase === 1 ? PHASES - 1 : phase)
  wf64(path + PHASE_BANDWIDTH, bbrBandwidth(path))
  wf64(path + PHASE_AT, now)
}

function nextPhase(path: ptr, now: f64): void {
  const phase: i32 = r32(path + PHASE)
  const flight: f64 = f64(r32(path + PATH_IN_FLIGHT))
  const elapsed: f64 = now - rf64(path + PHASE_AT)
  const least: f64 = rf64(path + MIN_RTT)
  let next: i32 = phase + 1 === PHASES ? 0 : phase + 1
  let isOver: bool = elapsed > least
  if (phase === 0) {
    // More is in flight only when it had time to arrive there.
    isOver = isOver && (rf64(path + SAMPLE_LOST) > 0.0 || flight >= pathBytes(path, GAIN_MORE))
    if (isOver && !hasQueue(path) && bbrBandwidth(path) > rf64(path + PHASE_BANDWIDTH) * GROWN) {
      // All of it arrived faster: there is still more to find.
      next = 0
    }
  } else if (phase === 1) {
    // Less, until the queue is gone.
    isOver = flight <= pathBytes(path, 1.0)
    if (!isOver && elapsed > least * LESS_MAX) {
      isOver = true
      const isLong: bool = rf64(path + PATH_RTT_LATEST) > least * RTT_DOUBTFUL
      const isOld: bool = now > rf64(path + MIN_RTT_AT) + MIN_RTT_DOUBTFUL
      if (isLong && isOld) wf64(path + MIN_RTT_AT, -Infinity)
    }
  }
  if (!isOver) return
  if (next === 0) {
    wf64(path + PHASE_BANDWIDTH, bbrBandwidth(path))
    if (phase !== 0) {
      forgetBandwidth(path)
      wf64(path + CYCLE_RTT_BEFORE_THAT, rf64(path + CYCLE_RTT_BEFORE))
      wf64(path + CYCLE_RTT_BEFORE, rf64(path + CYCLE_RTT))
      wf64(path + CYCLE_RTT, Infinity)
    }
  }
  wf64(path + PHASE_AT, now)
  w32(path + PHASE, next)
}

/** Whether others keep a queue: our own would have gone when we sent less. */
function isCrowded(path: ptr): bool {
  const least: f64 = minf(rf64(path + CYCLE_RTT_BEFORE), rf64(path + CYCLE_RTT_BEFORE_THAT))
  return least > rf64(path + MIN_RTT) * RTT_CROWDED
}

/** Whether much is lost, and less in flight would help. */
function isCareful(path: ptr): bool {
  return r32(path + CAREFUL_ROUNDS) > 0 && !isCrowded(path)
}

// ── What follows from the model ──────────────────────────────────────────────────────────────────

function gain(path: ptr): f64 {
  const state: i32 = r32(path + STATE)
  if (state === STARTUP) return GAIN_STARTUP
  if (state === DRAIN) return GAIN_DRAIN
  if (state === PROBE_RTT) return 1.0
  const phase: i32 = r32(path + PHASE)
  if (phase === 0) return isCareful(path) ? GAIN_MORE_CAREFUL : GAIN_MORE
  return phase === 1 ? GAIN_LESS : 1.0
}

function morePackets(path: ptr): f64 {
  return minf(MORE_PACKETS * f64(r32(path + PATH_PACKET_BYTES)), pathBytes(path, MORE_SHARE))
}

function setRate(path: ptr): void {
  let rate: f64 = gain(path) * bbrBandwidth(path)
  const isMore: bool = r32(path + STATE) === PROBE_BANDWIDTH && r32(path + PHASE) === 0
  if (isMore && !isCareful(path)) {
    rate += morePackets(path) / maxf(rf64(path + MIN_RTT), 1.0)
  }
  if (r32(path + FLAT_ROUNDS) >= 0) {
    // Before the bandwidth is known, one slow sample must not slow down the search.
    const first: f64 = WINDOW_INITIAL / maxf(rf64(path + PATH_RTT_SMOOTHED), 1000.0)
    rate = maxf(maxf(rate, first * GAIN_STARTUP), rf64(path + PATH_PACING_RATE))
  }
  wf64(path + PATH_PACING_RATE, rate)
}

function probeRttWindow(path: ptr): f64 {
  return maxf(pathBytes(path, GAIN_WINDOW_PROBE_RTT), fewPackets(path))
}

function windowBytes(path: ptr): f64 {
  if (r32(path + FLAT_ROUNDS) < 0 && isCareful(path)) return pathBytes(path, GAIN_WINDOW_CAREFUL)
  const gain: f64 = isCrowded(path) ? GAIN_WINDOW_CROWDED : GAIN_WINDOW
  return pathBytes(path, gain) + trainBytes(path) * TRAINS
}

function setWindow(path: ptr): void {
  const isFound: bool = r32(path + FLAT_ROUNDS) < 0
  const target: f64 = maxf(windowBytes(path) + morePackets(path), fewPackets(path))
  const window: f64 = rf64(path + PATH_WINDOW)
  let wider: f64 = window + rf64(path + SAMPLE_ACKED)
  // In STARTUP the target grows with what arrives: until it does, the window keeps what it has.
  wider = isFound ? minf(wider, target) : minf(wider, maxf(window, target))
  if (r32(path + STATE) === PROBE_RTT) wider = minf(wider, probeRttWindow(path))
  wf64(path + PATH_WINDOW, minf(wider, WINDOW_MAX))
}
