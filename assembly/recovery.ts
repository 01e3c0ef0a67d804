/**
 * Loss recovery in the manner of RFC 9002: what acknowledgements say about sent packets, when a
 * packet counts as lost, and what a probe carries.
 */
import { congestionAcked, congestionCollapsed, congestionLost } from './congestion'
import {
  addControl,
  CN_CONTROL,
  CN_COUNT_LOST,
  CN_COUNT_PROBES,
  CN_PEER_ACK_DELAY,
  CONTROL_MAX_DATA,
  CONTROL_MAX_STREAMS,
  CONTROL_PING,
  probeTimeout,
  wantSend,
} from './connection'
import { count, ENDPOINT, tell } from './endpoint'
import {
  CONNECTION_SILENT,
  COUNT_PACKETS_LOST,
  COUNT_PACKETS_SPURIOUS,
  COUNT_PROBES,
} from './layout'
import {
  advanceBase,
  dropRecords,
  heldFrom,
  makeRoom,
  NO_STREAM,
  PATH_ACKED,
  PATH_BASE,
  PATH_FLOOR,
  PATH_IN_FLIGHT,
  PATH_IN_FLIGHT_COUNT,
  PATH_LARGEST_ACKED,
  PATH_LAST_ELICITING,
  PATH_LOSS_TIME,
  PATH_NEXT,
  PATH_PROBE_COUNT,
  PATH_PROBES,
  PATH_RECEIVED,
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
  SENT_MORE,
  SENT_RECORD,
  SENT_STATE,
  STATE_ACKED,
  STATE_IN_FLIGHT,
  STATE_LOST,
  sentEntry,
} from './path'
import { add32, addf64, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'
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
/** RFC 9002 §7.6.1: probe timeouts that make congestion persistent. */
const PERSISTENT_PROBES: f64 = 3.0

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
function packetAcked(cn: ptr, path: ptr, entry: ptr, flight: i32): void {
  const state: i32 = r32(entry + SENT_STATE)
  if (state === STATE_LOST) {
    // It was only late: what it carried need not be sent again.
    count(r32(cn + ENDPOINT), COUNT_PACKETS_SPURIOUS, 1.0)
  } else if (state === STATE_IN_FLIGHT) {
    const bytes: i32 = r32(entry + SENT_BYTES)
    congestionAcked(path, bytes, rf64(entry + SENT_AT), flight)
    add32(path + PATH_IN_FLIGHT, -bytes)
    add32(path + PATH_IN_FLIGHT_COUNT, -1)
  } else return
  w32(entry + SENT_STATE, STATE_ACKED)
  // The peer has our acknowledgements up to here: they need not be repeated.
  const known: f64 = rf64(entry + SENT_ACKED)
  if (known >= 0.0) forgetReceived(cn, path, known)
  if (r32(entry + SENT_RECORD + RECORD_STREAM) !== NO_STREAM) recordAcked(cn, entry + SENT_RECORD)
  for (let r: ptr = r32(entry + SENT_MORE); r !== 0; r = r32(r + RECORD_NEXT)) recordAcked(cn, r)
  dropRecords(cn, entry)
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
export function rangeAcked(cn: ptr, path: ptr, start: f64, end: f64, flight: i32): void {
  const set: ptr = path + PATH_ACKED
  let number: f64 = maxf(start, heldFrom(path))
  while (number < end) {
    number = rangesNextMissing(set, number)
    if (number >= end) return
    const stop: f64 = rangesNextHeld(set, number, end)
    const from: f64 = number
    while (number < stop) {
      packetAcked(cn, path, sentEntry(path, number), flight)
      number += 1.0
    }
    rangesAdd(cn, set, from, stop)
  }
}

/** Takes the round-trip time if the largest number of an ACK frame is news. */
export function largestAcked(cn: ptr, path: ptr, largest: f64, ackDelay: f64, now: f64): void {
  if (largest <= rf64(path + PATH_LARGEST_ACKED)) return
  wf64(path + PATH_LARGEST_ACKED, largest)
  if (largest < heldFrom(path)) return
  const entry: ptr = sentEntry(path, largest)
  if (r32(entry + SENT_STATE) !== STATE_IN_FLIGHT) return
  sampleRtt(cn, path, maxf(now - rf64(entry + SENT_AT), 0.0), ackDelay)
}

/** After all ranges of an ACK frame: back-off ends, losses are found. */
export function ackDone(cn: ptr, path: ptr, now: f64): void {
  w32(path + PATH_PROBE_COUNT, 0)
  detectLosses(cn, path, now)
  advanceBase(path)
  rangesRemove(cn, path + PATH_ACKED, 0.0, heldFrom(path))
  relieveIfEasy(cn)
  wantSend(cn)
}

// ── Losses ───────────────────────────────────────────────────────────────────────────────────────

function lossDelay(path: ptr): f64 {
  const rtt: f64 = maxf(rf64(path + PATH_RTT_LATEST), rf64(path + PATH_RTT_SMOOTHED))
  return maxf(rtt * TIME_THRESHOLD, GRANULARITY)
}

/** What a packet carried is due again. */
function resend(cn: ptr, entry: ptr): void {
  if (r32(entry + SENT_RECORD + RECORD_STREAM) !== NO_STREAM) recordLost(cn, entry + SENT_RECORD)
  for (let r: ptr = r32(entry + SENT_MORE); r !== 0; r = r32(r + RECORD_NEXT)) recordLost(cn, r)
  const control: i32 = r32(entry + SENT_CONTROL) & (CONTROL_MAX_DATA | CONTROL_MAX_STREAMS)
  if (control !== 0) addControl(cn, control)
}

function packetLost(cn: ptr, path: ptr, entry: ptr, now: f64): void {
  w32(entry + SENT_STATE, STATE_LOST)
  add32(path + PATH_IN_FLIGHT, -r32(entry + SENT_BYTES))
  add32(path + PATH_IN_FLIGHT_COUNT, -1)
  count(r32(cn + ENDPOINT), COUNT_PACKETS_LOST, 1.0)
  addf64(cn + CN_COUNT_LOST, 1.0)
  resend(cn, entry)
  congestionLost(path, rf64(entry + SENT_AT), now)
}

/** RFC 9002 §6.1: older than what was acknowledged, by packets or by time. */
export function detectLosses(cn: ptr, path: ptr, now: f64): void {
  wf64(path + PATH_LOSS_TIME, 0.0)
  const largest: f64 = rf64(path + PATH_LARGEST_ACKED)
  if (r32(path + PATH_IN_FLIGHT_COUNT) === 0) return
  const delay: f64 = lossDelay(path)
  let firstLost: f64 = -1.0
  let lastLost: f64 = -1.0
  let number: f64 = rf64(path + PATH_BASE)
  while (number < largest) {
    const entry: ptr = sentEntry(path, number)
    if (r32(entry + SENT_STATE) === STATE_IN_FLIGHT) {
      const sentAt: f64 = rf64(entry + SENT_AT)
      // Later packets were sent later and are nearer: none of them can be lost if this one is not.
      // The same sum as in the timer: rounded differently, it could ring for ever and lose nothing.
      if (sentAt + delay > now && number > largest - PACKET_THRESHOLD) {
        wf64(path + PATH_LOSS_TIME, sentAt + delay)
        break
      }
      if (firstLost < 0.0) firstLost = sentAt
      lastLost = sentAt
      packetLost(cn, path, entry, now)
    }
    number += 1.0
  }
  if (lastLost - firstLost > probeTimeout(cn, path) * PERSISTENT_PROBES) congestionCollapsed(path)
}

/** Nothing was acknowledged for a probe timeout: two packets leave in spite of the window. */
export function probe(cn: ptr, path: ptr, now: f64): void {
  add32(path + PATH_PROBE_COUNT, 1)
  w32(path + PATH_PROBES, 2)
  if (r32(path + PATH_PROBE_COUNT) === 2) tell(cn, CONNECTION_SILENT)
  addf64(cn + CN_COUNT_PROBES, 1.0)
  count(r32(cn + ENDPOINT), COUNT_PROBES, 1.0)
  // Also when nothing can leave: the next timeout counts from here, or it would be due at once.
  wf64(path + PATH_LAST_ELICITING, now)
  // RFC 9002 §6.2.4: new data, or the oldest that may be missing; the packets stay in flight. When
  // no more packets can be remembered, those two have to be given up to make room for the probes.
  advanceBase(path)
  const isFull: bool = !makeRoom(path)
  let number: f64 = rf64(path + PATH_BASE)
  let packets: i32 = 0
  while (number < rf64(path + PATH_NEXT) && packets < 2) {
    const entry: ptr = sentEntry(path, number)
    if (r32(entry + SENT_STATE) === STATE_IN_FLIGHT) {
      if (isFull) packetLost(cn, path, entry, now)
      else resend(cn, entry)
      packets += 1
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
