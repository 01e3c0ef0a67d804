/**
 * A connection: two endpoints that know each other's connection ids. It owns paths and streams, and
 * all memory they use is charged to it.
 */
import { congestionInit, congestionWindow } from './congestion'
import {
  CODE,
  count,
  ENDPOINT,
  EP_CIDS,
  EP_CONGESTION,
  EP_CONNECTION_COUNT,
  EP_CONNECTION_WINDOW,
  EP_CONNECTIONS,
  EP_CONNECTIONS_FREED,
  EP_CONNECTIONS_MAX,
  EP_HALF_OPEN_COUNT,
  EP_IDLE_TIMEOUT,
  EP_KEEP_ALIVE,
  EP_MESSAGES,
  EP_NOW,
  EP_PACKET_BYTES_MAX,
  EP_SENDERS,
  EP_STREAMS_MAX,
  EP_WHEEL,
  HOST_TAG,
  TAG,
  TAG_CONNECTION,
  tell,
  untell,
} from './endpoint'
import { keysFree } from './keys'
import { CONNECTION_CLOSED, COUNT_CONNECTIONS_CLOSED } from './layout'
import { mtuInit } from './mtu'
import { give, OWNER_PARENT, OWNER_QUOTA, take } from './pages'
import {
  PATH_IN_FLIGHT_COUNT,
  PATH_LAST_ELICITING,
  PATH_PACKET_BYTES,
  PATH_RTT_MIN,
  PATH_RTT_SMOOTHED,
  PATH_RTT_VARIANCE,
  pathCreate,
  pathFree,
} from './path'
import { add32, fill, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { rangesClear } from './ranges'
import { tableAdd, tableFind, tableRemove } from './table'
import { TIMER_DUE, timerClear, timerIsSet, timerSet } from './wheel'

// ── Fields (after those of endpoint.ts and pages.ts) ─────────────────────────────────────────────

export const CN_STATE: i32 = 436
export const STATE_CONNECTING: i32 = 1
/** An initial packet came; nobody has proven the address yet. */
export const STATE_HALF_OPEN: i32 = 2
export const STATE_ESTABLISHED: i32 = 3
/** We said CLOSE and say it again to who has not heard it. */
export const STATE_CLOSING: i32 = 4
/** The peer said CLOSE: we are silent until nothing of it can be under way. */
export const STATE_DRAINING: i32 = 5
/** Over; waits for the host to release it. */
export const STATE_DEAD: i32 = 6

export const CN_FLAGS: i32 = 36
export const CN_IS_CLIENT: i32 = 1
/** In the endpoint's list of senders. */
const CN_SENDING: i32 = 2
/** The peer sent a packet that only the owner of the handshake can send. */
export const CN_CONFIRMED: i32 = 4
/** The host does not need it any more. */
export const CN_RELEASED: i32 = 8
/** The host was told that it is over. */
const CN_TOLD: i32 = 16
/** Answer with CLOSE at the next flush. */
export const CN_SAY_CLOSE: i32 = 32
/** The handshake message is due. */
export const CN_SAY_HANDSHAKE: i32 = 64
/** The other side's last handshake message has come. */
export const CN_ANSWERED: i32 = 128
/** Responder: the host has seen to protection, or to it that there is none. */
export const CN_PROTECTED: i32 = 256
/** The peer knows that its limit for the connection holds us back. */
export const CN_SAID_BLOCKED: i32 = 512
/** It is kept also when it has no streams. */
export const CN_PINNED: i32 = 1024

export const CN_TIMER: i32 = 40
const CN_NEXT: i32 = 64
const CN_PREVIOUS: i32 = 68
export const CN_SENDERS_NEXT: i32 = 72
/** Control frames of the connection that are due. */
export const CN_CONTROL: i32 = 76
export const CONTROL_MAX_DATA: i32 = 1
export const CONTROL_MAX_STREAMS: i32 = 2
export const CONTROL_PING: i32 = 4
export const CONTROL_DATA_BLOCKED: i32 = 8

export const CN_LOCAL_CID: i32 = 80
export const CN_REMOTE_CID: i32 = 88
/** What the initial packets are addressed to: chosen by the initiator. */
export const CN_ORIGINAL_CID: i32 = 96
export const CN_STARTED: i32 = 104
export const CN_LAST_HEARD: i32 = 112
export const CN_LAST_SENT: i32 = 120
export const CN_HANDSHAKE_DUE: i32 = 128
export const CN_HANDSHAKE_INTERVAL: i32 = 136
export const CN_HANDSHAKE_COUNT: i32 = 144
/** Message that we send until it is answered: address and length. */
export const CN_MESSAGE_OUT: i32 = 148
/** Message that waits for the host: address and length. */
export const CN_MESSAGE_IN: i32 = 156
/** Packets that came after CLOSE. */
export const CN_CLOSE_HEARD: i32 = 164
export const CN_CLOSE_END: i32 = 168
export const CN_KEEP_ALIVE: i32 = 176
export const CN_IDLE_TIMEOUT: i32 = 184
export const CN_CONNECT_TIMEOUT: i32 = 192
export const CN_STREAMS: i32 = 200
export const CN_STREAM_COUNT: i32 = 204
/** The peer's credit holds something back: 1, and 1 more for each time we asked again. */
export const CN_BLOCKED: i32 = 208
/** Number of the next stream we open. */
export const CN_NEXT_STREAM: i32 = 216
/** Indices of the peer's streams that we have seen. */
export const CN_SEEN: i32 = 220
/** Sum of all streams' bytes that the peer allows, and that we have sent. */
export const CN_LIMIT_OUT: i32 = 240
export const CN_SENT: i32 = 248
/** Sum of the highest offsets received, bytes the host took, limit given, window. */
export const CN_RECEIVED: i32 = 256
export const CN_TAKEN: i32 = 264
export const CN_LIMIT_IN: i32 = 272
export const CN_WINDOW: i32 = 280
export const CN_WINDOW_AT: i32 = 288
export const CN_PEER_STREAM_WINDOW: i32 = 296
/** Streams: how many we may open in all, may the peer open in all, has the peer finished. */
export const CN_STREAMS_OUT: i32 = 304
export const CN_STREAMS_IN: i32 = 308
export const CN_STREAMS_DONE: i32 = 312
export const CN_PEER_BURST: i32 = 316
export const CN_PEER_ACK_DELAY: i32 = 320
export const CN_COUNT_PACKETS_SENT: i32 = 328
export const CN_COUNT_PACKETS_RECEIVED: i32 = 336
export const CN_COUNT_LOST: i32 = 344
export const CN_COUNT_RETRANSMITTED: i32 = 352
export const CN_COUNT_BYTES_SENT: i32 = 360
export const CN_COUNT_BYTES_RECEIVED: i32 = 368
export const CN_COUNT_PROBES: i32 = 376
export const CN_PATHS: i32 = 384
export const PATHS_MAX: i32 = 8
/** When the last stream went, Infinity while there are some. */
export const CN_EMPTY_SINCE: i32 = 416
/** When to try again what found no memory, Infinity: nothing did. */
export const CN_RETRY_AT: i32 = 424
/** Pages that hold bytes of streams which are not acknowledged. */
export const CN_SEND_PAGES: i32 = 432
/** How many streams the peer has opened. */
export const CN_STREAMS_SEEN: i32 = 440
/** Keys of packet protection (keys.ts), 0: none. */
export const CN_KEYS: i32 = 444
/** What the peer's RESET has to bring along. */
export const CN_RESET_TOKEN: i32 = 448
/** For our next first packet; how many we were given. */
export const CN_COOKIE: i32 = 464
export const CN_COOKIES: i32 = 472
/** Streams that have something to send, a row for each priority: head and tail. */
export const CN_READY: i32 = 476
const CN_SIZE: i32 = 504

/** How long a connection may stay half open. */
export const HALF_OPEN_TIMEOUT: f64 = 10000000.0

/** RFC 9002 §6.2.2: round-trip time before the first sample. */
const RTT_INITIAL: f64 = 333000.0
/** Timers of the host have about this grain. */
const GRANULARITY: f64 = 1000.0
/** Probes never wait longer than this, so that a link that returns is noticed soon. */
const PROBE_TIMEOUT_MAX: f64 = 2000000.0
/** Between two tries to get memory. */
const RETRY_INTERVAL: f64 = 50000.0

// ── Making and ending ────────────────────────────────────────────────────────────────────────────

/** Makes a connection with path 0; 0 when a limit is reached. */
export function connectionCreate(
  ep: ptr,
  now: f64,
  flags: i32,
  socket: i32,
  address: ptr,
  packetBytes: i32,
): ptr {
  if (r32(ep + EP_CONNECTION_COUNT) >= r32(ep + EP_CONNECTIONS_MAX)) return 0
  const cn: ptr = take(ep, CN_SIZE)
  if (cn === 0) return 0
  fill(cn, CN_SIZE)
  w32(cn + TAG, TAG_CONNECTION)
  w32(cn + OWNER_PARENT, ep)
  // One connection may hold half of what the endpoint has.
  w32(cn + OWNER_QUOTA, r32(ep + OWNER_QUOTA) >> 1)
  w32(cn + HOST_TAG, -1)
  w32(cn + CN_FLAGS, flags)
  wf64(cn + CN_STARTED, now)
  wf64(cn + CN_LAST_HEARD, now)
  wf64(cn + CN_LAST_SENT, now)
  wf64(cn + CN_EMPTY_SINCE, now)
  wf64(cn + CN_RETRY_AT, Infinity)
  wf64(cn + CN_KEEP_ALIVE, rf64(ep + EP_KEEP_ALIVE))
  wf64(cn + CN_IDLE_TIMEOUT, rf64(ep + EP_IDLE_TIMEOUT))
  wf64(cn + CN_WINDOW, rf64(ep + EP_CONNECTION_WINDOW))
  wf64(cn + CN_LIMIT_IN, rf64(ep + EP_CONNECTION_WINDOW))
  wf64(cn + CN_WINDOW_AT, now)
  w32(cn + CN_STREAMS_IN, r32(ep + EP_STREAMS_MAX))
  w32(cn + CN_NEXT_STREAM, (flags & CN_IS_CLIENT) !== 0 ? 0 : 1)
  const path: ptr = pathCreate(cn, 0, socket, address, packetBytes)
  if (path === 0) {
    give(ep, cn, CN_SIZE)
    return 0
  }
  congestionInit(path, r32(ep + EP_CONGESTION))
  mtuInit(path, r32(ep + EP_PACKET_BYTES_MAX))
  w32(cn + CN_PATHS, path)
  const first: ptr = r32(ep + EP_CONNECTIONS)
  w32(cn + CN_NEXT, first)
  if (first !== 0) w32(first + CN_PREVIOUS, cn)
  w32(ep + EP_CONNECTIONS, cn)
  add32(ep + EP_CONNECTION_COUNT, 1)
  return cn
}

/** Path of that number, or 0. */
export function pathOf(cn: ptr, number: i32): ptr {
  return number < PATHS_MAX ? r32(cn + CN_PATHS + number * 4) : 0
}

// Remote ids stand in the same table, so that a reset can find its connection; bit 0 marks them.

export function registerLocal(cn: ptr, low: i32, high: i32): bool {
  const ep: ptr = r32(cn + ENDPOINT)
  if (!tableAdd(ep, ep + EP_CIDS, low, high, cn)) return false
  w32(cn + CN_LOCAL_CID, low)
  w32(cn + CN_LOCAL_CID + 4, high)
  return true
}

export function registerRemote(cn: ptr, low: i32, high: i32): void {
  const ep: ptr = r32(cn + ENDPOINT)
  w32(cn + CN_REMOTE_CID, low)
  w32(cn + CN_REMOTE_CID + 4, high)
  tableAdd(ep, ep + EP_CIDS, low, high, cn | 1)
}

/**
 * The responder is found by the id in the initial packet, too: at first because its own id is not
 * known, later because late copies of that packet must not begin anything.
 */
export function registerOriginal(cn: ptr, low: i32, high: i32): bool {
  const ep: ptr = r32(cn + ENDPOINT)
  if (!tableAdd(ep, ep + EP_CIDS, low, high, cn | 2)) return false
  w32(cn + CN_ORIGINAL_CID, low)
  w32(cn + CN_ORIGINAL_CID + 4, high)
  return true
}

function unregister(cn: ptr, field: i32, value: i32): void {
  const ep: ptr = r32(cn + ENDPOINT)
  const low: i32 = r32(cn + field)
  const high: i32 = r32(cn + field + 4)
  if (tableFind(ep + EP_CIDS, low, high) === value) tableRemove(ep, ep + EP_CIDS, low, high)
}

export function dropMessage(cn: ptr, field: i32): void {
  const message: ptr = r32(cn + field)
  if (message === 0) return
  if (field === CN_MESSAGE_IN) add32(r32(cn + ENDPOINT) + EP_MESSAGES, -1)
  give(cn, message, r32(cn + field + 4))
  w32(cn + field, 0)
  w32(cn + field + 4, 0)
}

/** Frees everything but the struct itself; streams are gone already. */
function strip(cn: ptr): void {
  const ep: ptr = r32(cn + ENDPOINT)
  unregister(cn, CN_LOCAL_CID, cn)
  unregister(cn, CN_REMOTE_CID, cn | 1)
  unregister(cn, CN_ORIGINAL_CID, cn | 2)
  dropMessage(cn, CN_MESSAGE_OUT)
  dropMessage(cn, CN_MESSAGE_IN)
  keysFree(cn)
  timerClear(ep + EP_WHEEL, cn + CN_TIMER)
  rangesClear(cn, cn + CN_SEEN)
  for (let i: i32 = 0; i < PATHS_MAX; i++) {
    const path: ptr = r32(cn + CN_PATHS + i * 4)
    if (path !== 0) pathFree(cn, path)
    w32(cn + CN_PATHS + i * 4, 0)
  }
}

/** Gives the connection's memory back once it is dead and nobody holds it. */
export function connectionFreeIfDone(cn: ptr): void {
  if (r32(cn + CN_STATE) !== STATE_DEAD) return
  if ((r32(cn + CN_FLAGS) & CN_RELEASED) === 0 || r32(cn + CN_STREAMS) !== 0) return
  // The list of senders is singly linked: flush takes it off and comes back here.
  if ((r32(cn + CN_FLAGS) & CN_SENDING) !== 0) return
  const ep: ptr = r32(cn + ENDPOINT)
  untell(cn)
  const next: ptr = r32(cn + CN_NEXT)
  const previous: ptr = r32(cn + CN_PREVIOUS)
  if (next !== 0) w32(next + CN_PREVIOUS, previous)
  if (previous !== 0) w32(previous + CN_NEXT, next)
  else w32(ep + EP_CONNECTIONS, next)
  add32(ep + EP_CONNECTION_COUNT, -1)
  add32(ep + EP_CONNECTIONS_FREED, 1)
  w32(cn + TAG, 0)
  give(ep, cn, CN_SIZE)
}

/** The next in the endpoint's list of all connections. */
export function nextConnection(cn: ptr): ptr {
  return r32(cn + CN_NEXT)
}

export function setState(cn: ptr, state: i32): void {
  const ep: ptr = r32(cn + ENDPOINT)
  const old: i32 = r32(cn + CN_STATE)
  if (old === STATE_HALF_OPEN) add32(ep + EP_HALF_OPEN_COUNT, -1)
  if (state === STATE_HALF_OPEN) add32(ep + EP_HALF_OPEN_COUNT, 1)
  w32(cn + CN_STATE, state)
}

/** Tells the host that the connection is over. */
export function tellClosed(cn: ptr, code: i32): void {
  if ((r32(cn + CN_FLAGS) & CN_TOLD) !== 0) return
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_TOLD)
  w32(cn + CODE, code)
  count(r32(cn + ENDPOINT), COUNT_CONNECTIONS_CLOSED, 1.0)
  tell(cn, CONNECTION_CLOSED)
}

/** Nothing more will be sent or received; streams are gone already. */
export function bury(cn: ptr, code: i32): void {
  if (r32(cn + CN_STATE) === STATE_DEAD) return
  strip(cn)
  setState(cn, STATE_DEAD)
  tellClosed(cn, code)
  connectionFreeIfDone(cn)
}

/** Drops a connection that the host has never heard of. */
export function discard(cn: ptr): void {
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_RELEASED | CN_TOLD)
  bury(cn, 0)
}

/** The host does not need the connection any more. */
export function connectionRelease(cn: ptr): void {
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_RELEASED | CN_TOLD)
  connectionFreeIfDone(cn)
}

// ── Sending ──────────────────────────────────────────────────────────────────────────────────────

/** Puts the connection on the list that `flush` walks. */
export function wantSend(cn: ptr): void {
  const flags: i32 = r32(cn + CN_FLAGS)
  if ((flags & CN_SENDING) !== 0) return
  w32(cn + CN_FLAGS, flags | CN_SENDING)
  const list: ptr = r32(cn + ENDPOINT) + EP_SENDERS
  w32(cn + CN_SENDERS_NEXT, 0)
  const tail: ptr = r32(list + 4)
  if (tail !== 0) w32(tail + CN_SENDERS_NEXT, cn)
  else w32(list, cn)
  w32(list + 4, cn)
}

/** Takes the first connection off that list, or gives 0. */
export function nextSender(ep: ptr): ptr {
  const list: ptr = ep + EP_SENDERS
  const cn: ptr = r32(list)
  if (cn === 0) return 0
  w32(list, r32(cn + CN_SENDERS_NEXT))
  if (r32(list) === 0) w32(list + 4, 0)
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) & ~CN_SENDING)
  return cn
}

export function addControl(cn: ptr, bits: i32): void {
  w32(cn + CN_CONTROL, r32(cn + CN_CONTROL) | bits)
  wantSend(cn)
}

/** A peer whose packets ever needed less than this is near. */
const NEAR_RTT: f64 = 2000.0
/** No network carries these but a machine's own. */
const LARGE_PACKET: i32 = 16384
const LARGE_SHARE: f64 = 3.0

/**
 * What may be in flight. Near peers are not held back by the way but by their socket's buffer, which
 * no congestion window knows; queueing there makes round trips long, so the shortest one counts.
 */
export function flightWindow(cn: ptr, path: ptr): f64 {
  const window: f64 = congestionWindow(path)
  if (rf64(path + PATH_RTT_MIN) >= NEAR_RTT) return window
  // Systems charge a large datagram with little more than its size, a small one with a multiple.
  const isLarge: bool = r32(path + PATH_PACKET_BYTES) >= LARGE_PACKET
  const share: f64 = isLarge ? LARGE_SHARE : 1.0
  const most: f64 = f64(r32(cn + CN_PEER_BURST)) * share
  // Round trips within one machine are longer whenever its processors are busy, not its network.
  return isLarge ? maxf(minf(window, most), most / 2.0) : minf(window, most)
}

// ── Time ─────────────────────────────────────────────────────────────────────────────────────────

/** RFC 9002 §6.2.1, without back-off. */
export function probeTimeout(cn: ptr, path: ptr): f64 {
  const smoothed: f64 = rf64(path + PATH_RTT_SMOOTHED)
  if (smoothed === 0.0) return RTT_INITIAL * 3.0
  const variance: f64 = maxf(rf64(path + PATH_RTT_VARIANCE) * 4.0, GRANULARITY)
  return smoothed + variance + rf64(cn + CN_PEER_ACK_DELAY)
}

/**
 * When to tell the peer again that its credit holds us back. With nothing in flight nothing else
 * would find out that what it granted was lost.
 */
export function blockedDeadline(cn: ptr, path: ptr): f64 {
  const asked: i32 = r32(cn + CN_BLOCKED)
  if (asked === 0 || r32(path + PATH_IN_FLIGHT_COUNT) > 0) return Infinity
  return rf64(path + PATH_LAST_ELICITING) + probeInterval(cn, path, asked - 1)
}

/** With back-off: doubled for each probe in a row. */
export function probeInterval(cn: ptr, path: ptr, probes: i32): f64 {
  const base: f64 = probeTimeout(cn, path)
  let interval: f64 = base
  for (let i: i32 = 0; i < probes && interval < PROBE_TIMEOUT_MAX; i++) interval *= 2.0
  return maxf(base, minf(interval, PROBE_TIMEOUT_MAX))
}

/**
 * Something found no memory. Who gives memory back does not know who waits for it, and it may be
 * another connection: so this one asks again.
 */
export function starve(cn: ptr): void {
  if (rf64(cn + CN_RETRY_AT) !== Infinity) return
  const due: f64 = rf64(r32(cn + ENDPOINT) + EP_NOW) + RETRY_INTERVAL
  wf64(cn + CN_RETRY_AT, due)
  arm(cn, due)
}

/** Sets the connection's one timer. Later deadlines are left to the timer that is set already. */
export function arm(cn: ptr, due: f64): void {
  const wheel: ptr = r32(cn + ENDPOINT) + EP_WHEEL
  const timer: ptr = cn + CN_TIMER
  if (due === Infinity) return
  if (timerIsSet(timer) && rf64(timer + TIMER_DUE) <= due) return
  timerSet(wheel, timer, due)
}
