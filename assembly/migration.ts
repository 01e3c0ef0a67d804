/**
 * A connection goes on when an address changes: a NAT forgets a mapping, a machine changes networks,
 * a socket is replaced. Who hears its peer from somewhere else asks that place to repeat a number
 * (RFC 9000 §8.2); only the peer can, and only if it is there. Then everything goes there.
 */
import { congestionInit } from './congestion'
import { CN_CONTROL, CONTROL_PING, probeTimeout, wantSend } from './connection'
import { ecnStart } from './ecn'
import { count, ENDPOINT, EP_CONGESTION, EP_SECRETS, tell } from './endpoint'
import {
  ADDRESS_SIZE,
  CONNECTION_MOVED,
  COUNT_CHALLENGES,
  COUNT_MOVES,
  DESC_ADDRESS,
  DESC_PORT,
  DESC_SCOPE,
  DESC_SOCKET,
  INSTANCE,
} from './layout'
import { mtuInit } from './mtu'
import {
  copyPlace,
  PATH_ACK_DUE,
  PATH_ACK_PENDING,
  PATH_ADDRESS,
  PATH_ANSWER,
  PATH_ANSWER_ADDRESS,
  PATH_ANSWER_SOCKET,
  PATH_CHALLENGE,
  PATH_IN_FLIGHT_COUNT,
  PATH_IS_ANSWER_DUE,
  PATH_LARGEST_RECEIVED,
  PATH_MTU_MOST,
  PATH_NEW_ADDRESS,
  PATH_NEW_ASKED,
  PATH_NEW_BYTES_IN,
  PATH_NEW_BYTES_OUT,
  PATH_NEW_DUE,
  PATH_NEW_SOCKET,
  PATH_NEW_STATE,
  PATH_PACKET_BYTES,
  PATH_PROBE_COUNT,
  PATH_RECEIVED,
  PATH_SOCKET,
  pathForget,
} from './path'
import { add32, copy, mini, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { RANGES_COUNT } from './ranges'
import { probe } from './recovery'
import { sipHash } from './siphash'
import { INITIAL_SIZE } from './wire'

/** No other place is known. */
const NEW_NONE: i32 = 0
/** It is to be asked at the next flush. */
const NEW_ASK: i32 = 1
/** It was asked. */
const NEW_ASKED: i32 = 2
/** RFC 9000 §8.2.4: after three probe timeouts nobody is there. */
const ASKS_MAX: i32 = 3
/** Bytes out for each one in, before a place is proven. */
const AMPLIFICATION_MAX: i32 = 3

/** What a challenge is computed of: address, connection, time. */
const INPUT: ptr = INSTANCE + 3584
const PORT: i32 = DESC_PORT - DESC_ADDRESS
const SCOPE: i32 = DESC_SCOPE - DESC_ADDRESS

function isSameHost(a: ptr, b: ptr): bool {
  for (let i: i32 = 0; i < PORT; i += 4) if (r32(a + i) !== r32(b + i)) return false
  // Not every socket knows its zone.
  const zones: i32 = r32(a + SCOPE)
  return zones === r32(b + SCOPE) || zones === 0 || r32(b + SCOPE) === 0
}

function isSamePlace(a: ptr, b: ptr): bool {
  return ((r32(a + PORT) ^ r32(b + PORT)) & 0xffff) === 0 && isSameHost(a, b)
}

/** A packet of the peer came, `size` bytes; was it from where it always is, and if not: is it there? */
export function noteSource(cn: ptr, path: ptr, desc: ptr, number: f64, size: i32, now: f64): void {
  const from: ptr = desc + DESC_ADDRESS
  const socket: i32 = r32(desc + DESC_SOCKET)
  const isNewest: bool = number > rf64(path + PATH_LARGEST_RECEIVED)
  // To which of our sockets is its choice, from which we answer is ours.
  if (isSamePlace(path + PATH_ADDRESS, from)) {
    // RFC 9000 §9.3.3: it is still there; somebody else repeated its packets from elsewhere.
    if (isNewest) w32(path + PATH_NEW_STATE, NEW_NONE)
    return
  }
  if (r32(path + PATH_NEW_STATE) !== NEW_NONE) {
    // One place at a time. Another one is heard again when this one has not answered.
    if (isSamePlace(path + PATH_NEW_ADDRESS, from))
      add32(path + PATH_NEW_BYTES_IN, mini(size, 65535))
    return
  }
  // RFC 9000 §9.3: an older packet may have taken the old way.
  if (!isNewest) return
  w32(path + PATH_NEW_STATE, NEW_ASK)
  w32(path + PATH_NEW_ASKED, 0)
  w32(path + PATH_NEW_SOCKET, socket)
  copyPlace(path + PATH_NEW_ADDRESS, from)
  w32(path + PATH_NEW_BYTES_IN, size)
  w32(path + PATH_NEW_BYTES_OUT, 0)
  copy(INPUT, path + PATH_NEW_ADDRESS, ADDRESS_SIZE)
  w32(INPUT + ADDRESS_SIZE, cn)
  w32(INPUT + ADDRESS_SIZE + 4, socket)
  wf64(INPUT + ADDRESS_SIZE + 8, now)
  wf64(INPUT + ADDRESS_SIZE + 16, number)
  sipHash(r32(cn + ENDPOINT) + EP_SECRETS, INPUT, ADDRESS_SIZE + 24, path + PATH_CHALLENGE)
  wantSend(cn)
}

/** Whether the new place is to be asked with a packet of `size` bytes now. */
export function challengeIsDue(path: ptr, size: i32): bool {
  if (r32(path + PATH_NEW_STATE) !== NEW_ASK) return false
  const most: i32 = r32(path + PATH_NEW_BYTES_IN) * AMPLIFICATION_MAX
  return r32(path + PATH_NEW_BYTES_OUT) + size <= most
}

/** It was asked with a packet of `size` bytes. */
export function challengeSent(cn: ptr, path: ptr, size: i32, now: f64): void {
  w32(path + PATH_NEW_STATE, NEW_ASKED)
  add32(path + PATH_NEW_ASKED, 1)
  add32(path + PATH_NEW_BYTES_OUT, size)
  // It may stand behind a full queue that went to the old place.
  wf64(path + PATH_NEW_DUE, now + probeTimeout(cn, path) * 2.0)
  count(r32(cn + ENDPOINT), COUNT_CHALLENGES, 1.0)
}

/** When the new place has to have answered, Infinity: nobody is asked. */
export function challengeDeadline(path: ptr): f64 {
  return r32(path + PATH_NEW_STATE) === NEW_ASKED ? rf64(path + PATH_NEW_DUE) : Infinity
}

/** It has not answered: once more, or never mind. */
export function challengeExpired(cn: ptr, path: ptr): void {
  w32(path + PATH_NEW_STATE, r32(path + PATH_NEW_ASKED) < ASKS_MAX ? NEW_ASK : NEW_NONE)
  wantSend(cn)
}

/** PATH_CHALLENGE: the peer asks whether we get what it sends here. `from`: the descriptor. */
export function onChallenge(cn: ptr, path: ptr, data: ptr, desc: ptr): void {
  copy(path + PATH_ANSWER, data, 8)
  w32(path + PATH_ANSWER_SOCKET, r32(desc + DESC_SOCKET))
  copyPlace(path + PATH_ANSWER_ADDRESS, desc + DESC_ADDRESS)
  w32(path + PATH_IS_ANSWER_DUE, 1)
  wantSend(cn)
}

/** PATH_RESPONSE: the peer is where we asked. */
export function onResponse(cn: ptr, path: ptr, data: ptr, now: f64): void {
  if (r32(path + PATH_NEW_STATE) === NEW_NONE) return
  const isRight: bool =
    r32(data) === r32(path + PATH_CHALLENGE) && r32(data + 4) === r32(path + PATH_CHALLENGE + 4)
  if (!isRight) return
  w32(path + PATH_NEW_STATE, NEW_NONE)
  const isOtherHost: bool = !isSameHost(path + PATH_ADDRESS, path + PATH_NEW_ADDRESS)
  copy(path + PATH_ADDRESS, path + PATH_NEW_ADDRESS, ADDRESS_SIZE)
  w32(path + PATH_SOCKET, r32(path + PATH_NEW_SOCKET))
  // RFC 9000 §9.4: another port is the same way.
  if (isOtherHost) startAnew(cn, path)
  count(r32(cn + ENDPOINT), COUNT_MOVES, 1.0)
  tell(cn, CONNECTION_MOVED)
  resume(cn, path, now)
}

/** We leave through another of our sockets from now on. */
export function changeSocket(cn: ptr, path: ptr, socket: i32, now: f64): void {
  if (r32(path + PATH_SOCKET) === socket) return
  w32(path + PATH_SOCKET, socket)
  w32(path + PATH_NEW_STATE, NEW_NONE)
  startAnew(cn, path)
  // The peer learns of it by a packet.
  w32(cn + CN_CONTROL, r32(cn + CN_CONTROL) | CONTROL_PING)
  resume(cn, path, now)
}

/** Nothing is known of this way yet. */
function startAnew(cn: ptr, path: ptr): void {
  pathForget(path)
  congestionInit(path, r32(r32(cn + ENDPOINT) + EP_CONGESTION))
  w32(path + PATH_PACKET_BYTES, mini(r32(path + PATH_PACKET_BYTES), INITIAL_SIZE))
  mtuInit(path, r32(path + PATH_MTU_MOST))
}

/** What went to the old place is probably lost: the oldest of it goes at once, and what arrived is said. */
function resume(cn: ptr, path: ptr, now: f64): void {
  w32(path + PATH_PROBE_COUNT, 0)
  ecnStart(path)
  if (r32(path + PATH_IN_FLIGHT_COUNT) > 0) probe(cn, path, now)
  if (r32(path + PATH_RECEIVED + RANGES_COUNT) > 0) {
    w32(path + PATH_ACK_PENDING, 1)
    wf64(path + PATH_ACK_DUE, now)
  }
  wantSend(cn)
}
