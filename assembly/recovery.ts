/**
 * Loss recovery in the manner of RFC 9002: what acknowledgements say about sent packets, when a
 * packet counts as lost, and what a probe carries.
 */
import {
  congestionAckBegin,
  congestionAckEnd,
  congestionCollapsed,
  congestionEpisode,
  congestionLost,
  congestionMarked,
  congestionPacketAcked,
  congestionSpurious,
  congestionUndo,
  SAMPLE_SENT_AT,
} from './congestion'
import {
  addControl,
  CN_CONTROL,
  CN_COUNT_LOST,
  CN_COUNT_PACKETS_SENT,
  CN_COUNT_PROBES,
  CN_LAST_SENT,
  CN_PEER_ACK_DELAY,
  CONTROL_PING,
  probeTimeout,
  wantSend,
} from './connection'
import { ecnAckDone, ecnAcked } from './ecn'
import { count, ENDPOINT, tell } from './endpoint'
import {
  CONNECTION_SILENT,
  COUNT_PACKETS_LOST,
  COUNT_PACKETS_SPURIOUS,
  COUNT_PROBES,
} from './layout'
import { mtuAcked, mtuLost, mtuProbeAcked, mtuProbeLost } from './mtu'
import {
  advanceBase,
  dropRecords,
  heldFrom,
  makeRoom,
  NO_STREAM,
  PATH_ACKED,
  PATH_BASE,
  PATH_EPISODE_AT,
  PATH_EPISODE_BEFORE,
  PATH_EPISODE_LOST,
  PATH_FLOOR,
  PATH_IN_FLIGHT,
  PATH_IN_FLIGHT_COUNT,
  PATH_IS_REORDERED,
  PATH_LARGEST_ACKED,
  PATH_LARGEST_BEFORE,
  PATH_LAST_ELICITING,
  PATH_LOSS_TIME,
  PATH_NEXT,
  PATH_PROBE_COUNT,
  PATH_PROBES,
  PATH_RECEIVED,
  PATH_REORDER_EPISODES,
  PATH_REORDER_WINDOW,
  PATH_RTT_LATEST,
  PATH_RTT_MIN,
  PATH_RTT_SMOOTHED,
  PATH_RTT_VARIANCE,
  RECORD_CONTROL,
  RECORD_FIN,
  RECORD_LENGTH,
  RECORD_NEXT,
  RECORD_OFFSET,
  RECORD_STREAM,
  SENT_ACKED,
  SENT_AT,
  SENT_BYTES,
  SENT_CONTROL,
  SENT_IS_MTU_PROBE,
  SENT_MORE,
  SENT_RECORD,
  SENT_STATE,
  STATE_ACKED,
  STATE_IN_FLIGHT,
  STATE_LOST,
  sentEntry,
} from './path'
import {
  add32,
  addf64,
  div,
  maxf,
  maxi,
  minf,
  type ptr,
  r8,
  r32,
  rf64,
  w8,
  w32,
  wf64,
} from './prelude'
import {
  RANGE_END,
  RANGES_HEAD,
  rangesAdd,
  rangesDropHead,
  rangesNextHeld,
  rangesNextMissing,
  rangesRemove,
} from './ranges'
import { onControlAcked, onControlLost, streamFind } from './stream'
import { onDataAcked, onDataLost, relieveIfEasy } from './stream-send'

/** RFC 9002 §6.1.1. */
const PACKET_THRESHOLD: f64 = 3.0
/** RFC 9002 §6.1.2: 9/8 of a round trip, at least the host's timer grain. */
const TIME_THRESHOLD: f64 = 1.125
const GRANULARITY: f64 = 1000.0
/** RFC 8985 §6.2: episodes after which reordering is forgotten. */
const REORDER_EPISODES: i32 = 16
/** What was that late once may be a little later the next time. */
const REORDER_MARGIN: f64 = 1.25
/** RFC 9002 §7.6.1: probe timeouts that make congestion persistent. */
const PERSISTENT_PROBES: f64 = 3.0
const EPISODE_MARKED: i32 = 1 << 30

// ── Acknowledgements ─────────────────────────────────────────────────────────────────────────────

/** RFC 9002 §5.3. */
function sampleRtt(cn: ptr, path: ptr, sample: f64, ackDelay: f64): void {
  const least: f64 = minf(rf64(path + PATH_RTT_MIN), sample)
  wf64(path + PATH_RTT_MIN, least)
  wf64(path + PATH_RTT_LATEST, sample)
  const smoothed: f64 = rf64(path + PATH_RTT_SMOOTHED)
  if (smoothed === 0.0) {
    wf64(path + PATH_RTT_SMOOTHED, maxf(sample, 1.0))
    wf64(path + PATH_RTT_VARIANCE, sample * 0.5)
    return
  }
  let adjusted: f64 = sample
  const delay: f64 = minf(ackDelay, rf64(cn + CN_PEER_ACK_DELAY))
  if (sample >= least + delay) adjusted = sample - delay
  const off: f64 = smoothed > adjusted ? smoothed - adjusted : adjusted - smoothed
  wf64(path + PATH_RTT_VARIANCE, rf64(path + PATH_RTT_VARIANCE) * 0.75 + off * 0.25)
  wf64(path + PATH_RTT_SMOOTHED, smoothed * 0.875 + adjusted * 0.125)
}

/** The handshake took one packet each way: its round trip is the first sample. */
export function sampleHandshake(cn: ptr, path: ptr, now: f64): void {
  // Of two packets it is not known which one was answered.
  if (rf64(cn + CN_COUNT_PACKETS_SENT) !== 1.0) return
  sampleRtt(cn, path, maxf(now - rf64(cn + CN_LAST_SENT), 0.0), 0.0)
}

function recordAcked(cn: ptr, record: ptr): void {
  const st: ptr = streamFind(cn, r32(record + RECORD_STREAM))
  if (st === 0) return
  const length: i32 = r32(record + RECORD_LENGTH)
  const control: i32 = r32(record + RECORD_CONTROL)
  if (control !== 0) onControlAcked(st, control)
  else
    onDataAcked(st, rf64(record + RECORD_OFFSET), length & ~RECORD_FIN, (length & RECORD_FIN) !== 0)
}

function recordLost(cn: ptr, record: ptr): void {
  const st: ptr = streamFind(cn, r32(record + RECORD_STREAM))
  if (st === 0) return
  const length: i32 = r32(record + RECORD_LENGTH)
  const control: i32 = r32(record + RECORD_CONTROL)
  if (control !== 0) onControlLost(st, control)
  else
    onDataLost(st, rf64(record + RECORD_OFFSET), length & ~RECORD_FIN, (length & RECORD_FIN) !== 0)
}

/** One packet of ours arrived. */
function packetAcked(cn: ptr, path: ptr, entry: ptr, number: f64, now: f64): void {
  const state: i32 = r8(entry + SENT_STATE)
  if (state === STATE_LOST) packetWasLate(cn, path, entry)
  else if (state === STATE_IN_FLIGHT) {
    congestionPacketAcked(path, entry, now)
    add32(path + PATH_IN_FLIGHT, -r32(entry + SENT_BYTES))
    add32(path + PATH_IN_FLIGHT_COUNT, -1)
  } else return
  ecnAcked(path, number)
  if (number < rf64(path + PATH_LARGEST_BEFORE)) wasOvertaken(path, now - rf64(entry + SENT_AT))
  w8(entry + SENT_STATE, STATE_ACKED)
  if (r8(entry + SENT_IS_MTU_PROBE) !== 0) mtuProbeAcked(path, r32(entry + SENT_BYTES))
  mtuAcked(path, number, r32(entry + SENT_BYTES))
  // The peer has our acknowledgements up to here: they need not be repeated.
  const known: f64 = rf64(entry + SENT_ACKED)
  if (known >= 0.0) forgetReceived(cn, path, known)
  if (r32(entry + SENT_RECORD + RECORD_STREAM) !== NO_STREAM) recordAcked(cn, entry + SENT_RECORD)
  for (let r: ptr = r32(entry + SENT_MORE); r !== 0; r = r32(r + RECORD_NEXT)) recordAcked(cn, r)
  dropRecords(cn, entry)
}

/** It counted as lost and was only late: what it carried need not be sent again. */
function packetWasLate(cn: ptr, path: ptr, entry: ptr): void {
  if (r8(entry + SENT_IS_MTU_PROBE) !== 0) return
  count(r32(cn + ENDPOINT), COUNT_PACKETS_SPURIOUS, 1.0)
  congestionSpurious(path, r32(entry + SENT_BYTES))
  if (rf64(entry + SENT_AT) <= rf64(path + PATH_EPISODE_BEFORE)) return
  if (add32(path + PATH_EPISODE_LOST, -1) === 0) congestionUndo(path)
}

/** Later packets arrived before this one, which took `delay`: the next such need not be lost. */
function wasOvertaken(path: ptr, delay: f64): void {
  const late: f64 = (delay - roundTrip(path)) * REORDER_MARGIN
  w32(path + PATH_IS_REORDERED, 1)
  w32(path + PATH_REORDER_EPISODES, REORDER_EPISODES)
  const wider: f64 = minf(late, rf64(path + PATH_RTT_SMOOTHED))
  wf64(path + PATH_REORDER_WINDOW, maxf(rf64(path + PATH_REORDER_WINDOW), wider))
}

/** Drops received packet numbers below `number`; they count as seen from now on. */
function forgetReceived(cn: ptr, path: ptr, number: f64): void {
  const set: ptr = path + PATH_RECEIVED
  const floor: f64 = rangesNextMissing(set, number)
  while (r32(set + RANGES_HEAD) !== 0 && rf64(r32(set + RANGES_HEAD) + RANGE_END) < floor) {
    rangesDropHead(cn, set)
  }
  wf64(path + PATH_FLOOR, maxf(rf64(path + PATH_FLOOR), number))
}

/**
 * Numbers [start, end) arrived. Only what is news costs time: ranges that earlier ACK frames named
 * already are skipped as wholes.
 */
export function rangeAcked(cn: ptr, path: ptr, start: f64, end: f64, now: f64): void {
  const set: ptr = path + PATH_ACKED
  let number: f64 = maxf(start, heldFrom(path))
  while (number < end) {
    number = rangesNextMissing(set, number)
    if (number >= end) return
    const stop: f64 = rangesNextHeld(set, number, end)
    const from: f64 = number
    while (number < stop) {
      packetAcked(cn, path, sentEntry(path, number), number, now)
      number += 1.0
    }
    rangesAdd(cn, set, from, stop)
  }
}

/** An ACK frame begins. Takes the round-trip time if its largest number is news. */
export function ackBegin(cn: ptr, path: ptr, largest: f64, ackDelay: f64, now: f64): void {
  congestionAckBegin(path)
  wf64(path + PATH_LARGEST_BEFORE, rf64(path + PATH_LARGEST_ACKED))
  if (largest <= rf64(path + PATH_LARGEST_ACKED)) return
  wf64(path + PATH_LARGEST_ACKED, largest)
  if (largest < heldFrom(path)) return
  const entry: ptr = sentEntry(path, largest)
  if (r8(entry + SENT_STATE) !== STATE_IN_FLIGHT) return
  sampleRtt(cn, path, maxf(now - rf64(entry + SENT_AT), 0.0), ackDelay)
}

/** After all ranges of an ACK frame: back-off ends, losses are found. */
export function ackDone(cn: ptr, path: ptr, now: f64): void {
  w32(path + PATH_PROBE_COUNT, 0)
  detectLosses(cn, path, now)
  const congested: f64 = ecnAckDone(path)
  if (congested > 0.0) heedMarks(path, congested, now)
  congestionAckEnd(path, now)
  advanceBase(path)
  rangesRemove(cn, path + PATH_ACKED, 0.0, heldFrom(path))
  relieveIfEasy(cn)
  wantSend(cn)
}

// ── Losses ───────────────────────────────────────────────────────────────────────────────────────

function roundTrip(path: ptr): f64 {
  return maxf(rf64(path + PATH_RTT_LATEST), rf64(path + PATH_RTT_SMOOTHED))
}

/** A packet is lost when a later one has arrived and this time has passed since it left. */
function lossDelay(path: ptr): f64 {
  const rtt: f64 = roundTrip(path)
  return maxf(maxf(rtt * TIME_THRESHOLD, rtt + rf64(path + PATH_REORDER_WINDOW)), GRANULARITY)
}

/** What a packet carried is due again. */
function resend(cn: ptr, entry: ptr): void {
  if (r32(entry + SENT_RECORD + RECORD_STREAM) !== NO_STREAM) recordLost(cn, entry + SENT_RECORD)
  for (let r: ptr = r32(entry + SENT_MORE); r !== 0; r = r32(r + RECORD_NEXT)) recordLost(cn, r)
  const control: i32 = r32(entry + SENT_CONTROL)
  if (control !== 0) addControl(cn, control)
}

function packetLost(cn: ptr, path: ptr, entry: ptr, number: f64, now: f64): void {
  w8(entry + SENT_STATE, STATE_LOST)
  add32(path + PATH_IN_FLIGHT, -r32(entry + SENT_BYTES))
  add32(path + PATH_IN_FLIGHT_COUNT, -1)
  // RFC 9000 §14.4: a probe that does not arrive says nothing of congestion.
  if (r8(entry + SENT_IS_MTU_PROBE) !== 0) return
  mtuLost(path, number, r32(entry + SENT_BYTES))
  count(r32(cn + ENDPOINT), COUNT_PACKETS_LOST, 1.0)
  addf64(cn + CN_COUNT_LOST, 1.0)
  resend(cn, entry)
  congestionLost(path, r32(entry + SENT_BYTES))
  if (rf64(entry + SENT_AT) > rf64(path + PATH_EPISODE_AT)) beginEpisode(path, now)
  add32(path + PATH_EPISODE_LOST, 1)
}

/** RFC 9002 §7.1, RFC 3168 §5: packets that a queue has marked mean what dropped ones would. */
function heedMarks(path: ptr, packets: f64, now: f64): void {
  congestionMarked(path, packets)
  if (rf64(path + SAMPLE_SENT_AT) <= rf64(path + PATH_EPISODE_AT)) return
  beginEpisode(path, now)
  // However many of its losses were only late: there was congestion.
  w32(path + PATH_EPISODE_LOST, EPISODE_MARKED)
}

/** What is lost of the packets that are out now is one sign of congestion, not many. */
function beginEpisode(path: ptr, now: f64): void {
  wf64(path + PATH_EPISODE_BEFORE, rf64(path + PATH_EPISODE_AT))
  wf64(path + PATH_EPISODE_AT, now)
  w32(path + PATH_EPISODE_LOST, 0)
  congestionEpisode(path)
  if (r32(path + PATH_REORDER_EPISODES) === 0) return
  if (add32(path + PATH_REORDER_EPISODES, -1) > 0) return
  w32(path + PATH_IS_REORDERED, 0)
  wf64(path + PATH_REORDER_WINDOW, 0.0)
}

/**
 * RFC 9002 §6.1: older than what was acknowledged, by packets or by time; by time alone once packets
 * were seen to overtake each other (RFC 8985 §6.2).
 */
export function detectLosses(cn: ptr, path: ptr, now: f64): void {
  wf64(path + PATH_LOSS_TIME, 0.0)
  const largest: f64 = rf64(path + PATH_LARGEST_ACKED)
  if (r32(path + PATH_IN_FLIGHT_COUNT) === 0) return
  const delay: f64 = lossDelay(path)
  const isReordered: bool = r32(path + PATH_IS_REORDERED) !== 0
  const threshold: f64 = isReordered ? -Infinity : largest - PACKET_THRESHOLD
  let firstLost: f64 = -1.0
  let longest: f64 = 0.0
  let mtuProbe: i32 = 0
  let isProbeAlone: bool = true
  let number: f64 = rf64(path + PATH_BASE)
  while (number < largest) {
    const entry: ptr = sentEntry(path, number)
    const state: i32 = r8(entry + SENT_STATE)
    // Only losses without an arrival between them make congestion persistent.
    if (state === STATE_ACKED) firstLost = -1.0
    if (state === STATE_IN_FLIGHT) {
      const sentAt: f64 = rf64(entry + SENT_AT)
      // Later packets were sent later and are nearer: none of them can be lost if this one is not.
      // The same sum as in the timer: rounded differently, it could ring for ever and lose nothing.
      if (sentAt + delay > now && number > threshold) {
        wf64(path + PATH_LOSS_TIME, sentAt + delay)
        break
      }
      packetLost(cn, path, entry, number, now)
      if (r8(entry + SENT_IS_MTU_PROBE) !== 0) mtuProbe = r32(entry + SENT_BYTES)
      else {
        isProbeAlone = false
        if (firstLost < 0.0) firstLost = sentAt
        longest = maxf(longest, sentAt - firstLost)
      }
    }
    number += 1.0
  }
  if (mtuProbe !== 0) mtuProbeLost(path, mtuProbe, isProbeAlone)
  if (longest > probeTimeout(cn, path) * PERSISTENT_PROBES) congestionCollapsed(path)
}

/**
 * How many of the packets in flight timeouts before this one were about: a receiver that is short of
 * memory has no room for the oldest if what closes its gap was sent again in a later one.
 */
function notTheSame(path: ptr): i32 {
  const before: i32 = (r32(path + PATH_PROBE_COUNT) - 1) * 2
  const inFlight: i32 = maxi(r32(path + PATH_IN_FLIGHT_COUNT), 1)
  return before - div(before, inFlight) * inFlight
}

/** What a packet in flight carried is due again; it stays in flight, unless its place is needed. */
function probeFor(cn: ptr, path: ptr, entry: ptr, number: f64, isFull: bool, now: f64): void {
  if (!isFull) {
    resend(cn, entry)
    return
  }
  packetLost(cn, path, entry, number, now)
  if (r8(entry + SENT_IS_MTU_PROBE) !== 0) mtuProbeLost(path, r32(entry + SENT_BYTES), false)
}

/** Nothing was acknowledged for a probe timeout: two packets leave in spite of the window. */
export function probe(cn: ptr, path: ptr, now: f64): void {
  add32(path + PATH_PROBE_COUNT, 1)
  w32(path + PATH_PROBES, 2)
  if (r32(path + PATH_PROBE_COUNT) >= 2) tell(cn, CONNECTION_SILENT)
  addf64(cn + CN_COUNT_PROBES, 1.0)
  count(r32(cn + ENDPOINT), COUNT_PROBES, 1.0)
  // Also when nothing can leave: the next timeout counts from here, or it would be due at once.
  wf64(path + PATH_LAST_ELICITING, now)
  // RFC 9002 §6.2.4: new data, or the oldest that may be missing; the packets stay in flight. When
  // no more packets can be remembered, those two have to be given up to make room for the probes.
  advanceBase(path)
  const isFull: bool = !makeRoom(path)
  let number: f64 = rf64(path + PATH_BASE)
  let skipped: i32 = isFull ? 0 : notTheSame(path)
  let packets: i32 = 0
  while (number < rf64(path + PATH_NEXT) && packets < 2) {
    const entry: ptr = sentEntry(path, number)
    if (r8(entry + SENT_STATE) === STATE_IN_FLIGHT) {
      if (skipped > 0) skipped -= 1
      else {
        probeFor(cn, path, entry, number, isFull, now)
        packets += 1
      }
    }
    number += 1.0
  }
  w32(cn + CN_CONTROL, r32(cn + CN_CONTROL) | CONTROL_PING)
  wantSend(cn)
}

/** When `detectLosses` or `probe` is due, Infinity when nothing is in flight. */
export function lossDeadline(interval: f64, path: ptr): f64 {
  const lossTime: f64 = rf64(path + PATH_LOSS_TIME)
  if (lossTime > 0.0) return lossTime
  if (r32(path + PATH_IN_FLIGHT_COUNT) === 0) return Infinity
  return rf64(path + PATH_LAST_ELICITING) + interval
}
