/**
 * Packet size of a path, found by probing (RFC 8899): a path starts with what nearly every way
 * carries, and tries larger packets once it has more to send than fits one. A probe is a PING with
 * padding: its loss says that the way is too narrow, not that it is full. A way that swallows large
 * packets while small ones arrive gets small ones again at once.
 */
import { count, ENDPOINT } from './endpoint'
import { COUNT_MTU_PROBES, COUNT_MTU_SHRUNK } from './layout'
import { LOCAL_RTT, trainBytes } from './pacer'
import {
  PATH_ADDRESS,
  PATH_CONNECTION,
  PATH_MTU_AT,
  PATH_MTU_BAD,
  PATH_MTU_BIG_ACKED,
  PATH_MTU_BIG_LOST,
  PATH_MTU_INTERVAL,
  PATH_MTU_IS_WANTED,
  PATH_MTU_MISSES,
  PATH_MTU_MOST,
  PATH_MTU_PROBE,
  PATH_PACKET_BYTES,
  PATH_PROBE_COUNT,
  PATH_PROBES,
  PATH_RTT_MIN,
} from './path'
import { add32, maxf, maxi, minf, mini, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { INITIAL_SIZE, INITIAL_SIZE_FLOOR } from './wire'

/** What links carry, IP and UDP headers included: the usual, jumbo frames, and IP's own limit. */
const LINK_USUAL: i32 = 1500
const LINK_JUMBO: i32 = 9000
const LINK_MAX: i32 = 65535
/** Below the usual one: tunnels, and what IPv6 asks of every link. */
const LINK_TUNNEL: i32 = 1400
const LINK_LEAST: i32 = 1280
const HEADERS_V4: i32 = 28
const HEADERS_V6: i32 = 48

/** The search ends when what is known and what failed are so near; below 1,200 four times that. */
const GRAIN: i32 = 32
/** Two probes that are lost alone say that a size does not fit, or eight that are lost among others. */
const MISS_ALONE: i32 = 4
const MISS_AMONG: i32 = 1
const MISSES_MAX: i32 = 8
/** RFC 8899 §5.1.1: after so long the way may have become wider; sooner at first: it was chance. */
const RAISE_INTERVAL: f64 = 600000000.0
const RAISE_FIRST: f64 = 5000000.0
const RAISE_GROWTH: f64 = 4.0
/** RFC 8899 §4.3: so many large packets in a row are swallowed while small ones arrive. */
const BIG_LOST_MAX: i32 = 3

/** What a path falls back to. */
function baseOf(size: i32): i32 {
  return size > INITIAL_SIZE ? INITIAL_SIZE : INITIAL_SIZE_FLOOR
}

/** IP and UDP headers on this path. */
function headers(path: ptr): i32 {
  const isMapped: bool = r32(path + PATH_ADDRESS) === 0 && r32(path + PATH_ADDRESS + 4) === 0
  return isMapped && r32(path + PATH_ADDRESS + 8) === -65536 ? HEADERS_V4 : HEADERS_V6
}

/** The size to try next, 0: the search is over. */
function candidate(path: ptr): i32 {
  const good: i32 = r32(path + PATH_PACKET_BYTES)
  const bad: i32 = r32(path + PATH_MTU_BAD)
  const most: i32 = r32(path + PATH_MTU_MOST)
  const over: i32 = headers(path)
  const usual: i32 = LINK_USUAL - over
  // Larger than usual: what links have, nothing in between.
  if (good >= usual) {
    const next: i32 = mini(good < LINK_JUMBO - over ? LINK_JUMBO - over : LINK_MAX - over, most)
    return next > good && next < bad ? next : 0
  }
  if (good < INITIAL_SIZE && INITIAL_SIZE < bad) return mini(INITIAL_SIZE, most)
  if (usual < bad) return mini(usual, most)
  if (good < LINK_TUNNEL - over && LINK_TUNNEL - over < bad) return LINK_TUNNEL - over
  if (good < LINK_LEAST - over && LINK_LEAST - over < bad) return LINK_LEAST - over
  // Between these two is nothing that links have.
  if (good === LINK_LEAST - over) return 0
  const grain: i32 = good < INITIAL_SIZE ? 4 * GRAIN : GRAIN
  return bad - good > grain ? (good + bad) >> 1 : 0
}

/** Begins anew, from what the path carries on. Nothing larger than `most` is ever tried. */
export function mtuInit(path: ptr, most: i32): void {
  w32(path + PATH_MTU_MOST, most)
  w32(path + PATH_PACKET_BYTES, mini(r32(path + PATH_PACKET_BYTES), most))
  w32(path + PATH_MTU_BAD, most + 1)
  w32(path + PATH_MTU_PROBE, 0)
  w32(path + PATH_MTU_MISSES, 0)
  w32(path + PATH_MTU_BIG_LOST, 0)
  wf64(path + PATH_MTU_BIG_ACKED, -1.0)
  wf64(path + PATH_MTU_AT, 0.0)
  wf64(path + PATH_MTU_INTERVAL, RAISE_FIRST)
}

/** How large the next packet may be. */
export function packetRoom(path: ptr): i32 {
  const size: i32 = r32(path + PATH_PACKET_BYTES)
  // The second of two probes is small enough for a way that has become narrower.
  if (r32(path + PATH_PROBES) !== 1) return size
  const unanswered: i32 = r32(path + PATH_PROBE_COUNT)
  if (unanswered === 0) return size
  return mini(size, unanswered > 1 ? INITIAL_SIZE_FLOOR : INITIAL_SIZE)
}

/** A packet leaves that has no room for more. */
export function mtuWanted(path: ptr): void {
  w32(path + PATH_MTU_IS_WANTED, 1)
}

/** Size of the probe that is due, 0: none. */
export function mtuProbeDue(path: ptr, now: f64): i32 {
  if (r32(path + PATH_MTU_IS_WANTED) === 0 || now < rf64(path + PATH_MTU_AT)) return 0
  if (r32(path + PATH_MTU_PROBE) !== 0 || r32(path + PATH_PROBE_COUNT) !== 0) return 0
  let size: i32 = candidate(path)
  if (size === 0 && rf64(path + PATH_MTU_AT) > 0.0) {
    w32(path + PATH_MTU_BAD, r32(path + PATH_MTU_MOST) + 1)
    wf64(path + PATH_MTU_AT, 0.0)
    size = candidate(path)
  }
  if (size === 0) {
    const interval: f64 = rf64(path + PATH_MTU_INTERVAL)
    wf64(path + PATH_MTU_AT, now + interval)
    wf64(path + PATH_MTU_INTERVAL, minf(interval * RAISE_GROWTH, RAISE_INTERVAL))
    return 0
  }
  // What is longer than a train makes others on the way wait.
  const isPaced: bool = rf64(path + PATH_RTT_MIN) >= LOCAL_RTT
  return size > LINK_USUAL && isPaced && f64(size) > trainBytes(path) ? 0 : size
}

/** A probe leaves. */
export function mtuProbeSent(path: ptr, size: i32): void {
  w32(path + PATH_MTU_PROBE, size)
  count(r32(r32(path + PATH_CONNECTION) + ENDPOINT), COUNT_MTU_PROBES, 1.0)
}

/** A probe arrived: the path carries its size. */
export function mtuProbeAcked(path: ptr, size: i32): void {
  if (size === r32(path + PATH_MTU_PROBE)) w32(path + PATH_MTU_PROBE, 0)
  w32(path + PATH_MTU_MISSES, 0)
  if (size <= r32(path + PATH_PACKET_BYTES) || size > r32(path + PATH_MTU_MOST)) return
  w32(path + PATH_PACKET_BYTES, size)
  w32(path + PATH_MTU_BAD, maxi(r32(path + PATH_MTU_BAD), size + 1))
}

/** A probe was lost, alone or together with what does fit: then it may have been chance. */
export function mtuProbeLost(path: ptr, size: i32, isAlone: bool): void {
  // It may be one from before the path was found to be narrower.
  if (size !== r32(path + PATH_MTU_PROBE)) return
  w32(path + PATH_MTU_PROBE, 0)
  if (add32(path + PATH_MTU_MISSES, isAlone ? MISS_ALONE : MISS_AMONG) < MISSES_MAX) return
  w32(path + PATH_MTU_MISSES, 0)
  w32(path + PATH_MTU_BAD, size)
}

/** A packet arrived. */
export function mtuAcked(path: ptr, number: f64, size: i32): void {
  if (size <= baseOf(r32(path + PATH_PACKET_BYTES))) return
  wf64(path + PATH_MTU_BIG_ACKED, maxf(rf64(path + PATH_MTU_BIG_ACKED), number))
  w32(path + PATH_MTU_BIG_LOST, 0)
}

/**
 * A packet was lost. Later ones arrived, or that would not be known; when none of those was large,
 * time after time, large ones do not arrive any more.
 */
export function mtuLost(path: ptr, number: f64, size: i32): void {
  const good: i32 = r32(path + PATH_PACKET_BYTES)
  const base: i32 = baseOf(good)
  // Larger than the path is thought to carry: from before it was found to be narrower.
  if (size <= base || size > good || number < rf64(path + PATH_MTU_BIG_ACKED)) return
  if (add32(path + PATH_MTU_BIG_LOST, 1) < BIG_LOST_MAX) return
  w32(path + PATH_PACKET_BYTES, base)
  // It may have been chance: the size that failed is tried again, and nothing beyond it.
  w32(path + PATH_MTU_BAD, good + 1)
  w32(path + PATH_MTU_PROBE, 0)
  w32(path + PATH_MTU_MISSES, 0)
  w32(path + PATH_MTU_BIG_LOST, 0)
  wf64(path + PATH_MTU_AT, 0.0)
  wf64(path + PATH_MTU_INTERVAL, RAISE_FIRST)
  count(r32(r32(path + PATH_CONNECTION) + ENDPOINT), COUNT_MTU_SHRUNK, 1.0)
}
