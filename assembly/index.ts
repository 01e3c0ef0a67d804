import { settleBorrowed } from './borrowed'
import { endpointFlush } from './builder'
import { congestionWindow } from './congestion'
import {
  addControl,
  bury,
  CN_ANSWERED,
  CN_CONNECT_TIMEOUT,
  CN_COUNT_BYTES_RECEIVED,
  CN_COUNT_BYTES_SENT,
  CN_COUNT_LOST,
  CN_COUNT_PACKETS_RECEIVED,
  CN_COUNT_PACKETS_SENT,
  CN_COUNT_PROBES,
  CN_COUNT_RETRANSMITTED,
  CN_EMPTY_SINCE,
  CN_FLAGS,
  CN_HANDSHAKE_COUNT,
  CN_HANDSHAKE_DUE,
  CN_IDLE_TIMEOUT,
  CN_IS_CLIENT,
  CN_KEEP_ALIVE,
  CN_LAST_HEARD,
  CN_LIMIT_OUT,
  CN_LOCAL_CID,
  CN_MESSAGE_IN,
  CN_MESSAGE_OUT,
  CN_ORIGINAL_CID,
  CN_PATHS,
  CN_PEER_ACK_DELAY,
  CN_PEER_BURST,
  CN_PEER_STREAM_WINDOW,
  CN_PINNED,
  CN_PROTECTED,
  CN_REMOTE_CID,
  CN_RESET_TOKEN,
  CN_SAY_HANDSHAKE,
  CN_STATE,
  CN_STREAM_COUNT,
  CN_STREAMS_OUT,
  CONTROL_PING,
  connectionCreate,
  dropMessage,
  probeInterval,
  registerLocal,
  connectionRelease as release,
  STATE_CLOSING,
  STATE_CONNECTING,
  STATE_DEAD,
  STATE_ESTABLISHED,
  STATE_HALF_OPEN,
  setState,
  wantSend,
} from './connection'
import { crc32cInit } from './crc32c'
import { endpointNextTimeout, endpointTimeout } from './deadlines'
import { ecnStart } from './ecn'
import {
  count,
  endpointCreate as create,
  ENDPOINT,
  EP_CONNECT_TIMEOUT,
  EP_CONNECTION_COUNT,
  EP_CONNECTIONS,
  EP_COUNTERS,
  EP_FLAGS,
  EP_HALF_OPEN_COUNT,
  EP_INGEST_NEXT,
  EP_LISTENING,
  EP_MARKS,
  EP_NOW,
  EP_OFFLOADED,
  EP_STREAM_COUNT,
  endpointEvents,
  endpointFree,
  HOST_TAG,
  isA,
  rootInit,
  TAG_CONNECTION,
  TAG_ENDPOINT,
  TAG_STREAM,
} from './endpoint'
import { closeConnection } from './frames'
import { ingestFinish, ingestPrepare, ingestRun, ingestStart } from './ingest'
import { jobsCount, runJobs } from './jobs'
import { keysInstall } from './keys'
import {
  ADDRESS_SIZE,
  CIPHER_NONE,
  CODE_ENDPOINT_CLOSED,
  COUNT_CONNECTIONS_OPENED,
  FIGURE_BYTES_IN_FLIGHT,
  FIGURE_BYTES_RECEIVED,
  FIGURE_BYTES_SENT,
  FIGURE_CONGESTION_WINDOW,
  FIGURE_MEMORY_USED,
  FIGURE_PACKET_BYTES,
  FIGURE_PACKETS_LOST,
  FIGURE_PACKETS_RECEIVED,
  FIGURE_PACKETS_RETRANSMITTED,
  FIGURE_PACKETS_SENT,
  FIGURE_PROBE_TIMEOUT,
  FIGURE_PROBES,
  FIGURE_PROBES_UNANSWERED,
  FIGURE_RTT_MIN,
  FIGURE_RTT_SMOOTHED,
  FIGURE_RTT_VARIANCE,
  FIGURE_STREAMS,
  GAUGE_CONNECTIONS,
  GAUGE_HALF_OPEN,
  GAUGE_MEMORY_MAX,
  GAUGE_MEMORY_USED,
  GAUGE_STREAMS,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  PARAMS,
  PARAMS_ADDRESS,
  PARAMS_SOCKET,
  PEER_ACK_DELAY,
  PEER_BURST_BYTES,
  PEER_CONNECTION_WINDOW,
  PEER_IDLE_TIMEOUT,
  PEER_PACKET_BYTES_MAX,
  PEER_STREAM_WINDOW,
  PEER_STREAMS_MAX,
  RESET_TOKEN_SIZE,
  SCRATCH,
} from './layout'
import { changeSocket } from './migration'
import { mtuInit } from './mtu'
import { OWNER_QUOTA, OWNER_USED, pagesCount, pagesInit, take } from './pages'
import {
  PATH_ADDRESS,
  PATH_IN_FLIGHT,
  PATH_MTU_MOST,
  PATH_PACKET_BYTES,
  PATH_PROBE_COUNT,
  PATH_RTT_MIN,
  PATH_RTT_SMOOTHED,
  PATH_RTT_VARIANCE,
  PATH_SOCKET,
} from './path'
import { copy, fill, maxf, maxi, minf, mini, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { sampleHandshake } from './recovery'
import { refuseHandshake, resetToken } from './strangers'
import {
  streamAbort as abort,
  streamAccept as accept,
  streamOpen as open,
  streamRefuse as refuse,
  streamRelease as releaseStream,
  ST_NUMBER,
  ST_PORT,
  setPriority,
  streamsDestroy,
  streamsEstablished,
  streamsSever,
} from './stream'
import {
  streamConsume as consume,
  streamEnded as ended,
  streamPeek as peek,
  streamReadable as readable,
} from './stream-receive'
import {
  streamCommit as commit,
  streamFinish as finish,
  streamReserve as reserve,
} from './stream-send'
import { INITIAL_SIZE_FLOOR, INITIALS_LARGE, MESSAGE_SIZE_MAX, PACKET_SIZE_MIN } from './wire'

export { open as aeadOpen, seal as aeadSeal } from './aead'
export * from './control'
export * from './crc32c'

// ── Instance ─────────────────────────────────────────────────────────────────────────────────────

/** Lays out the memory; to be called once. Gives the number of pages, 0 when the size is wrong. */
export function instanceInit(memoryBytes: i32): i32 {
  if (memoryBytes < MEMORY_BYTES_MIN || memoryBytes > MEMORY_BYTES_MAX) return 0
  crc32cInit()
  pagesInit(memoryBytes)
  rootInit(memoryBytes)
  return pagesCount()
}

// ── Endpoint ─────────────────────────────────────────────────────────────────────────────────────

/**
 * Makes an endpoint of the CONFIG_… values in PARAMS and two secrets of 16 bytes in SCRATCH, for
 * cookies and for reset tokens; 0: no memory.
 */
export function endpointCreate(now: f64): ptr {
  return create(now)
}

/** Drops all connections without a word and frees the endpoint. Close connections first. */
export function endpointDestroy(ep: ptr): void {
  if (!isA(ep, TAG_ENDPOINT)) return
  while (r32(ep + EP_CONNECTIONS) !== 0) {
    const cn: ptr = r32(ep + EP_CONNECTIONS)
    streamsDestroy(cn)
    // Releasing frees one that is dead already.
    const isDead: bool = r32(cn + CN_STATE) === STATE_DEAD
    release(cn)
    if (!isDead) bury(cn, CODE_ENDPOINT_CLOSED)
    // One that waits in the list of senders is freed when that list is walked.
    if (r32(ep + EP_CONNECTIONS) === cn) endpointFlush(ep, rf64(ep + EP_NOW))
  }
  endpointFree(ep)
}

/** Whether first packets of strangers are taken or refused. */
export function endpointListen(ep: ptr, isListening: i32): void {
  if (!isA(ep, TAG_ENDPOINT)) return
  setFlag(ep, EP_LISTENING, isListening)
}

/**
 * Whether the host does the jobs of `flush`: after it `jobs` tells how many there are, and
 * `jobsFinish` does what the host could not.
 */
export function endpointOffload(ep: ptr, isOffloaded: i32): void {
  if (isA(ep, TAG_ENDPOINT)) setFlag(ep, EP_OFFLOADED, isOffloaded)
}

/** Whether the endpoint's sockets send and see the bits of explicit congestion notification. */
export function endpointMark(ep: ptr, hasMarks: i32): void {
  if (isA(ep, TAG_ENDPOINT)) setFlag(ep, EP_MARKS, hasMarks)
}

function setFlag(ep: ptr, flag: i32, isSet: i32): void {
  w32(ep + EP_FLAGS, (r32(ep + EP_FLAGS) & ~flag) | (isSet !== 0 ? flag : 0))
}

/**
 * Takes the first `count` receive descriptors; gives how many were taken. If some are left, a
 * handshake message waits: see to the events, then call `ingestMore` until all are taken.
 */
export function ingest(ep: ptr, now: f64, count: i32): i32 {
  if (!isA(ep, TAG_ENDPOINT)) return 0
  ingestStart(ep, count, false)
  return ingestRun(ep, now)
}
/** Goes on; gives how many descriptors were taken in all. */
export function ingestMore(ep: ptr, now: f64): i32 {
  return isA(ep, TAG_ENDPOINT) ? ingestRun(ep, now) : 0
}

// The same in steps, for a host that does jobs itself: `ingestBegin`, then `ingestJobs` (jobs are
// written) and `ingestApply` (they were done) in turns until `ingestJobs` gives 0; then, if fewer
// than all descriptors are taken (`ingestTaken`), see to the events and go on with `ingestJobs`.

/** `lends`: what descriptors point to will not change before `settle`, so large pieces stay there. */
export function ingestBegin(ep: ptr, count: i32, lends: i32): void {
  if (isA(ep, TAG_ENDPOINT)) ingestStart(ep, count, lends !== 0)
}
/** Copies what was left in the receive arena and not read: it may be written to again. */
export function settle(): void {
  settleBorrowed()
}
export function ingestJobs(ep: ptr, now: f64): i32 {
  return isA(ep, TAG_ENDPOINT) ? ingestPrepare(ep, now) : 0
}
export function ingestApply(ep: ptr, now: f64): void {
  if (isA(ep, TAG_ENDPOINT)) ingestFinish(ep, now)
}
export function ingestTaken(ep: ptr): i32 {
  return isA(ep, TAG_ENDPOINT) ? r32(ep + EP_INGEST_NEXT) : 0
}

/** Fills send descriptors; gives how many. Call until 0. */
export function flush(ep: ptr, now: f64): i32 {
  return isA(ep, TAG_ENDPOINT) ? endpointFlush(ep, now) : 0
}

/** Jobs in the list at JOBS. */
export function jobs(): i32 {
  return jobsCount()
}
/** Does the jobs that nobody has done. */
export function jobsFinish(): void {
  runJobs()
}

/** Does what is due. Early calls are normal. */
export function timeout(ep: ptr, now: f64): void {
  if (isA(ep, TAG_ENDPOINT)) endpointTimeout(ep, now)
}

/** When `timeout` wants to be called: microseconds on the caller's clock, or Infinity. */
export function nextTimeout(ep: ptr): f64 {
  return isA(ep, TAG_ENDPOINT) ? endpointNextTimeout(ep) : Infinity
}

/** Fills the event table; gives how many events. Call until 0. */
export function events(ep: ptr): i32 {
  return isA(ep, TAG_ENDPOINT) ? endpointEvents(ep) : 0
}

/** Address of the COUNT_… counters. */
export function endpointCounters(ep: ptr): ptr {
  return isA(ep, TAG_ENDPOINT) ? ep + EP_COUNTERS : 0
}

/** Writes the GAUGE_… values to PARAMS. */
export function endpointGauges(ep: ptr): void {
  if (!isA(ep, TAG_ENDPOINT)) return
  wf64(PARAMS + GAUGE_CONNECTIONS * 8, f64(r32(ep + EP_CONNECTION_COUNT)))
  wf64(PARAMS + GAUGE_HALF_OPEN * 8, f64(r32(ep + EP_HALF_OPEN_COUNT)))
  wf64(PARAMS + GAUGE_STREAMS * 8, f64(r32(ep + EP_STREAM_COUNT)))
  wf64(PARAMS + GAUGE_MEMORY_USED * 8, f64(r32(ep + OWNER_USED)))
  wf64(PARAMS + GAUGE_MEMORY_MAX * 8, f64(r32(ep + OWNER_QUOTA)))
}

/** Stores a number in a connection or stream that comes back with each of its events. */
export function setTag(handle: ptr, tag: i32): void {
  if (isA(handle, TAG_CONNECTION) || isA(handle, TAG_STREAM)) w32(handle + HOST_TAG, tag)
}

// ── Connection ───────────────────────────────────────────────────────────────────────────────────

/** Stores the message in SCRATCH as what is sent until it is answered. */
function setMessage(cn: ptr, length: i32): bool {
  dropMessage(cn, CN_MESSAGE_OUT)
  const message: ptr = take(cn, length)
  if (message === 0) return false
  copy(message, SCRATCH, length)
  w32(cn + CN_MESSAGE_OUT, message)
  w32(cn + CN_MESSAGE_OUT + 4, length)
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_HANDSHAKE)
  wantSend(cn)
  return true
}

/**
 * Starts a connection to the address in PARAMS_ADDRESS with the message in SCRATCH. `local` and
 * `original` are random ids; PARAMS[0] is the time to wait for an answer, 0: as configured.
 * 0: a limit is reached.
 */
export function connectionOpen(
  ep: ptr,
  now: f64,
  socket: i32,
  packetBytes: i32,
  localLow: i32,
  localHigh: i32,
  originalLow: i32,
  originalHigh: i32,
  messageLength: i32,
): ptr {
  if (!isA(ep, TAG_ENDPOINT) || messageLength < 1 || messageLength > MESSAGE_SIZE_MAX) return 0
  wf64(ep + EP_NOW, now)
  const cn: ptr = connectionCreate(
    ep,
    now,
    CN_IS_CLIENT,
    socket,
    PARAMS_ADDRESS,
    maxi(packetBytes, PACKET_SIZE_MIN),
  )
  if (cn === 0) return 0
  setState(cn, STATE_CONNECTING)
  w32(cn + CN_ORIGINAL_CID, originalLow)
  w32(cn + CN_ORIGINAL_CID + 4, originalHigh)
  const patience: f64 = minf(maxf(rf64(PARAMS), 0.0), 4e15)
  wf64(cn + CN_CONNECT_TIMEOUT, patience > 0.0 ? patience : rf64(ep + EP_CONNECT_TIMEOUT))
  wf64(cn + CN_HANDSHAKE_DUE, now)
  if (!registerLocal(cn, localLow, localHigh) || !setMessage(cn, messageLength)) {
    release(cn)
    bury(cn, 0)
    return 0
  }
  count(ep, COUNT_CONNECTIONS_OPENED, 1.0)
  return cn
}

/** Moves the handshake message that waits to SCRATCH; gives its length, 0: none. */
export function connectionMessage(cn: ptr): i32 {
  if (!isA(cn, TAG_CONNECTION)) return 0
  const length: i32 = r32(cn + CN_MESSAGE_IN + 4)
  if (length === 0) return 0
  copy(SCRATCH, r32(cn + CN_MESSAGE_IN), length)
  dropMessage(cn, CN_MESSAGE_IN)
  return length
}

/** What the peer told about itself, from the PEER_… values in PARAMS. */
function setPeer(cn: ptr): void {
  const path: ptr = r32(cn + CN_PATHS)
  wf64(cn + CN_PEER_STREAM_WINDOW, clamp(PEER_STREAM_WINDOW, 0.0, 9007199254740991.0))
  wf64(cn + CN_LIMIT_OUT, clamp(PEER_CONNECTION_WINDOW, 0.0, 9007199254740991.0))
  w32(cn + CN_STREAMS_OUT, i32(clamp(PEER_STREAMS_MAX, 0.0, 536870911.0)))
  wf64(cn + CN_PEER_ACK_DELAY, clamp(PEER_ACK_DELAY, 0.0, 1e6))
  w32(cn + CN_PEER_BURST, i32(clamp(PEER_BURST_BYTES, 4096.0, 1073741824.0)))
  // RFC 9000 §10.1: the shorter of both idle limits counts.
  wf64(cn + CN_IDLE_TIMEOUT, minf(rf64(cn + CN_IDLE_TIMEOUT), clamp(PEER_IDLE_TIMEOUT, 1e6, 4e15)))
  const packet: i32 = i32(clamp(PEER_PACKET_BYTES_MAX, 548.0, 65507.0))
  mtuInit(path, mini(packet, r32(path + PATH_MTU_MOST)))
}

function clamp(index: i32, least: f64, most: f64): f64 {
  return Math.floor(minf(maxf(rf64(PARAMS + index * 8), least), most))
}

/**
 * Responder: answers a handshake with the message in SCRATCH; the PEER_… values are in PARAMS. The
 * peer's packets are taken only after `connectionProtect`. False when there is no memory: the
 * connection is to be refused.
 */
export function connectionAnswer(
  cn: ptr,
  localLow: i32,
  localHigh: i32,
  packetBytes: i32,
  messageLength: i32,
): bool {
  if (!isA(cn, TAG_CONNECTION) || r32(cn + CN_STATE) !== STATE_HALF_OPEN) return false
  if (messageLength < 1 || messageLength > MESSAGE_SIZE_MAX) return false
  if (r32(cn + CN_MESSAGE_OUT) !== 0) return false
  const path: ptr = r32(cn + CN_PATHS)
  w32(
    path + PATH_PACKET_BYTES,
    mini(maxi(packetBytes, PACKET_SIZE_MIN), r32(path + PATH_PACKET_BYTES)),
  )
  setPeer(cn)
  return registerLocal(cn, localLow, localHigh) && setMessage(cn, messageLength)
}

/**
 * Protects the connection's packets from now on: CIPHER_…; SCRATCH holds the first links of both
 * chains, for sending and for receiving, and is zeroed. False when there is no memory.
 */
export function connectionProtect(cn: ptr, now: f64, cipher: i32): bool {
  if (!isA(cn, TAG_CONNECTION) || r32(cn + CN_STATE) > STATE_ESTABLISHED) return false
  if ((r32(cn + CN_FLAGS) & CN_PROTECTED) !== 0) return false
  if (cipher !== CIPHER_NONE && !keysInstall(cn, cipher, now)) return false
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_PROTECTED | CN_ANSWERED)
  return true
}

/** What a RESET from the peer has to bring along: 16 bytes in SCRATCH. */
export function connectionPeerToken(cn: ptr): void {
  if (isA(cn, TAG_CONNECTION)) copy(cn + CN_RESET_TOKEN, SCRATCH, RESET_TOKEN_SIZE)
}

/** Writes the token for a connection id of ours to SCRATCH: the peer is told. */
export function endpointResetToken(ep: ptr, low: i32, high: i32): void {
  if (isA(ep, TAG_ENDPOINT)) resetToken(ep, low, high, SCRATCH)
}

/**
 * Initiator: the answer was good, `connectionProtect` was called; the PEER_… values are in PARAMS. A
 * last message in SCRATCH goes to the responder until it sends a packet; length 0: there is none.
 */
export function connectionEstablish(cn: ptr, now: f64, messageLength: i32): bool {
  if (!isA(cn, TAG_CONNECTION) || r32(cn + CN_STATE) !== STATE_CONNECTING) return false
  const needed: i32 = CN_PROTECTED | CN_ANSWERED
  if ((r32(cn + CN_FLAGS) & needed) !== needed || messageLength > MESSAGE_SIZE_MAX) return false
  dropMessage(cn, CN_MESSAGE_IN)
  dropMessage(cn, CN_MESSAGE_OUT)
  setPeer(cn)
  // Only a first packet of the least size was answered: more may not arrive.
  const path: ptr = r32(cn + CN_PATHS)
  if (r32(cn + CN_HANDSHAKE_COUNT) > INITIALS_LARGE) {
    w32(path + PATH_PACKET_BYTES, mini(r32(path + PATH_PACKET_BYTES), INITIAL_SIZE_FLOOR))
  }
  setState(cn, STATE_ESTABLISHED)
  ecnStart(path)
  wf64(cn + CN_LAST_HEARD, now)
  sampleHandshake(cn, r32(cn + CN_PATHS), now)
  // What the handshake took does not count as time without streams.
  if (r32(cn + CN_STREAM_COUNT) === 0) wf64(cn + CN_EMPTY_SINCE, now)
  streamsEstablished(cn)
  // The responder waits for proof that we have its answer.
  addControl(cn, CONTROL_PING)
  return messageLength < 1 || setMessage(cn, messageLength)
}

/** The handshake comes to nothing: the other side is told, if it is known; the handle is gone. */
export function connectionRefuse(cn: ptr, code: i32): void {
  if (!isA(cn, TAG_CONNECTION)) return
  const state: i32 = r32(cn + CN_STATE)
  if (state !== STATE_HALF_OPEN && state !== STATE_CONNECTING) return
  const isKnown: bool = state === STATE_HALF_OPEN || (r32(cn + CN_FLAGS) & CN_ANSWERED) !== 0
  if (isKnown) refuseHandshake(cn, code & 0xff)
  streamsDestroy(cn)
  release(cn)
  bury(cn, code)
}

/** Copies our id, the peer's and the one in the first packet to SCRATCH, 8 bytes each. */
export function connectionIds(cn: ptr): void {
  if (!isA(cn, TAG_CONNECTION)) return
  copy(SCRATCH, cn + CN_LOCAL_CID, 8)
  copy(SCRATCH + 8, cn + CN_REMOTE_CID, 8)
  copy(SCRATCH + 16, cn + CN_ORIGINAL_CID, 8)
}

/** Where its first path lies, for who looks at its records; 0: nowhere any more. */
export function connectionPath(cn: ptr): ptr {
  return isA(cn, TAG_CONNECTION) ? r32(cn + CN_PATHS) : 0
}

/** Closes: the peer is told, all streams are gone, the handle must not be used any more. */
export function connectionClose(cn: ptr, now: f64, code: i32): void {
  if (!isA(cn, TAG_CONNECTION)) return
  const state: i32 = r32(cn + CN_STATE)
  wf64(r32(cn + ENDPOINT) + EP_NOW, now)
  if (state === STATE_ESTABLISHED) closeConnection(cn, code, now)
  streamsDestroy(cn)
  release(cn)
  if (state === STATE_CONNECTING || state === STATE_HALF_OPEN) bury(cn, code)
}

/** The peer is known to be gone: CONNECTION_CLOSED follows. */
export function connectionLose(cn: ptr, code: i32): void {
  if (!isA(cn, TAG_CONNECTION) || r32(cn + CN_STATE) >= STATE_CLOSING) return
  streamsSever(cn)
  bury(cn, code)
}

/** After CONNECTION_CLOSED: the handle must not be used any more. */
export function connectionRelease(cn: ptr): void {
  if (!isA(cn, TAG_CONNECTION)) return
  const state: i32 = r32(cn + CN_STATE)
  if (state >= STATE_CLOSING) release(cn)
}

/** Microseconds without traffic until a PING leaves; 0: never. */
export function connectionKeepAlive(cn: ptr, micros: f64): void {
  if (!isA(cn, TAG_CONNECTION)) return
  wf64(cn + CN_KEEP_ALIVE, minf(maxf(micros, 0.0), 4e15))
  wantSend(cn)
}

/** Whether the connection is kept also when it has no streams. */
export function connectionPin(cn: ptr, isPinned: i32): void {
  if (!isA(cn, TAG_CONNECTION)) return
  const flags: i32 = r32(cn + CN_FLAGS)
  w32(cn + CN_FLAGS, isPinned !== 0 ? flags | CN_PINNED : flags & ~CN_PINNED)
  wantSend(cn)
}

/** Nothing larger than `bytes` leaves for the peer from now on: the host knows the interface. */
export function connectionPacketMax(cn: ptr, bytes: i32): void {
  if (!isA(cn, TAG_CONNECTION) || r32(cn + CN_PATHS) === 0) return
  const path: ptr = r32(cn + CN_PATHS)
  mtuInit(path, mini(maxi(bytes, PACKET_SIZE_MIN), r32(path + PATH_MTU_MOST)))
}

/** The connection leaves through another socket of ours from now on. */
export function connectionSocket(cn: ptr, now: f64, socket: i32): void {
  if (!isA(cn, TAG_CONNECTION) || r32(cn + CN_PATHS) === 0) return
  const path: ptr = r32(cn + CN_PATHS)
  wf64(r32(cn + ENDPOINT) + EP_NOW, now)
  if (r32(cn + CN_STATE) === STATE_ESTABLISHED) changeSocket(cn, path, socket, now)
  else w32(path + PATH_SOCKET, socket)
}

/** Copies the peer's address to PARAMS_ADDRESS, and the number of our socket to PARAMS_SOCKET. */
export function connectionAddress(cn: ptr): void {
  if (!isA(cn, TAG_CONNECTION) || r32(cn + CN_PATHS) === 0) return
  w32(PARAMS_SOCKET, r32(r32(cn + CN_PATHS) + PATH_SOCKET))
  copy(PARAMS_ADDRESS, r32(cn + CN_PATHS) + PATH_ADDRESS, ADDRESS_SIZE)
}

/** Writes the FIGURE_… values to PARAMS. */
export function connectionFigures(cn: ptr): void {
  fill(PARAMS, 136)
  if (!isA(cn, TAG_CONNECTION)) return
  const path: ptr = r32(cn + CN_PATHS)
  if (path !== 0) {
    wf64(PARAMS + FIGURE_RTT_SMOOTHED * 8, rf64(path + PATH_RTT_SMOOTHED))
    wf64(PARAMS + FIGURE_RTT_VARIANCE * 8, rf64(path + PATH_RTT_VARIANCE))
    wf64(PARAMS + FIGURE_RTT_MIN * 8, rf64(path + PATH_RTT_MIN))
    wf64(PARAMS + FIGURE_CONGESTION_WINDOW * 8, congestionWindow(path))
    wf64(PARAMS + FIGURE_BYTES_IN_FLIGHT * 8, f64(r32(path + PATH_IN_FLIGHT)))
    wf64(PARAMS + FIGURE_PROBE_TIMEOUT * 8, probeInterval(cn, path, r32(path + PATH_PROBE_COUNT)))
    wf64(PARAMS + FIGURE_PROBES_UNANSWERED * 8, f64(r32(path + PATH_PROBE_COUNT)))
    wf64(PARAMS + FIGURE_PACKET_BYTES * 8, f64(r32(path + PATH_PACKET_BYTES)))
  }
  wf64(PARAMS + FIGURE_PACKETS_SENT * 8, rf64(cn + CN_COUNT_PACKETS_SENT))
  wf64(PARAMS + FIGURE_PACKETS_RECEIVED * 8, rf64(cn + CN_COUNT_PACKETS_RECEIVED))
  wf64(PARAMS + FIGURE_PACKETS_LOST * 8, rf64(cn + CN_COUNT_LOST))
  wf64(PARAMS + FIGURE_PACKETS_RETRANSMITTED * 8, rf64(cn + CN_COUNT_RETRANSMITTED))
  wf64(PARAMS + FIGURE_BYTES_SENT * 8, rf64(cn + CN_COUNT_BYTES_SENT))
  wf64(PARAMS + FIGURE_BYTES_RECEIVED * 8, rf64(cn + CN_COUNT_BYTES_RECEIVED))
  wf64(PARAMS + FIGURE_PROBES * 8, rf64(cn + CN_COUNT_PROBES))
  wf64(PARAMS + FIGURE_MEMORY_USED * 8, f64(r32(cn + OWNER_USED)))
  wf64(PARAMS + FIGURE_STREAMS * 8, f64(r32(cn + CN_STREAM_COUNT)))
}

// ── Stream ───────────────────────────────────────────────────────────────────────────────────────

/** Opens a stream; `port` is what the opener calls its own. 0: no memory, or the connection ends. */
export function streamOpen(cn: ptr, port: i32): ptr {
  return isA(cn, TAG_CONNECTION) ? open(cn, port) : 0
}
export function streamAccept(st: ptr): void {
  if (isA(st, TAG_STREAM)) accept(st)
}
/** Refuses and releases. */
export function streamRefuse(st: ptr, code: i32): void {
  if (isA(st, TAG_STREAM)) refuse(st, code & 0xffff)
}
/** Room for up to `want` bytes, at PARAMS[0]; 0: full, STREAM_WRITABLE follows. */
export function streamReserve(st: ptr, want: i32): i32 {
  return isA(st, TAG_STREAM) ? reserve(st, want) : 0
}
/** The first `size` bytes of the reserved room are written. */
export function streamCommit(st: ptr, size: i32): void {
  if (isA(st, TAG_STREAM)) commit(st, size)
}
export function streamFinish(st: ptr): void {
  if (isA(st, TAG_STREAM)) finish(st)
}
/** 0: before all others, 1: as usual, 2: when nothing else has anything to send. */
export function streamPriority(st: ptr, priority: i32): void {
  if (isA(st, TAG_STREAM)) setPriority(st, priority)
}
/** Bytes that may be read without a gap. */
export function streamReadable(st: ptr): f64 {
  return isA(st, TAG_STREAM) ? readable(st) : 0.0
}
/**
 * Size of the next piece to read, at PARAMS[0]; 0: nothing is there. PARAMS[1]: 1 when it lies in the
 * receive arena, where it is in one piece only until `settle`.
 */
export function streamPeek(st: ptr): i32 {
  return isA(st, TAG_STREAM) ? peek(st) : 0
}
export function streamConsume(st: ptr, size: i32): void {
  if (isA(st, TAG_STREAM)) consume(st, size)
}
/** Whether everything up to the peer's FIN was read. */
export function streamEnded(st: ptr): bool {
  return isA(st, TAG_STREAM) && ended(st)
}
/** Number of the stream on the wire, and the opener's port in PARAMS[0]. */
export function streamNumber(st: ptr): i32 {
  if (!isA(st, TAG_STREAM)) return -1
  wf64(PARAMS, f64(r32(st + ST_PORT)))
  return r32(st + ST_NUMBER)
}
/** Resets both directions. */
export function streamAbort(st: ptr, code: i32): void {
  if (isA(st, TAG_STREAM)) abort(st, code & 0xffff)
}
/** The handle must not be used any more; what was written still arrives. */
export function streamRelease(st: ptr): void {
  if (isA(st, TAG_STREAM)) releaseStream(st)
}
