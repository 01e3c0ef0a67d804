/**
 * Receiving: descriptors become datagrams, datagrams become packets of connections, or answers to
 * strangers. Nothing that a datagram says can make this throw.
 */
import { ackWanted } from './acknowledge'
import { emptyDeadline, HALF_OPEN_TIMEOUT, nextDeadline } from './builder'
import {
  addControl,
  arm,
  blockedDeadline,
  bury,
  CN_CONFIRMED,
  CN_CONNECT_TIMEOUT,
  CN_COUNT_BYTES_RECEIVED,
  CN_COUNT_PACKETS_RECEIVED,
  CN_FLAGS,
  CN_IDLE_TIMEOUT,
  CN_IS_CLIENT,
  CN_LAST_HEARD,
  CN_MESSAGE_IN,
  CN_MESSAGE_OUT,
  CN_PATHS,
  CN_RETRY_AT,
  CN_SAY_HANDSHAKE,
  CN_STARTED,
  CN_STATE,
  CN_TIMER,
  CONTROL_PING,
  connectionCreate,
  discard,
  dropMessage,
  forgetOriginal,
  pathOf,
  probeInterval,
  registerOriginal,
  registerRemote,
  STATE_CLOSING,
  STATE_CONNECTING,
  STATE_DRAINING,
  STATE_ESTABLISHED,
  STATE_HALF_OPEN,
  setState,
  tellClosed,
  wantSend,
} from './connection'
import { crc32c } from './crc32c'
import {
  count,
  EP_CIDS,
  EP_FLAGS,
  EP_HALF_OPEN_COUNT,
  EP_HALF_OPEN_MAX,
  EP_LISTENING,
  EP_NOW,
  EP_REPLIES,
  EP_REPLY_COUNT,
  EP_WHEEL,
  REPLIES_MAX,
  REPLY_SIZE,
  tell,
} from './endpoint'
import { CLOSED, closeConnection, ELICITING, heardAfterClose, readFrames, UNSTORED } from './frames'
import {
  ADDRESS_SIZE,
  CODE_CLOSED,
  CODE_CONNECT_TIMEOUT,
  CODE_IDLE_TIMEOUT,
  CODE_REFUSED,
  CODE_RESET,
  CODE_VERSION,
  CONNECTION_CONFIRMED,
  CONNECTION_HANDSHAKE,
  COUNT_BYTES_RECEIVED,
  COUNT_CONNECTIONS_ACCEPTED,
  COUNT_DATAGRAMS_RECEIVED,
  COUNT_DROPPED_CORRUPT,
  COUNT_DROPPED_DESCRIPTOR,
  COUNT_DROPPED_FOREIGN,
  COUNT_DROPPED_LIMIT,
  COUNT_DROPPED_MALFORMED,
  COUNT_DROPPED_MEMORY,
  COUNT_DROPPED_UNKNOWN,
  COUNT_DROPPED_VERSION,
  COUNT_PACKETS_DUPLICATE,
  COUNT_PACKETS_RECEIVED,
  COUNT_RESETS_RECEIVED,
  DESC_ADDRESS,
  DESC_COUNT,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_SEGMENT,
  DESC_SIZE,
  DESC_SOCKET,
  RX_ARENA,
  RX_ARENA_SIZE,
  RX_DESC,
} from './layout'
import { paceDeadline } from './pacer'
import { take } from './pages'
import {
  PATH_ACK_DUE,
  PATH_FLOOR,
  PATH_IN_FLIGHT_COUNT,
  PATH_LARGEST_RECEIVED,
  PATH_LARGEST_RECEIVED_AT,
  PATH_LAST_ELICITING,
  PATH_LOSS_TIME,
  PATH_PROBE_COUNT,
  PATH_RECEIVED,
} from './path'
import { addf64, copy, fill, maxf, type ptr, r8, r16, r32, rf64, w32, wf64 } from './prelude'
import {
  RANGE_END,
  RANGES_COUNT,
  RANGES_HEAD,
  rangesAdd,
  rangesContain,
  rangesDropHead,
} from './ranges'
import { detectLosses, probe, sampleHandshake } from './recovery'
import { streamsDestroy, streamsEstablished } from './stream'
import { askForCredit, relieve } from './stream-send'
import { tableFind } from './table'
import { wheelNext, wheelPop } from './wheel'
import {
  CRC_SIZE,
  expandNumber,
  FIRST_LONG,
  FIRST_OURS,
  INITIAL_SIZE_FLOOR,
  LONG_LENGTH,
  LONG_SIZE,
  LONG_SOURCE_CID,
  LONG_TYPE,
  LONG_VERSION,
  MESSAGE_SIZE_MAX,
  PACKET_CID,
  ROUTE_PROBE,
  SHORT_NUMBER,
  SHORT_PATH,
  SHORT_SIZE,
  TYPE_HANDSHAKE,
  TYPE_INITIAL,
  TYPE_REFUSE,
  TYPE_RESET,
  TYPE_VERSION,
  VARINT_MAX,
  VERSION,
} from './wire'

/** Received ranges that are remembered per path; older ones count as received. */
const RECEIVED_RANGES_MAX: i32 = 256

// ── Descriptors ──────────────────────────────────────────────────────────────────────────────────

/** Takes `descriptors` receive descriptors; gives how many were taken (all: events cannot be lost). */
export function endpointIngest(ep: ptr, now: f64, descriptors: i32): i32 {
  wf64(ep + EP_NOW, now)
  const most: i32 = descriptors > DESC_COUNT ? DESC_COUNT : descriptors
  for (let i: i32 = 0; i < most; i++) {
    const desc: ptr = RX_DESC + i * DESC_SIZE
    const start: ptr = r32(desc + DESC_POINTER)
    const length: i32 = r32(desc + DESC_LENGTH)
    const segment: i32 = r32(desc + DESC_SEGMENT)
    const offset: i32 = start - RX_ARENA
    if (
      offset < 0 ||
      offset > RX_ARENA_SIZE ||
      length < 0 ||
      length > RX_ARENA_SIZE - offset ||
      segment < 0
    ) {
      count(ep, COUNT_DROPPED_DESCRIPTOR, 1.0)
      continue
    }
    let p: ptr = start
    const end: ptr = start + length
    while (p < end) {
      const size: i32 = segment > 0 && segment < end - p ? segment : end - p
      datagram(ep, now, desc, p, size)
      p += size
    }
  }
  return most
}

function datagram(ep: ptr, now: f64, desc: ptr, p: ptr, size: i32): void {
  // A peer's machine wants to know whether this port is open (docs/protocol.md, "Route probe").
  if (size === 1 && r8(p) === ROUTE_PROBE) return
  count(ep, COUNT_DATAGRAMS_RECEIVED, 1.0)
  count(ep, COUNT_BYTES_RECEIVED, f64(size))
  const first: i32 = r8(p)
  if ((first & FIRST_OURS) !== FIRST_OURS) {
    count(ep, COUNT_DROPPED_FOREIGN, 1.0)
    return
  }
  if ((first & FIRST_LONG) !== 0) longPacket(ep, now, desc, p, size)
  else shortPacket(ep, now, desc, p, size)
}

function isIntact(p: ptr, size: i32): bool {
  return crc32c(p, size - CRC_SIZE) === r32(p + size - CRC_SIZE)
}

// ── Packets of connections ───────────────────────────────────────────────────────────────────────

function shortPacket(ep: ptr, now: f64, desc: ptr, p: ptr, size: i32): void {
  if (size < SHORT_SIZE + CRC_SIZE) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const found: i32 = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  if (found === 0 || (found & 3) !== 0) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    // Only what is intact is answered, and only with something shorter.
    if (found === 0 && size > LONG_SIZE + CRC_SIZE && isIntact(p, size)) {
      reply(ep, desc, TYPE_RESET, 0, 0, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
    }
    return
  }
  const cn: ptr = found
  if (!isIntact(p, size)) {
    count(ep, COUNT_DROPPED_CORRUPT, 1.0)
    return
  }
  const state: i32 = r32(cn + CN_STATE)
  if (state === STATE_CLOSING) {
    heardAfterClose(cn)
    return
  }
  const path: ptr = pathOf(cn, r8(p + SHORT_PATH))
  const isOpen: bool =
    state === STATE_ESTABLISHED || (state === STATE_HALF_OPEN && r32(cn + CN_MESSAGE_OUT) !== 0)
  if (!isOpen || path === 0) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  const largest: f64 = rf64(path + PATH_LARGEST_RECEIVED)
  const number: f64 = expandNumber(r32(p + SHORT_NUMBER), largest + 1.0)
  // A peer may jump ahead with every packet; beyond this, numbers are not exact any more.
  if (number > VARINT_MAX) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  if (number < rf64(path + PATH_FLOOR) || rangesContain(path + PATH_RECEIVED, number)) {
    // No packet is sent twice, so the network did this: an answer would be repeated as well, and on
    // a path that repeats everything answers to answers would never end.
    count(ep, COUNT_PACKETS_DUPLICATE, 1.0)
    return
  }
  wf64(cn + CN_LAST_HEARD, now)
  if ((r32(cn + CN_FLAGS) & CN_CONFIRMED) === 0) confirm(ep, cn)
  const result: i32 = readFrames(cn, path, p + SHORT_SIZE, p + size - CRC_SIZE, now)
  if (result === UNSTORED) {
    count(ep, COUNT_DROPPED_MEMORY, 1.0)
    wantSend(cn)
    return
  }
  count(ep, COUNT_PACKETS_RECEIVED, 1.0)
  addf64(cn + CN_COUNT_PACKETS_RECEIVED, 1.0)
  addf64(cn + CN_COUNT_BYTES_RECEIVED, f64(size))
  if (result < 0) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    fail(cn, -result, now)
    return
  }
  if ((result & CLOSED) !== 0) return
  noteReceived(cn, path, number, now)
  if ((result & ELICITING) !== 0) ackWanted(cn, path, number, largest, now)
  wantSend(cn)
}

function noteReceived(cn: ptr, path: ptr, number: f64, now: f64): void {
  const set: ptr = path + PATH_RECEIVED
  if (number > rf64(path + PATH_LARGEST_RECEIVED)) {
    wf64(path + PATH_LARGEST_RECEIVED, number)
    wf64(path + PATH_LARGEST_RECEIVED_AT, now)
  }
  if (r32(set + RANGES_COUNT) >= RECEIVED_RANGES_MAX) forgetLowest(cn, path)
  while (!rangesAdd(cn, set, number, number + 1.0) && r32(set + RANGES_HEAD) !== 0)
    forgetLowest(cn, path)
}

function forgetLowest(cn: ptr, path: ptr): void {
  const set: ptr = path + PATH_RECEIVED
  wf64(path + PATH_FLOOR, maxf(rf64(path + PATH_FLOOR), rf64(r32(set + RANGES_HEAD) + RANGE_END)))
  rangesDropHead(cn, set)
}

/** The first packet that only the owner of the handshake can send: the peer's address is proven. */
function confirm(ep: ptr, cn: ptr): void {
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_CONFIRMED)
  if ((r32(cn + CN_FLAGS) & CN_IS_CLIENT) !== 0) return
  sampleHandshake(cn, r32(cn + CN_PATHS), rf64(cn + CN_LAST_HEARD))
  setState(cn, STATE_ESTABLISHED)
  forgetOriginal(cn)
  dropMessage(cn, CN_MESSAGE_OUT)
  streamsEstablished(cn)
  count(ep, COUNT_CONNECTIONS_ACCEPTED, 1.0)
  tell(cn, CONNECTION_CONFIRMED)
}

/** Ends a connection because of something the peer did: it is told. */
export function fail(cn: ptr, code: i32, now: f64): void {
  closeConnection(cn, code, now)
  tellClosed(cn, code)
}

// ── First packets, and packets of strangers ──────────────────────────────────────────────────────

function longPacket(ep: ptr, now: f64, desc: ptr, p: ptr, size: i32): void {
  if (size < LONG_SIZE + CRC_SIZE) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const type: i32 = r8(p) & LONG_TYPE
  const length: i32 = r16(p + LONG_LENGTH)
  // What another version puts behind its version field is not known: only that it is another one.
  if (r32(p + LONG_VERSION) !== VERSION) {
    count(ep, COUNT_DROPPED_VERSION, 1.0)
    if (type === TYPE_INITIAL && size >= INITIAL_SIZE_FLOOR) answer(ep, desc, p, TYPE_VERSION)
    return
  }
  if (LONG_SIZE + length + CRC_SIZE > size) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  if (!isIntact(p, size)) {
    count(ep, COUNT_DROPPED_CORRUPT, 1.0)
    return
  }
  if (type === TYPE_INITIAL) initialPacket(ep, now, desc, p, size, length)
  else if (type === TYPE_HANDSHAKE) handshakePacket(ep, p, length)
  else if (type === TYPE_REFUSE || type === TYPE_VERSION) refusalPacket(ep, p, type)
  else if (type === TYPE_RESET) resetPacket(ep, p)
  else count(ep, COUNT_DROPPED_MALFORMED, 1.0)
}

/** Keeps a handshake message for the host; false when there is no memory. */
function keepMessage(cn: ptr, from: ptr, length: i32): bool {
  if (r32(cn + CN_MESSAGE_IN) !== 0) return true
  const message: ptr = take(cn, length)
  if (message === 0) return false
  copy(message, from, length)
  w32(cn + CN_MESSAGE_IN, message)
  w32(cn + CN_MESSAGE_IN + 4, length)
  tell(cn, CONNECTION_HANDSHAKE)
  return true
}

function initialPacket(ep: ptr, now: f64, desc: ptr, p: ptr, size: i32, length: i32): void {
  const low: i32 = r32(p + PACKET_CID)
  const high: i32 = r32(p + PACKET_CID + 4)
  if (size < INITIAL_SIZE_FLOOR || length === 0 || length > MESSAGE_SIZE_MAX) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const found: i32 = tableFind(ep + EP_CIDS, low, high)
  if (found !== 0) {
    // Repeated: the answer was lost, or is not there yet.
    if ((found & 3) === 2 && r32((found & ~3) + CN_MESSAGE_OUT) !== 0) {
      const known: ptr = found & ~3
      w32(known + CN_FLAGS, r32(known + CN_FLAGS) | CN_SAY_HANDSHAKE)
      wantSend(known)
    }
    return
  }
  if ((r32(ep + EP_FLAGS) & EP_LISTENING) === 0) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    answer(ep, desc, p, TYPE_REFUSE)
    return
  }
  if (r32(ep + EP_HALF_OPEN_COUNT) >= r32(ep + EP_HALF_OPEN_MAX)) {
    count(ep, COUNT_DROPPED_LIMIT, 1.0)
    return
  }
  const cn: ptr = connectionCreate(ep, now, 0, r32(desc + DESC_SOCKET), desc + DESC_ADDRESS, 65507)
  if (cn === 0) {
    count(ep, COUNT_DROPPED_LIMIT, 1.0)
    return
  }
  setState(cn, STATE_HALF_OPEN)
  const isKept: bool = registerOriginal(cn, low, high) && keepMessage(cn, p + LONG_SIZE, length)
  if (!isKept) {
    discard(cn)
    count(ep, COUNT_DROPPED_MEMORY, 1.0)
    return
  }
  registerRemote(cn, r32(p + LONG_SOURCE_CID), r32(p + LONG_SOURCE_CID + 4))
  arm(cn, now + HALF_OPEN_TIMEOUT)
}

/** The responder's answer to our initial packet. */
function handshakePacket(ep: ptr, p: ptr, length: i32): void {
  const cn: ptr = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  if (cn === 0 || (cn & 3) !== 0 || r32(cn + CN_STATE) !== STATE_CONNECTING) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  if (length === 0 || length > MESSAGE_SIZE_MAX) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  if (r32(cn + CN_MESSAGE_IN) !== 0) return
  if (!keepMessage(cn, p + LONG_SIZE, length)) {
    count(ep, COUNT_DROPPED_MEMORY, 1.0)
    return
  }
  registerRemote(cn, r32(p + LONG_SOURCE_CID), r32(p + LONG_SOURCE_CID + 4))
}

/** Nobody listens there, or not in our version. Believed only by who is waiting for an answer. */
function refusalPacket(ep: ptr, p: ptr, type: i32): void {
  const cn: ptr = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  if (cn === 0 || (cn & 3) !== 0 || r32(cn + CN_STATE) !== STATE_CONNECTING) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  streamsDestroy(cn)
  bury(cn, type === TYPE_VERSION ? CODE_VERSION : CODE_REFUSED)
}

/** The peer does not know the connection: the source id names what it was sent to. */
function resetPacket(ep: ptr, p: ptr): void {
  const found: i32 = tableFind(ep + EP_CIDS, r32(p + LONG_SOURCE_CID), r32(p + LONG_SOURCE_CID + 4))
  if ((found & 3) !== 1) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  const cn: ptr = found & ~3
  count(ep, COUNT_RESETS_RECEIVED, 1.0)
  streamsDestroy(cn)
  bury(cn, CODE_RESET)
}

/** Answers a first packet. */
function answer(ep: ptr, desc: ptr, p: ptr, type: i32): void {
  reply(
    ep,
    desc,
    type,
    r32(p + LONG_SOURCE_CID),
    r32(p + LONG_SOURCE_CID + 4),
    r32(p + PACKET_CID),
    r32(p + PACKET_CID + 4),
  )
}

/** Notes a short answer for the next flush; too many at a time are dropped. */
function reply(
  ep: ptr,
  desc: ptr,
  type: i32,
  toLow: i32,
  toHigh: i32,
  fromLow: i32,
  fromHigh: i32,
): void {
  const used: i32 = r32(ep + EP_REPLY_COUNT)
  if (used >= REPLIES_MAX) return
  const slot: ptr = r32(ep + EP_REPLIES) + used * REPLY_SIZE
  fill(slot, REPLY_SIZE)
  w32(slot, type)
  w32(slot + 4, r32(desc + DESC_SOCKET))
  copy(slot + 8, desc + DESC_ADDRESS, ADDRESS_SIZE)
  w32(slot + 32, toLow)
  w32(slot + 36, toHigh)
  w32(slot + 40, fromLow)
  w32(slot + 44, fromHigh)
  w32(ep + EP_REPLY_COUNT, used + 1)
}

// ── Time ─────────────────────────────────────────────────────────────────────────────────────────

export function endpointTimeout(ep: ptr, now: f64): void {
  wf64(ep + EP_NOW, now)
  while (true) {
    const timer: ptr = wheelPop(ep + EP_WHEEL, now)
    if (timer === 0) return
    expired(timer - CN_TIMER, now)
  }
}

export function endpointNextTimeout(ep: ptr): f64 {
  return wheelNext(ep + EP_WHEEL)
}

/** Does what is due for a connection. Its timer may have rung early: then it is set again. */
function expired(cn: ptr, now: f64): void {
  const state: i32 = r32(cn + CN_STATE)
  if (now < nextDeadline(cn)) {
    arm(cn, nextDeadline(cn))
    return
  }
  if (state === STATE_CLOSING || state === STATE_DRAINING) {
    bury(cn, 0)
    return
  }
  if (state === STATE_CONNECTING) {
    if (now >= rf64(cn + CN_STARTED) + rf64(cn + CN_CONNECT_TIMEOUT)) {
      streamsDestroy(cn)
      bury(cn, CODE_CONNECT_TIMEOUT)
      return
    }
    w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_HANDSHAKE)
    wantSend(cn)
    return
  }
  if (state === STATE_HALF_OPEN || now >= rf64(cn + CN_LAST_HEARD) + rf64(cn + CN_IDLE_TIMEOUT)) {
    streamsDestroy(cn)
    bury(cn, CODE_IDLE_TIMEOUT)
    return
  }
  if (now >= emptyDeadline(cn)) {
    fail(cn, CODE_CLOSED, now)
    return
  }
  if (now >= rf64(cn + CN_RETRY_AT)) {
    relieve(cn)
    return
  }
  const path: ptr = r32(cn + CN_PATHS)
  if (now >= rf64(path + PATH_ACK_DUE) || now >= paceDeadline(path)) {
    wantSend(cn)
    return
  }
  if (now >= blockedDeadline(cn, path)) {
    askForCredit(cn)
    wantSend(cn)
    return
  }
  const lossTime: f64 = rf64(path + PATH_LOSS_TIME)
  if (lossTime > 0.0) {
    if (now >= lossTime) detectLosses(cn, path, now)
  } else if (r32(path + PATH_IN_FLIGHT_COUNT) > 0) {
    const interval: f64 = probeInterval(cn, path, r32(path + PATH_PROBE_COUNT))
    if (now >= rf64(path + PATH_LAST_ELICITING) + interval) probe(cn, path, now)
  } else addControl(cn, CONTROL_PING)
  wantSend(cn)
}
