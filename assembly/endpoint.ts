/**
 * An endpoint: one identity with its connections. All state hangs off its pointer.
 */
import { jobsClear } from './jobs'
import {
  CONFIG_ACK_DELAY,
  CONFIG_BURST_BYTES,
  CONFIG_CONGESTION,
  CONFIG_CONNECT_TIMEOUT,
  CONFIG_CONNECTION_WINDOW,
  CONFIG_CONNECTIONS_MAX,
  CONFIG_EMPTY_TIMEOUT,
  CONFIG_HALF_OPEN_MAX,
  CONFIG_IDLE_TIMEOUT,
  CONFIG_KEEP_ALIVE,
  CONFIG_LISTENING,
  CONFIG_MEMORY_BYTES,
  CONFIG_PACKET_BYTES_MAX,
  CONFIG_SEED_HIGH,
  CONFIG_SEED_LOW,
  CONFIG_STREAM_WINDOW,
  CONFIG_STREAMS_MAX,
  EVENT_BITS,
  EVENT_CODE,
  EVENT_COUNT,
  EVENT_HANDLE,
  EVENT_KIND,
  EVENT_PARENT,
  EVENT_SIZE,
  EVENT_TAG,
  EVENTS,
  INSTANCE,
  KIND_CONNECTION,
  KIND_STREAM,
  PARAMS,
  SCRATCH,
  STREAM_OPENED,
} from './layout'
import { give, isRetained, OWNER_QUOTA, take } from './pages'
import { addf64, copy, fill, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { tableFree, tableInit } from './table'
import { WHEEL_SIZE, wheelInit } from './wheel'

// ── What endpoints, connections and streams begin with ───────────────────────────────────────────

export const TAG: i32 = 0
export const TAG_ENDPOINT: i32 = 0x45504e54
export const TAG_CONNECTION: i32 = 0x434f4e4e
export const TAG_STREAM: i32 = 0x5354524d
/** The endpoint, of connections and streams (OWNER_PARENT of connections). */
export const ENDPOINT: i32 = 4

/** The connection, of streams. */
const PARENT: i32 = 8

// Connections and streams:

/** Events the host has not seen yet, and LISTED. */
export const PENDING: i32 = 16
const PENDING_NEXT: i32 = 20
/** What the host stored to find its own object; −1 at first. */
export const HOST_TAG: i32 = 24
/** Why it ended. */
export const CODE: i32 = 28
const PENDING_PREVIOUS: i32 = 32
const LISTED: i32 = 0x40000000

// ── Endpoint ─────────────────────────────────────────────────────────────────────────────────────

export const EP_FLAGS: i32 = 16
export const EP_LISTENING: i32 = 1
/** The host sees to the jobs of `flush`. */
export const EP_OFFLOADED: i32 = 2
/** Its sockets send marks of congestion, and see them. */
export const EP_MARKS: i32 = 4
/** What is received stays where it is until `settle`. */
export const EP_LENDS: i32 = 8
/** Objects with pending events: head and tail. */
const EP_PENDING: i32 = 20
/** Connections that may have something to send: head and tail. */
export const EP_SENDERS: i32 = 28
/** All connections. */
export const EP_CONNECTIONS: i32 = 36
export const EP_CONNECTION_COUNT: i32 = 40
export const EP_CONNECTIONS_MAX: i32 = 44
export const EP_HALF_OPEN_COUNT: i32 = 48
export const EP_HALF_OPEN_MAX: i32 = 52
export const EP_STREAM_COUNT: i32 = 56
/** Streams that one peer may have open at a time. */
export const EP_STREAMS_MAX: i32 = 60
/** Largest packet we accept and send. */
export const EP_PACKET_BYTES_MAX: i32 = 64
/** What our sockets' receive buffers hold: told to peers. */
export const EP_BURST_BYTES: i32 = 68
/** Short answers to strangers, waiting for `flush`. */
export const EP_REPLIES: i32 = 72
export const EP_REPLY_COUNT: i32 = 76
/** Next free byte of the train arena and number of descriptors, while `flush` runs. */
export const EP_TRAIN: i32 = 80
export const EP_TRAIN_COUNT: i32 = 84
export const EP_NOW: i32 = 88
export const EP_STREAM_WINDOW: i32 = 96
export const EP_CONNECTION_WINDOW: i32 = 104
export const EP_CONNECT_TIMEOUT: i32 = 112
export const EP_IDLE_TIMEOUT: i32 = 120
export const EP_KEEP_ALIVE: i32 = 128
export const EP_ACK_DELAY: i32 = 136
export const EP_CIDS: i32 = 144
export const EP_STREAMS: i32 = 160
export const EP_EMPTY_TIMEOUT: i32 = 176
/** Receive descriptors: how many there are, the next one, and how far into that (0: not yet). */
export const EP_INGEST_COUNT: i32 = 184
export const EP_INGEST_NEXT: i32 = 188
export const EP_INGEST_AT: i32 = 192
/** Connections freed so far: pointers from before may be stale. */
export const EP_CONNECTIONS_FREED: i32 = 196
/** Until when first packets have to bring a cookie. */
export const EP_LOAD_UNTIL: i32 = 200
/** The present slice of time: its start, first packets in it, those with a cookie. */
export const EP_RATE_AT: i32 = 208
export const EP_RATE_COUNT: i32 = 216
export const EP_PROVEN_COUNT: i32 = 224
/** Shares of networks under load, SHARES_SIZE bytes; 0: never needed yet. */
export const EP_SHARES: i32 = 232
export const SHARES_SIZE: i32 = 65536
/** Congestion controller of new connections (CONTROLLER_…). */
export const EP_CONGESTION: i32 = 236
/** Two secrets of 16 bytes: for cookies, for reset tokens. */
export const EP_SECRETS: i32 = 240
export const SECRETS_SIZE: i32 = 32
export const EP_COUNTERS: i32 = 272
/** The packet at EP_INGEST_AT has waited for the host once. */
export const EP_INGEST_WAITED: i32 = 632
/** Descriptor of the packet whose frames are read. */
export const EP_FROM: i32 = 628
/** Handshake messages that the host has not taken. */
export const EP_MESSAGES: i32 = 636
export const EP_WHEEL: i32 = 640
const EP_SIZE: i32 = EP_WHEEL + WHEEL_SIZE

export const REPLY_TYPE: i32 = 0
export const REPLY_SOCKET: i32 = 4
export const REPLY_ADDRESS: i32 = 8
/** Destination and source connection id. */
export const REPLY_TO: i32 = 32
export const REPLY_FROM: i32 = 40
export const REPLY_LENGTH: i32 = 48
export const REPLY_MESSAGE: i32 = 52
export const REPLY_SIZE: i32 = 72
export const REPLIES_MAX: i32 = 256

/** Quotas count inside an instance: endpoints themselves are charged to this owner. */
export const ROOT: i32 = INSTANCE + 1024

export function rootInit(memoryBytes: i32): void {
  fill(ROOT, 64)
  w32(ROOT + OWNER_QUOTA, memoryBytes)
}

function config(index: i32, least: f64, most: f64): f64 {
  return Math.floor(minf(maxf(rf64(PARAMS + index * 8), least), most))
}

/**
 * Makes an endpoint of the configuration in PARAMS and the two secrets in SCRATCH; 0 when there is no
 * memory.
 */
export function endpointCreate(now: f64): ptr {
  const ep: ptr = take(ROOT, EP_SIZE)
  if (ep === 0) return 0
  fill(ep, EP_SIZE)
  const replies: ptr = take(ROOT, REPLIES_MAX * REPLY_SIZE)
  if (replies === 0) {
    give(ROOT, ep, EP_SIZE)
    return 0
  }
  w32(ep + TAG, TAG_ENDPOINT)
  w32(ep + EP_REPLIES, replies)
  w32(ep + OWNER_QUOTA, i32(config(CONFIG_MEMORY_BYTES, 65536.0, 1073741824.0)))
  w32(ep + EP_FLAGS, i32(config(CONFIG_LISTENING, 0.0, 1.0)))
  w32(ep + EP_CONNECTIONS_MAX, i32(config(CONFIG_CONNECTIONS_MAX, 1.0, 1000000.0)))
  w32(ep + EP_HALF_OPEN_MAX, i32(config(CONFIG_HALF_OPEN_MAX, 1.0, 65536.0)))
  w32(ep + EP_STREAMS_MAX, i32(config(CONFIG_STREAMS_MAX, 1.0, 1000000.0)))
  w32(ep + EP_PACKET_BYTES_MAX, i32(config(CONFIG_PACKET_BYTES_MAX, 548.0, 65507.0)))
  w32(ep + EP_CONGESTION, i32(config(CONFIG_CONGESTION, 0.0, 1.0)))
  w32(ep + EP_BURST_BYTES, i32(config(CONFIG_BURST_BYTES, 4096.0, 1073741824.0)))
  wf64(ep + EP_STREAM_WINDOW, config(CONFIG_STREAM_WINDOW, 4096.0, 1073741824.0))
  wf64(ep + EP_CONNECTION_WINDOW, config(CONFIG_CONNECTION_WINDOW, 4096.0, 1073741824.0))
  wf64(ep + EP_CONNECT_TIMEOUT, config(CONFIG_CONNECT_TIMEOUT, 1000.0, 4e15))
  wf64(ep + EP_IDLE_TIMEOUT, config(CONFIG_IDLE_TIMEOUT, 1000.0, 4e15))
  wf64(ep + EP_KEEP_ALIVE, config(CONFIG_KEEP_ALIVE, 0.0, 4e15))
  wf64(ep + EP_ACK_DELAY, config(CONFIG_ACK_DELAY, 0.0, 1e6))
  wf64(ep + EP_EMPTY_TIMEOUT, config(CONFIG_EMPTY_TIMEOUT, 0.0, 4e15))
  tableInit(ep + EP_CIDS, i32(config(CONFIG_SEED_LOW, 0.0, 2147483647.0)))
  tableInit(ep + EP_STREAMS, i32(config(CONFIG_SEED_HIGH, 0.0, 2147483647.0)))
  copy(ep + EP_SECRETS, SCRATCH, SECRETS_SIZE)
  fill(SCRATCH, SECRETS_SIZE)
  wf64(ep + EP_RATE_AT, -Infinity)
  wf64(ep + EP_LOAD_UNTIL, -Infinity)
  wheelInit(ep + EP_WHEEL, now)
  wf64(ep + EP_NOW, now)
  return ep
}

/** Gives the endpoint's own memory back; its connections are gone already. */
export function endpointFree(ep: ptr): void {
  jobsClear(0)
  tableFree(ep, ep + EP_CIDS)
  tableFree(ep, ep + EP_STREAMS)
  give(ROOT, r32(ep + EP_REPLIES), REPLIES_MAX * REPLY_SIZE)
  if (r32(ep + EP_SHARES) !== 0) give(ROOT, r32(ep + EP_SHARES), SHARES_SIZE)
  fill(ep + EP_SECRETS, SECRETS_SIZE)
  w32(ep + TAG, 0)
  give(ROOT, ep, EP_SIZE)
}

/** Whether a handle from the host is what it is taken for. */
export function isA(handle: ptr, tag: i32): bool {
  return isRetained(handle) && r32(handle + TAG) === tag
}

export function count(ep: ptr, counter: i32, by: f64): void {
  addf64(ep + EP_COUNTERS + counter * 8, by)
}

// ── Events ───────────────────────────────────────────────────────────────────────────────────────

/** Adds pending bits to a connection or stream. They stay until the host has seen them. */
export function tell(object: ptr, bits: i32): void {
  const pending: i32 = r32(object + PENDING)
  w32(object + PENDING, pending | bits | LISTED)
  if ((pending & LISTED) !== 0) return
  const list: ptr = r32(object + ENDPOINT) + EP_PENDING
  const tail: ptr = r32(list + 4)
  w32(object + PENDING_NEXT, 0)
  w32(object + PENDING_PREVIOUS, tail)
  if (tail !== 0) w32(tail + PENDING_NEXT, object)
  else w32(list, object)
  w32(list + 4, object)
}

/** Takes a freed object off the list of those with pending events. */
export function untell(object: ptr): void {
  if ((r32(object + PENDING) & LISTED) === 0) return
  const list: ptr = r32(object + ENDPOINT) + EP_PENDING
  const next: ptr = r32(object + PENDING_NEXT)
  const previous: ptr = r32(object + PENDING_PREVIOUS)
  if (previous !== 0) w32(previous + PENDING_NEXT, next)
  else w32(list, next)
  if (next !== 0) w32(next + PENDING_PREVIOUS, previous)
  else w32(list + 4, previous)
  w32(object + PENDING, 0)
}

/** Fills the event table with what is pending, gives the number of events; 0: nothing is left. */
export function endpointEvents(ep: ptr): i32 {
  const list: ptr = ep + EP_PENDING
  const last: ptr = r32(list + 4)
  let isLast: bool = last === 0
  let n: i32 = 0
  while (n < EVENT_COUNT && !isLast) {
    const object: ptr = r32(list)
    const event: ptr = EVENTS + n * EVENT_SIZE
    const isStream: bool = r32(object + TAG) === TAG_STREAM
    const pending: i32 = r32(object + PENDING) & ~LISTED
    // The host learns of a new stream first; what else there is to say comes with the next call,
    // when it has an object of its own for it.
    const isNew: bool = isStream && (pending & STREAM_OPENED) !== 0
    isLast = object === last
    untell(object)
    w32(event + EVENT_KIND, isStream ? KIND_STREAM : KIND_CONNECTION)
    w32(event + EVENT_BITS, isNew ? STREAM_OPENED : pending)
    w32(event + EVENT_HANDLE, object)
    w32(event + EVENT_TAG, r32(object + HOST_TAG))
    w32(event + EVENT_CODE, r32(object + CODE))
    w32(event + EVENT_PARENT, isStream ? r32(r32(object + PARENT) + HOST_TAG) : 0)
    if (isNew && pending !== STREAM_OPENED) tell(object, pending & ~STREAM_OPENED)
    n += 1
  }
  return n
}
