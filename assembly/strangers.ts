/**
 * What comes from somebody who has not proven who or where it is: first packets, answers to ours,
 * resets. No answer is longer than three times what it answers. When there are many first packets,
 * no more than a hash is spent on one before its sender has shown that it gets what is sent to its
 * address.
 */
import {
  arm,
  bury,
  CN_ANSWERED,
  CN_CONFIRMED,
  CN_COOKIE,
  CN_COOKIES,
  CN_FLAGS,
  CN_IS_CLIENT,
  CN_KEYS,
  CN_LOCAL_CID,
  CN_MESSAGE_IN,
  CN_MESSAGE_OUT,
  CN_ORIGINAL_CID,
  CN_PATHS,
  CN_REMOTE_CID,
  CN_RESET_TOKEN,
  CN_SAY_HANDSHAKE,
  CN_STATE,
  connectionCreate,
  discard,
  HALF_OPEN_TIMEOUT,
  registerOriginal,
  registerRemote,
  STATE_CONNECTING,
  STATE_ESTABLISHED,
  STATE_HALF_OPEN,
  setState,
  wantSend,
} from './connection'
import { crc32c } from './crc32c'
import {
  count,
  ENDPOINT,
  EP_CIDS,
  EP_FLAGS,
  EP_HALF_OPEN_COUNT,
  EP_HALF_OPEN_MAX,
  EP_LISTENING,
  EP_LOAD_UNTIL,
  EP_MESSAGES,
  EP_PROVEN_COUNT,
  EP_RATE_AT,
  EP_RATE_COUNT,
  EP_REPLIES,
  EP_REPLY_COUNT,
  EP_SECRETS,
  EP_SHARES,
  REPLIES_MAX,
  REPLY_ADDRESS,
  REPLY_FROM,
  REPLY_LENGTH,
  REPLY_MESSAGE,
  REPLY_SIZE,
  REPLY_SOCKET,
  REPLY_TO,
  REPLY_TYPE,
  ROOT,
  SHARES_SIZE,
  tell,
} from './endpoint'
import {
  ADDRESS_SIZE,
  CODE_REFUSED,
  CODE_RESET,
  CODE_VERSION,
  CONNECTION_HANDSHAKE,
  COUNT_DROPPED_CORRUPT,
  COUNT_DROPPED_LIMIT,
  COUNT_DROPPED_MALFORMED,
  COUNT_DROPPED_MEMORY,
  COUNT_DROPPED_RATE,
  COUNT_DROPPED_UNKNOWN,
  COUNT_DROPPED_VERSION,
  COUNT_RESETS_RECEIVED,
  DESC_ADDRESS,
  DESC_PORT,
  DESC_SOCKET,
  INSTANCE,
  RESET_TOKEN_SIZE,
  VERSION,
} from './layout'
import { take } from './pages'
import { PATH_ADDRESS, PATH_SOCKET } from './path'
import {
  add32,
  addf64,
  copy,
  fill,
  maxf,
  maxi,
  type ptr,
  r8,
  r16,
  r32,
  rf64,
  w32,
  wf64,
} from './prelude'
import { sipHash } from './siphash'
import { streamsSever } from './stream'
import { tableFind } from './table'
import {
  COOKIE_SIZE,
  CRC_SIZE,
  FIRST_LONG,
  FIRST_OURS,
  INITIAL_SIZE,
  INITIAL_SIZE_FLOOR,
  LONG_COOKIE_SIZE,
  LONG_LENGTH,
  LONG_SIZE,
  LONG_SOURCE_CID,
  LONG_VERSION,
  MESSAGE_SIZE_MAX,
  PACKET_CID,
  PACKET_SIZE_MAX,
  TYPE_HANDSHAKE,
  TYPE_INITIAL,
  TYPE_REFUSE,
  TYPE_RESET,
  TYPE_RETRY,
  TYPE_VERSION,
} from './wire'

/** First packets in one slice of time from which on there are many. */
const RATE_SLICE: f64 = 100000.0
const RATE_MANY: f64 = 128.0
/** Of those with a cookie: from which on each network gets its share only. */
const PROVEN_MANY: f64 = 200.0
/** How long "many" lasts. */
const LOAD_PERIOD: f64 = 1000000.0
/** Cookies are good for this period and the next. */
const COOKIE_PERIOD: f64 = 120000000.0
/** Answers to first packets that one connection follows. */
const COOKIES_MAX: i32 = 3

/** First packets of one network when each gets its share: one in 50 ms, five at once. */
const SHARE_INTERVAL: f64 = 50000.0
const SHARE_BURST: f64 = 200000.0
/** Cookies in one slice of time from which on each address and port gets its share, as above. */
const RETRIES_MANY: f64 = 512.0
/** Two times a share: of first packets with a cookie, by network; of cookies, by address and port. */
const SHARE_SIZE: i32 = 16
const SHARES: i32 = SHARES_SIZE / SHARE_SIZE
/** How long those that meet in the table do. */
const SHARE_PERIOD: f64 = 1000000.0
const SHARE_PROVEN: i32 = 0
const SHARE_RETRY: i32 = 8

/** What a hash is computed of, and its result. */
const INPUT: ptr = INSTANCE + 3456
const OUTPUT: ptr = INSTANCE + 3520

/** Two secrets of 16 bytes: for cookies, for reset tokens. */
const SECRET_COOKIE: i32 = 0
const SECRET_RESET: i32 = 16

// ── Long packets ─────────────────────────────────────────────────────────────────────────────────

export function longPacket(ep: ptr, now: f64, desc: ptr, p: ptr, size: i32): void {
  if (size < LONG_SIZE + CRC_SIZE) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const type: i32 = r8(p) & ~(FIRST_OURS | FIRST_LONG)
  const length: i32 = r16(p + LONG_LENGTH)
  const cookie: i32 = r8(p + LONG_COOKIE_SIZE)
  // What another version puts behind its version field is not known: only that it is another one.
  if (r32(p + LONG_VERSION) !== VERSION) {
    count(ep, COUNT_DROPPED_VERSION, 1.0)
    if (type === TYPE_INITIAL && size >= INITIAL_SIZE_FLOOR) answer(ep, desc, p, TYPE_VERSION, 0)
    return
  }
  if (LONG_SIZE + cookie + length + CRC_SIZE > size) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  // Before anything is spent on it: of a flood this is the most.
  if (type === TYPE_INITIAL && isTooMany(ep, now, desc, cookie)) {
    count(ep, COUNT_DROPPED_RATE, 1.0)
    return
  }
  if (crc32c(p, size - CRC_SIZE) !== r32(p + size - CRC_SIZE)) {
    count(ep, COUNT_DROPPED_CORRUPT, 1.0)
    return
  }
  if (type === TYPE_INITIAL) initialPacket(ep, now, desc, p, size, cookie, length)
  else if (cookie !== 0 || LONG_SIZE + length + CRC_SIZE !== size) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
  } else if (type === TYPE_HANDSHAKE) handshakePacket(ep, p, length)
  else if (type === TYPE_RETRY) retryPacket(ep, p, length)
  else if (type === TYPE_REFUSE || type === TYPE_VERSION) refusalPacket(ep, p, type, length)
  else if (type === TYPE_RESET) resetPacket(ep, p, length)
  else count(ep, COUNT_DROPPED_MALFORMED, 1.0)
}

/** A packet for a connection that is not known: says so if that is shorter. */
export function unknownPacket(ep: ptr, desc: ptr, p: ptr, size: i32): void {
  if (size <= LONG_SIZE + RESET_TOKEN_SIZE + CRC_SIZE) return
  const low: i32 = r32(p + PACKET_CID)
  const high: i32 = r32(p + PACKET_CID + 4)
  const slot: ptr = reply(
    ep,
    r32(desc + DESC_SOCKET),
    desc + DESC_ADDRESS,
    TYPE_RESET,
    RESET_TOKEN_SIZE,
  )
  if (slot === 0) return
  w32(slot + REPLY_FROM, low)
  w32(slot + REPLY_FROM + 4, high)
  resetToken(ep, low, high, slot + REPLY_MESSAGE)
}

// ── First packets ────────────────────────────────────────────────────────────────────────────────

function initialPacket(
  ep: ptr,
  now: f64,
  desc: ptr,
  p: ptr,
  size: i32,
  cookie: i32,
  length: i32,
): void {
  const low: i32 = r32(p + PACKET_CID)
  const high: i32 = r32(p + PACKET_CID + 4)
  const isShaped: bool =
    (cookie === 0 || cookie === COOKIE_SIZE) &&
    isZero(p + LONG_SIZE + cookie + length, p + size - CRC_SIZE)
  if (size < INITIAL_SIZE_FLOOR || length === 0 || length > MESSAGE_SIZE_MAX || !isShaped) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const found: i32 = tableFind(ep + EP_CIDS, low, high)
  if (found !== 0) {
    // Repeated: the answer was lost, or is not there yet; or it comes late.
    if ((found & 3) === 2 && r32((found & ~3) + CN_STATE) === STATE_HALF_OPEN) {
      sayAgain(found & ~3)
    }
    return
  }
  if ((r32(ep + EP_FLAGS) & EP_LISTENING) === 0) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    answer(ep, desc, p, TYPE_REFUSE, CODE_REFUSED)
    return
  }
  if (!isAdmitted(ep, now, desc, p, cookie)) return
  if (r32(ep + EP_HALF_OPEN_COUNT) >= r32(ep + EP_HALF_OPEN_MAX)) {
    count(ep, COUNT_DROPPED_LIMIT, 1.0)
    return
  }
  // Who pads its first packet to the least has found that more does not arrive.
  const most: i32 = size < INITIAL_SIZE ? INITIAL_SIZE_FLOOR : PACKET_SIZE_MAX
  const socket: i32 = r32(desc + DESC_SOCKET)
  const cn: ptr = connectionCreate(ep, now, 0, socket, desc + DESC_ADDRESS, most)
  if (cn === 0) {
    count(ep, COUNT_DROPPED_LIMIT, 1.0)
    return
  }
  setState(cn, STATE_HALF_OPEN)
  const isKept: bool =
    registerOriginal(cn, low, high) && keepMessage(cn, p + LONG_SIZE + cookie, length)
  if (!isKept) {
    discard(cn)
    count(ep, COUNT_DROPPED_MEMORY, 1.0)
    return
  }
  registerRemote(cn, r32(p + LONG_SOURCE_CID), r32(p + LONG_SOURCE_CID + 4))
  arm(cn, now + HALF_OPEN_TIMEOUT)
}

/** Whether padding is what it has to be: nobody on the way may hide anything in it. */
function isZero(from: ptr, end: ptr): bool {
  let p: ptr = from
  while (p + 4 <= end && r32(p) === 0) p += 4
  while (p < end && r8(p) === 0) p += 1
  return p === end
}

/** Sends the responder's message again. */
function sayAgain(cn: ptr): void {
  if (r32(cn + CN_MESSAGE_OUT) === 0) return
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_HANDSHAKE)
  wantSend(cn)
}

/** Keeps a handshake message for the host; false when there is no memory. */
function keepMessage(cn: ptr, from: ptr, length: i32): bool {
  if (r32(cn + CN_MESSAGE_IN) !== 0) return true
  const message: ptr = take(cn, length)
  if (message === 0) return false
  copy(message, from, length)
  w32(cn + CN_MESSAGE_IN, message)
  w32(cn + CN_MESSAGE_IN + 4, length)
  add32(r32(cn + ENDPOINT) + EP_MESSAGES, 1)
  tell(cn, CONNECTION_HANDSHAKE)
  return true
}

// ── Load ─────────────────────────────────────────────────────────────────────────────────────────

/** Counts a first packet; whether it may be dropped unread, for want of a cookie and of a share. */
function isTooMany(ep: ptr, now: f64, desc: ptr, cookie: i32): bool {
  if (!(now < rf64(ep + EP_RATE_AT) + RATE_SLICE)) {
    wf64(ep + EP_RATE_AT, now)
    wf64(ep + EP_RATE_COUNT, 0.0)
    wf64(ep + EP_PROVEN_COUNT, 0.0)
  }
  addf64(ep + EP_RATE_COUNT, 1.0)
  const many: f64 = rf64(ep + EP_RATE_COUNT)
  if (many > RATE_MANY) wf64(ep + EP_LOAD_UNTIL, now + LOAD_PERIOD)
  return cookie === 0 && many > RETRIES_MANY && !hasShare(ep, now, desc, SHARE_RETRY)
}

/** Whether a first packet is worth the host's attention; if not, it has been seen to. */
function isAdmitted(ep: ptr, now: f64, desc: ptr, p: ptr, cookie: i32): bool {
  const halfOpen: i32 = r32(ep + EP_HALF_OPEN_COUNT)
  const most: i32 = r32(ep + EP_HALF_OPEN_MAX)
  if (halfOpen >= maxi(most >> 2, 1)) wf64(ep + EP_LOAD_UNTIL, now + LOAD_PERIOD)
  if (!(now < rf64(ep + EP_LOAD_UNTIL))) return true
  const period: f64 = Math.floor(now / COOKIE_PERIOD)
  const from: ptr = p + LONG_SIZE
  if (
    cookie === 0 ||
    !(isCookie(ep, desc, p, from, period) || isCookie(ep, desc, p, from, period - 1.0))
  ) {
    const slot: ptr = answer(ep, desc, p, TYPE_RETRY, 0)
    if (slot !== 0) {
      makeCookie(ep, desc, p, period)
      copy(slot + REPLY_MESSAGE, OUTPUT, COOKIE_SIZE)
    }
    return false
  }
  addf64(ep + EP_PROVEN_COUNT, 1.0)
  if (rf64(ep + EP_PROVEN_COUNT) <= PROVEN_MANY && halfOpen < most >> 1) return true
  if (hasShare(ep, now, desc, SHARE_PROVEN)) return true
  count(ep, COUNT_DROPPED_RATE, 1.0)
  return false
}

/** Address, port and scope that a packet came from: only what belongs to them. */
function copyAddress(to: ptr, desc: ptr): void {
  copy(to, desc + DESC_ADDRESS, ADDRESS_SIZE)
  w32(to + DESC_PORT - DESC_ADDRESS, r32(desc + DESC_PORT) & 0xffff)
}

/** Writes to OUTPUT what proves that somebody receives at the address a first packet came from. */
function makeCookie(ep: ptr, desc: ptr, p: ptr, period: f64): void {
  copyAddress(INPUT, desc)
  copy(INPUT + ADDRESS_SIZE, p + PACKET_CID, 8)
  copy(INPUT + ADDRESS_SIZE + 8, p + LONG_SOURCE_CID, 8)
  wf64(INPUT + ADDRESS_SIZE + 16, period)
  sipHash(ep + EP_SECRETS + SECRET_COOKIE, INPUT, ADDRESS_SIZE + 24, OUTPUT)
}

function isCookie(ep: ptr, desc: ptr, p: ptr, from: ptr, period: f64): bool {
  makeCookie(ep, desc, p, period)
  const difference: i32 = (r32(OUTPUT) ^ r32(from)) | (r32(OUTPUT + 4) ^ r32(from + 4))
  return difference === 0
}

/**
 * Whether the network of an address (IPv4: the address; IPv6: its first 64 bits), or for cookies the
 * address and port, has not used up its share. Those that meet in the table share for a while.
 */
function hasShare(ep: ptr, now: f64, desc: ptr, kind: i32): bool {
  if (r32(ep + EP_SHARES) === 0) {
    const table: ptr = take(ROOT, SHARES_SIZE)
    if (table === 0) return false
    fill(table, SHARES_SIZE)
    w32(ep + EP_SHARES, table)
  }
  const address: ptr = desc + DESC_ADDRESS
  const isMapped: bool = r32(address) === 0 && r32(address + 4) === 0
  fill(INPUT, ADDRESS_SIZE)
  if (kind === SHARE_RETRY) copyAddress(INPUT, desc)
  else copy(INPUT, address, isMapped ? 16 : 8)
  wf64(INPUT + ADDRESS_SIZE, Math.floor(now / SHARE_PERIOD))
  sipHash(ep + EP_SECRETS + SECRET_COOKIE, INPUT, ADDRESS_SIZE + 8, OUTPUT)
  const entry: ptr = r32(ep + EP_SHARES) + (r32(OUTPUT) & (SHARES - 1)) * SHARE_SIZE + kind
  // When the share would be unused if each first packet took its interval.
  const unused: f64 = maxf(rf64(entry), now)
  if (unused - now > SHARE_BURST) return false
  wf64(entry, unused + SHARE_INTERVAL)
  return true
}

// ── Answers to our first packets ─────────────────────────────────────────────────────────────────

/** The connection that waits for an answer at the packet's destination, or 0. */
function waiting(ep: ptr, p: ptr): ptr {
  const cn: ptr = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  if (cn !== 0 && (cn & 3) === 0) {
    if (r32(cn + CN_STATE) === STATE_CONNECTING) return cn
    // Our last message is under way: what refuses it comes like an answer.
    const flags: i32 = r32(cn + CN_FLAGS) & (CN_IS_CLIENT | CN_CONFIRMED)
    if (r32(cn + CN_STATE) === STATE_ESTABLISHED && flags === CN_IS_CLIENT) return cn
    // So is the initiator's, if it does not like our answer.
    if (r32(cn + CN_STATE) === STATE_HALF_OPEN) return cn
  }
  count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
  return 0
}

/** The responder's answer to our first packet, or the initiator's last message. */
function handshakePacket(ep: ptr, p: ptr, length: i32): void {
  const cn: ptr = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  const state: i32 = cn === 0 || (cn & 3) !== 0 ? 0 : r32(cn + CN_STATE)
  if (state !== STATE_CONNECTING && state !== STATE_HALF_OPEN) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  if (length === 0 || length > MESSAGE_SIZE_MAX) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const flags: i32 = r32(cn + CN_FLAGS)
  if ((flags & CN_ANSWERED) !== 0) return
  if (state === STATE_HALF_OPEN && !isFromRemote(cn, p)) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  if (!keepMessage(cn, p + LONG_SIZE, length)) {
    count(ep, COUNT_DROPPED_MEMORY, 1.0)
    return
  }
  w32(cn + CN_FLAGS, flags | CN_ANSWERED)
  if (state === STATE_CONNECTING) {
    registerRemote(cn, r32(p + LONG_SOURCE_CID), r32(p + LONG_SOURCE_CID + 4))
  }
}

function isFromRemote(cn: ptr, p: ptr): bool {
  return (
    r32(cn + CN_REMOTE_CID) === r32(p + LONG_SOURCE_CID) &&
    r32(cn + CN_REMOTE_CID + 4) === r32(p + LONG_SOURCE_CID + 4)
  )
}

/** The responder wants proof of our address first: our next first packet carries its cookie. */
function retryPacket(ep: ptr, p: ptr, length: i32): void {
  const cn: ptr = waiting(ep, p)
  if (cn === 0 || r32(cn + CN_STATE) !== STATE_CONNECTING) return
  if (length !== COOKIE_SIZE) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  if (r32(cn + CN_COOKIES) >= COOKIES_MAX) return
  add32(cn + CN_COOKIES, 1)
  copy(cn + CN_COOKIE, p + LONG_SIZE, COOKIE_SIZE)
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_HANDSHAKE)
  wantSend(cn)
}

/** We are not wanted there, or not in our version. */
function refusalPacket(ep: ptr, p: ptr, type: i32, length: i32): void {
  const cn: ptr = waiting(ep, p)
  if (cn === 0) return
  const given: i32 = length > 0 ? r8(p + LONG_SIZE) : CODE_REFUSED
  streamsSever(cn)
  bury(cn, type === TYPE_VERSION ? CODE_VERSION : given)
}

/**
 * The peer does not know the connection: the source id names what it was sent to. Without packet
 * protection the id is all the proof there is.
 */
function resetPacket(ep: ptr, p: ptr, length: i32): void {
  const found: i32 = tableFind(ep + EP_CIDS, r32(p + LONG_SOURCE_CID), r32(p + LONG_SOURCE_CID + 4))
  const cn: ptr = found & ~3
  if ((found & 3) !== 1 || length !== RESET_TOKEN_SIZE || !mayReset(cn, p + LONG_SIZE)) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  count(ep, COUNT_RESETS_RECEIVED, 1.0)
  streamsSever(cn)
  bury(cn, CODE_RESET)
}

function mayReset(cn: ptr, token: ptr): bool {
  if (r32(cn + CN_KEYS) === 0) return r32(cn + CN_STATE) !== STATE_CONNECTING
  let difference: i32 = 0
  let known: i32 = 0
  for (let i: i32 = 0; i < RESET_TOKEN_SIZE; i += 4) {
    known |= r32(cn + CN_RESET_TOKEN + i)
    difference |= r32(cn + CN_RESET_TOKEN + i) ^ r32(token + i)
  }
  return known !== 0 && difference === 0
}

/** Writes the token that proves that a connection id was ours. */
export function resetToken(ep: ptr, low: i32, high: i32, to: ptr): void {
  w32(INPUT, low)
  w32(INPUT + 4, high)
  w32(INPUT + 8, 0)
  sipHash(ep + EP_SECRETS + SECRET_RESET, INPUT, 12, to)
  w32(INPUT + 8, 1)
  sipHash(ep + EP_SECRETS + SECRET_RESET, INPUT, 12, to + 8)
}

// ── Answers ──────────────────────────────────────────────────────────────────────────────────────

/** Answers a first packet; gives the answer's slot, 0 when there are too many. */
function answer(ep: ptr, desc: ptr, p: ptr, type: i32, code: i32): ptr {
  const length: i32 = type === TYPE_RETRY ? COOKIE_SIZE : type === TYPE_VERSION ? 4 : 1
  const slot: ptr = reply(ep, r32(desc + DESC_SOCKET), desc + DESC_ADDRESS, type, length)
  if (slot === 0) return 0
  copy(slot + REPLY_TO, p + LONG_SOURCE_CID, 8)
  copy(slot + REPLY_FROM, p + PACKET_CID, 8)
  w32(slot + REPLY_MESSAGE, type === TYPE_VERSION ? VERSION : code)
  return slot
}

/** Tells the other side of a handshake that it comes to nothing. */
export function refuseHandshake(cn: ptr, code: i32): void {
  const path: ptr = r32(cn + CN_PATHS)
  const slot: ptr = reply(
    r32(cn + ENDPOINT),
    r32(path + PATH_SOCKET),
    path + PATH_ADDRESS,
    TYPE_REFUSE,
    1,
  )
  if (slot === 0) return
  const isInitiator: bool = (r32(cn + CN_FLAGS) & CN_IS_CLIENT) !== 0
  copy(slot + REPLY_TO, cn + CN_REMOTE_CID, 8)
  copy(slot + REPLY_FROM, cn + (isInitiator ? CN_LOCAL_CID : CN_ORIGINAL_CID), 8)
  w32(slot + REPLY_MESSAGE, code)
}

/** Notes a short answer for the next flush; 0 when there are too many. */
function reply(ep: ptr, socket: i32, address: ptr, type: i32, length: i32): ptr {
  const used: i32 = r32(ep + EP_REPLY_COUNT)
  if (used >= REPLIES_MAX) return 0
  const slot: ptr = r32(ep + EP_REPLIES) + used * REPLY_SIZE
  w32(ep + EP_REPLY_COUNT, used + 1)
  fill(slot, REPLY_SIZE)
  w32(slot + REPLY_TYPE, type)
  w32(slot + REPLY_SOCKET, socket)
  copy(slot + REPLY_ADDRESS, address, ADDRESS_SIZE)
  w32(slot + REPLY_LENGTH, length)
  return slot
}
