/**
 * Sending: what is due becomes frames, frames become packets, packets become trains in the train
 * arena, each described once.
 */
import { ackIsPending, ackSent } from './acknowledge'
import { bufferCopyOut } from './buffer'
import { congestionIdle, congestionSent } from './congestion'
import {
  arm,
  blockedDeadline,
  CN_CLOSE_END,
  CN_CONNECT_TIMEOUT,
  CN_CONTROL,
  CN_COOKIE,
  CN_COOKIES,
  CN_COUNT_BYTES_SENT,
  CN_COUNT_PACKETS_SENT,
  CN_COUNT_RETRANSMITTED,
  CN_EMPTY_SINCE,
  CN_FLAGS,
  CN_HANDSHAKE_COUNT,
  CN_HANDSHAKE_DUE,
  CN_IDLE_TIMEOUT,
  CN_IS_CLIENT,
  CN_KEEP_ALIVE,
  CN_LAST_HEARD,
  CN_LAST_SENT,
  CN_LIMIT_IN,
  CN_LIMIT_OUT,
  CN_LOCAL_CID,
  CN_MESSAGE_OUT,
  CN_ORIGINAL_CID,
  CN_PATHS,
  CN_PINNED,
  CN_REMOTE_CID,
  CN_RETRY_AT,
  CN_SAY_CLOSE,
  CN_SAY_HANDSHAKE,
  CN_SENT,
  CN_STARTED,
  CN_STATE,
  CN_STREAMS_DONE,
  CN_STREAMS_IN,
  CONTROL_DATA_BLOCKED,
  CONTROL_MAX_DATA,
  CONTROL_MAX_STREAMS,
  CONTROL_PING,
  connectionFreeIfDone,
  flightWindow,
  HALF_OPEN_TIMEOUT,
  nextSender,
  probeInterval,
  STATE_CLOSING,
  STATE_CONNECTING,
  STATE_DRAINING,
  STATE_ESTABLISHED,
  STATE_HALF_OPEN,
  starve,
  wantSend,
} from './connection'
import { crc32c } from './crc32c'
import { ecnIsSeen, ecnMark } from './ecn'
import {
  CODE,
  count,
  ENDPOINT,
  EP_EMPTY_TIMEOUT,
  EP_FLAGS,
  EP_NOW,
  EP_OFFLOADED,
  EP_REPLIES,
  EP_REPLY_COUNT,
  EP_STREAMS_MAX,
  EP_TRAIN,
  EP_TRAIN_COUNT,
  REPLY_ADDRESS,
  REPLY_FROM,
  REPLY_LENGTH,
  REPLY_MESSAGE,
  REPLY_SIZE,
  REPLY_SOCKET,
  REPLY_TO,
  REPLY_TYPE,
} from './endpoint'
import { addJob, jobsClear, jobsHaveRoom, runJobs } from './jobs'
import { keysRenew, sealOperation, sealSlot, sendEpoch, trailerSize } from './keys'
import {
  ADDRESS_SIZE,
  COUNT_ACKS_SENT,
  COUNT_BYTES_SENT,
  COUNT_DATAGRAMS_SENT,
  COUNT_PACKETS_RETRANSMITTED,
  COUNT_REFUSALS_SENT,
  COUNT_RESETS_SENT,
  COUNT_RETRIES_SENT,
  COUNT_STREAM_BYTES_RETRANSMITTED,
  COUNT_STREAM_BYTES_SENT,
  DESC_ADDRESS,
  DESC_COUNT,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_SEGMENT,
  DESC_SIZE,
  DESC_SOCKET,
  PARAMS,
  TX_ARENA,
  TX_ARENA_SIZE,
  TX_DESC,
} from './layout'
import { challengeDeadline, challengeIsDue, challengeSent } from './migration'
import { mtuProbeDue, mtuProbeSent, mtuWanted, packetRoom } from './mtu'
import { mayLeave, paceDeadline, pacePacket, paceResumes, paceWaits } from './pacer'
import { take } from './pages'
import {
  NO_STREAM,
  nextEntry,
  PATH_ACK_DUE,
  PATH_ADDRESS,
  PATH_ANSWER,
  PATH_ANSWER_ADDRESS,
  PATH_ANSWER_SOCKET,
  PATH_CHALLENGE,
  PATH_ECN_CONGESTED_IN,
  PATH_ECN_MARKED_IN,
  PATH_EXPECT_AT,
  PATH_IN_FLIGHT,
  PATH_IN_FLIGHT_COUNT,
  PATH_IS_ANSWER_DUE,
  PATH_LARGEST_RECEIVED,
  PATH_LARGEST_RECEIVED_AT,
  PATH_LAST_ELICITING,
  PATH_NEW_ADDRESS,
  PATH_NEW_SOCKET,
  PATH_NEXT,
  PATH_NUMBER,
  PATH_PACE_WAITS,
  PATH_PACKET_BYTES,
  PATH_PROBE_COUNT,
  PATH_PROBES,
  PATH_RECEIVED,
  PATH_SOCKET,
  RECORD_CONTROL,
  RECORD_FIN,
  RECORD_LENGTH,
  RECORD_NEXT,
  RECORD_OFFSET,
  RECORD_SIZE,
  RECORD_STREAM,
  SENT_ACKED,
  SENT_AT,
  SENT_BYTES,
  SENT_CONTROL,
  SENT_IS_MTU_PROBE,
  SENT_MORE,
  SENT_RECORD,
  SENT_STATE,
  STATE_IN_FLIGHT,
} from './path'
import {
  add32,
  addf64,
  copy,
  fill,
  maxf,
  minf,
  mini,
  type ptr,
  r32,
  rf64,
  w8,
  w32,
  wf64,
} from './prelude'
import { RANGE_END, RANGE_PREVIOUS, RANGE_START, RANGES_COUNT, RANGES_TAIL } from './ranges'
import { lossDeadline } from './recovery'
import {
  finIsDue,
  firstReady,
  hasLost,
  hasToSend,
  nextReady,
  queueUp,
  ST_CODE_OUT,
  ST_CONTROL,
  ST_FIN,
  ST_FIN_LOST,
  ST_FIN_SENT,
  ST_FLAGS,
  ST_LIMIT_IN,
  ST_LIMIT_OUT,
  ST_NUMBER,
  ST_PORT,
  ST_RESET_OUT,
  ST_SEND_BUFFER,
  ST_SENT,
  ST_WRITTEN,
  STREAM_ACCEPT_DUE,
  STREAM_BLOCKED_DUE,
  STREAM_MAX_DATA_DUE,
  STREAM_OPEN_DUE,
  STREAM_REFUSE_DUE,
  STREAM_RESET_DUE,
  STREAM_STOP_DUE,
} from './stream'
import { firstLost, lostWasSent, tellBlocked } from './stream-send'
import {
  CHALLENGE_SIZE,
  COOKIE_SIZE,
  CRC_SIZE,
  FRAME_ACCEPT,
  FRAME_ACK,
  FRAME_CLOSE,
  FRAME_DATA_BLOCKED,
  FRAME_ECN,
  FRAME_MAX_DATA,
  FRAME_MAX_STREAM_DATA,
  FRAME_MAX_STREAMS,
  FRAME_OPEN,
  FRAME_PATH_CHALLENGE,
  FRAME_PATH_RESPONSE,
  FRAME_PING,
  FRAME_REFUSE,
  FRAME_RESET,
  FRAME_STOP,
  FRAME_STREAM,
  FRAME_STREAM_DATA_BLOCKED,
  INITIAL_SIZE,
  INITIAL_SIZE_FLOOR,
  INITIALS_LARGE,
  LONG_COOKIE_SIZE,
  LONG_SIZE,
  SHORT_SIZE,
  STREAM_FIN_BIT,
  STREAM_LENGTH_BIT,
  TYPE_HANDSHAKE,
  TYPE_INITIAL,
  TYPE_RESET,
  TYPE_RETRY,
  varintSize,
  writeLongHeader,
  writeShortHeader,
  writeVarint,
} from './wire'

/** Set while a packet is built that carries something for a second time. */
const RETRANSMITTED: ptr = PARAMS + 16
/** Packets of one train: what UDP segmentation offload takes at once. */
const TRAIN_PACKETS_MAX: i32 = 64
const TRAIN_BYTES_MAX: i32 = 65000
/** Intervals in one ACK frame. */
const ACK_RANGES_MAX: i32 = 32
/** Received ranges that make us ask the peer to confirm our acknowledgements. */
const ACK_RANGES_MANY: i32 = 8
/** Room for a control frame of a stream with three integers, and for a small piece of data. */
const CONTROL_ROOM: i32 = 25
const STREAM_ROOM: i32 = 32
const HANDSHAKE_INTERVAL_MAX: f64 = 1000000.0

// ── Frames ───────────────────────────────────────────────────────────────────────────────────────

/** Writes how received packets were marked: what the ACK frame behind it is judged by. */
function writeEcn(path: ptr, p: ptr): ptr {
  w8(p, FRAME_ECN)
  const at: ptr = writeVarint(p + 1, rf64(path + PATH_ECN_MARKED_IN))
  return writeVarint(at, rf64(path + PATH_ECN_CONGESTED_IN))
}

/** Writes an ACK frame for everything received; gives the pointer after it. */
function writeAck(path: ptr, p: ptr, end: ptr, now: f64): ptr {
  const set: ptr = path + PATH_RECEIVED
  let node: ptr = r32(set + RANGES_TAIL)
  const largest: f64 = rf64(node + RANGE_END) - 1.0
  const delay: f64 = maxf(now - rf64(path + PATH_LARGEST_RECEIVED_AT), 0.0)
  const further: i32 = mini(mini(r32(set + RANGES_COUNT), ACK_RANGES_MAX) - 1, (end - p - 34) >> 4)
  w8(p, FRAME_ACK)
  let at: ptr = writeVarint(p + 1, largest)
  at = writeVarint(at, Math.floor(minf(delay, 1e9)))
  at = writeVarint(at, f64(further))
  at = writeVarint(at, largest - rf64(node + RANGE_START))
  for (let i: i32 = 0; i < further; i++) {
    const start: f64 = rf64(node + RANGE_START)
    node = r32(node + RANGE_PREVIOUS)
    at = writeVarint(at, start - rf64(node + RANGE_END) - 1.0)
    at = writeVarint(at, rf64(node + RANGE_END) - rf64(node + RANGE_START) - 1.0)
  }
  return at
}

/** A record for what the packet carries of a stream; 0 when there is no memory for a further one. */
function addRecord(cn: ptr, entry: ptr, number: i32): ptr {
  const inline: ptr = entry + SENT_RECORD
  if (r32(inline + RECORD_STREAM) === NO_STREAM) {
    w32(inline + RECORD_STREAM, number)
    return inline
  }
  const record: ptr = take(cn, RECORD_SIZE)
  if (record === 0) return 0
  fill(record, RECORD_SIZE)
  w32(record + RECORD_STREAM, number)
  w32(record + RECORD_NEXT, r32(entry + SENT_MORE))
  w32(entry + SENT_MORE, record)
  return record
}

/** Writes the control frames that are due for a stream, as many as fit. */
function writeStreamControl(cn: ptr, st: ptr, entry: ptr, from: ptr, end: ptr): ptr {
  let p: ptr = from
  const number: f64 = f64(r32(st + ST_NUMBER))
  let due: i32 = r32(st + ST_CONTROL)
  while (due !== 0 && end - p >= CONTROL_ROOM) {
    const bit: i32 = due & -due
    const record: ptr = addRecord(cn, entry, r32(st + ST_NUMBER))
    if (record === 0) break
    w32(record + RECORD_CONTROL, bit)
    due &= ~bit
    if (bit === STREAM_BLOCKED_DUE) {
      w8(p, FRAME_STREAM_DATA_BLOCKED)
      p = writeVarint(writeVarint(p + 1, number), rf64(st + ST_LIMIT_OUT))
    } else if (bit === STREAM_OPEN_DUE) {
      w8(p, FRAME_OPEN)
      p = writeVarint(writeVarint(p + 1, number), f64(r32(st + ST_PORT)))
    } else if (bit === STREAM_ACCEPT_DUE) {
      w8(p, FRAME_ACCEPT)
      p = writeVarint(p + 1, number)
    } else if (bit === STREAM_REFUSE_DUE) {
      w8(p, FRAME_REFUSE)
      p = writeVarint(writeVarint(p + 1, number), f64(r32(st + ST_CODE_OUT)))
    } else if (bit === STREAM_RESET_DUE) {
      w8(p, FRAME_RESET)
      p = writeVarint(writeVarint(p + 1, number), f64(r32(st + ST_CODE_OUT)))
      p = writeVarint(p, rf64(st + ST_SENT))
    } else if (bit === STREAM_STOP_DUE) {
      w8(p, FRAME_STOP)
      p = writeVarint(writeVarint(p + 1, number), f64(r32(st + ST_CODE_OUT)))
    } else if (bit === STREAM_MAX_DATA_DUE) {
      w8(p, FRAME_MAX_STREAM_DATA)
      p = writeVarint(writeVarint(p + 1, number), rf64(st + ST_LIMIT_IN))
    }
  }
  w32(st + ST_CONTROL, due)
  return p
}

/** Writes one STREAM frame with up to `most` bytes from `offset`; gives the pointer after it. */
function writeStream(st: ptr, record: ptr, p: ptr, end: ptr, offset: f64, most: i32): ptr {
  const flags: i32 = r32(st + ST_FLAGS)
  w8(p, FRAME_STREAM)
  let at: ptr = writeVarint(p + 1, f64(r32(st + ST_NUMBER)))
  at = writeVarint(at, offset)
  let size: i32 = mini(most, end - at)
  // A frame that fills the packet needs no length.
  const isLast: bool = size === end - at
  if (!isLast) {
    size = mini(size, end - at - varintSize(f64(size)))
    at = writeVarint(at, f64(size))
  }
  if (size > 0) bufferCopyOut(st + ST_SEND_BUFFER, offset, at, size)
  const isFin: bool = (flags & ST_FIN) !== 0 && offset + f64(size) >= rf64(st + ST_WRITTEN)
  w8(p, FRAME_STREAM | (isLast ? 0 : STREAM_LENGTH_BIT) | (isFin ? STREAM_FIN_BIT : 0))
  wf64(record + RECORD_OFFSET, offset)
  w32(record + RECORD_LENGTH, size | (isFin ? RECORD_FIN : 0))
  if (isFin) w32(st + ST_FLAGS, (flags | ST_FIN_SENT) & ~ST_FIN_LOST)
  return at + size
}

/** Writes what is due of one stream, lost parts first; gives the pointer after it. */
function writeStreamFrames(cn: ptr, st: ptr, entry: ptr, from: ptr, end: ptr): ptr {
  const ep: ptr = r32(cn + ENDPOINT)
  let p: ptr = from
  if (r32(st + ST_CONTROL) !== 0) p = writeStreamControl(cn, st, entry, p, end)
  if ((r32(st + ST_FLAGS) & ST_RESET_OUT) !== 0) return p
  while (end - p >= STREAM_ROOM && hasLost(st)) {
    const size: i32 = firstLost(st, end - p)
    const offset: f64 = size > 0 ? rf64(PARAMS) : rf64(st + ST_WRITTEN)
    if (size === 0 && (r32(st + ST_FLAGS) & ST_FIN_LOST) === 0) break
    const record: ptr = addRecord(cn, entry, r32(st + ST_NUMBER))
    if (record === 0) return p
    p = writeStream(st, record, p, end, offset, size)
    const sent: i32 = r32(record + RECORD_LENGTH) & ~RECORD_FIN
    if (sent > 0) lostWasSent(st, offset, sent)
    count(ep, COUNT_STREAM_BYTES_RETRANSMITTED, f64(sent))
    wf64(RETRANSMITTED, 1.0)
  }
  if (end - p < STREAM_ROOM) return p
  const offset: f64 = rf64(st + ST_SENT)
  let room: f64 = minf(rf64(st + ST_WRITTEN), rf64(st + ST_LIMIT_OUT)) - offset
  room = minf(room, rf64(cn + CN_LIMIT_OUT) - rf64(cn + CN_SENT))
  if (room < 1.0 && !finIsDue(st)) return p
  const record: ptr = addRecord(cn, entry, r32(st + ST_NUMBER))
  if (record === 0) return p
  p = writeStream(st, record, p, end, offset, i32(minf(maxf(room, 0.0), 65536.0)))
  const sent: f64 = f64(r32(record + RECORD_LENGTH) & ~RECORD_FIN)
  wf64(st + ST_SENT, offset + sent)
  addf64(cn + CN_SENT, sent)
  count(ep, COUNT_STREAM_BYTES_SENT, sent)
  tellBlocked(st)
  return p
}

/** Writes what is due of the connection itself. */
function writeControl(cn: ptr, entry: ptr, from: ptr): ptr {
  let p: ptr = from
  const due: i32 = r32(cn + CN_CONTROL)
  if ((due & CONTROL_MAX_DATA) !== 0) {
    w8(p, FRAME_MAX_DATA)
    p = writeVarint(p + 1, rf64(cn + CN_LIMIT_IN))
  }
  if ((due & CONTROL_DATA_BLOCKED) !== 0) {
    w8(p, FRAME_DATA_BLOCKED)
    p = writeVarint(p + 1, rf64(cn + CN_LIMIT_OUT))
  }
  if ((due & CONTROL_MAX_STREAMS) !== 0) {
    w32(cn + CN_STREAMS_IN, r32(cn + CN_STREAMS_DONE) + r32(r32(cn + ENDPOINT) + EP_STREAMS_MAX))
    w8(p, FRAME_MAX_STREAMS)
    p = writeVarint(p + 1, f64(r32(cn + CN_STREAMS_IN)))
  }
  w32(entry + SENT_CONTROL, due & ~CONTROL_PING)
  w32(cn + CN_CONTROL, due & CONTROL_PING)
  return p
}

// ── Packets ──────────────────────────────────────────────────────────────────────────────────────

/** Whether a full packet may leave now. */
function mayFly(cn: ptr, path: ptr, now: f64): bool {
  if (r32(path + PATH_PROBES) > 0) return true
  // With nothing in flight nothing would ever open the window: one packet always may leave.
  if (r32(path + PATH_IN_FLIGHT_COUNT) > 0) {
    const flight: f64 = f64(r32(path + PATH_IN_FLIGHT) + r32(path + PATH_PACKET_BYTES))
    if (flight > flightWindow(cn, path)) return false
  }
  if (mayLeave(path, now)) return true
  paceWaits(path)
  return false
}

/** Writes the header of a connection's next packet and the job that closes it; gives its size. */
function finishShort(cn: ptr, path: ptr, p: ptr, at: ptr): i32 {
  const number: f64 = rf64(path + PATH_NEXT)
  wf64(path + PATH_NEXT, number + 1.0)
  writeShortHeader(
    p,
    sendEpoch(cn),
    r32(path + PATH_NUMBER),
    r32(cn + CN_REMOTE_CID),
    r32(cn + CN_REMOTE_CID + 4),
    number,
  )
  addJob(sealOperation(cn), sealSlot(cn), number, p, SHORT_SIZE, at - p - SHORT_SIZE)
  return at - p + trailerSize(cn)
}

/** Closes a packet with a long header with its checksum; gives its size. */
function finishLong(p: ptr, at: ptr): i32 {
  w32(at, crc32c(p, at - p))
  return at - p + CRC_SIZE
}

/** Builds the next packet at `p`; gives its size, 0 when nothing is due or may leave. */
function buildPacket(cn: ptr, path: ptr, p: ptr, now: f64): i32 {
  const end: ptr = p + packetRoom(path) - trailerSize(cn)
  paceResumes(path, now)
  const isAckPending: bool = ackIsPending(path)
  const isAckDue: bool = isAckPending && rf64(path + PATH_ACK_DUE) <= now
  // Who only receives asks now and then whether its acknowledgements arrive: old ones can go.
  const wantsAnswer: bool =
    r32(path + PATH_PROBES) > 0 ||
    (isAckDue &&
      r32(path + PATH_RECEIVED + RANGES_COUNT) > ACK_RANGES_MANY &&
      r32(path + PATH_IN_FLIGHT_COUNT) === 0)
  const isAllowed: bool =
    (firstReady(cn) !== 0 || r32(cn + CN_CONTROL) !== 0 || wantsAnswer) && mayFly(cn, path, now)
  if (!isAckDue && !isAllowed) return 0
  // What leaves anyway takes the acknowledgement along.
  const hasAck: bool = isAckPending
  const entry: ptr = nextEntry(path)
  if (entry === 0) {
    starve(cn)
    wf64(path + PATH_ACK_DUE, isAckPending ? rf64(cn + CN_RETRY_AT) : Infinity)
    return 0
  }
  let at: ptr = p + SHORT_SIZE
  if (hasAck && ecnIsSeen(path)) at = writeEcn(path, at)
  if (hasAck) at = writeAck(path, at, end, now)
  const afterAck: ptr = at
  let isRetransmission: bool = false
  if (isAllowed) {
    if (r32(cn + CN_CONTROL) !== 0) at = writeControl(cn, entry, at)
    wf64(RETRANSMITTED, 0.0)
    // Each ready stream gets a turn; the last one goes to the end of the row if it has more.
    while (end - at >= STREAM_ROOM) {
      const st: ptr = nextReady(cn)
      if (st === 0) break
      const before: ptr = at
      at = writeStreamFrames(cn, st, entry, at, end)
      if (!hasToSend(st)) continue
      // `flush` decides whether the connection gets another turn: if the stream did, one that finds
      // no memory would be served for ever.
      queueUp(st)
      if (at === before) {
        starve(cn)
        break
      }
    }
    isRetransmission = rf64(RETRANSMITTED) > 0.0
    const isPingDue: bool = wantsAnswer || (r32(cn + CN_CONTROL) & CONTROL_PING) !== 0
    if (at === afterAck && isPingDue && end > at) {
      w8(at, FRAME_PING)
      at += 1
    }
  }
  if (at === p + SHORT_SIZE) return 0
  if (end - at < STREAM_ROOM) mtuWanted(path)
  const size: i32 = finishShort(cn, path, p, at)
  wf64(entry + SENT_AT, now)
  w32(entry + SENT_BYTES, size)
  if (hasAck) {
    ackSent(path, now)
    wf64(entry + SENT_ACKED, rf64(path + PATH_LARGEST_RECEIVED))
    count(r32(cn + ENDPOINT), COUNT_ACKS_SENT, 1.0)
  }
  if (at > afterAck) {
    w32(cn + CN_CONTROL, r32(cn + CN_CONTROL) & ~CONTROL_PING)
    takesOff(path, entry, size, now)
    if (r32(path + PATH_PROBES) > 0) add32(path + PATH_PROBES, -1)
  }
  if (isRetransmission) {
    count(r32(cn + ENDPOINT), COUNT_PACKETS_RETRANSMITTED, 1.0)
    addf64(cn + CN_COUNT_RETRANSMITTED, 1.0)
  }
  return size
}

/** A packet that asks for an acknowledgement leaves. */
function takesOff(path: ptr, entry: ptr, size: i32, now: f64): void {
  congestionSent(path, entry, now)
  pacePacket(path, size, now)
  w8(entry + SENT_STATE, STATE_IN_FLIGHT)
  add32(path + PATH_IN_FLIGHT, size)
  add32(path + PATH_IN_FLIGHT_COUNT, 1)
  wf64(path + PATH_LAST_ELICITING, now)
}

/** Builds the probe for the packet size that is due; gives its size, 0 when none is or may leave. */
function buildMtuProbe(cn: ptr, path: ptr, p: ptr, now: f64): i32 {
  const size: i32 = mtuProbeDue(path, now)
  if (size === 0 || !mayFly(cn, path, now)) return 0
  const entry: ptr = nextEntry(path)
  if (entry === 0) return 0
  w8(p + SHORT_SIZE, FRAME_PING)
  const end: ptr = p + size - trailerSize(cn)
  fill(p + SHORT_SIZE + 1, end - p - SHORT_SIZE - 1)
  finishShort(cn, path, p, end)
  wf64(entry + SENT_AT, now)
  w32(entry + SENT_BYTES, size)
  w8(entry + SENT_IS_MTU_PROBE, 1)
  takesOff(path, entry, size, now)
  mtuProbeSent(path, size)
  return size
}

/** Builds a packet of eight bytes to or from somewhere else; gives its size, 0: no memory. */
function buildEcho(cn: ptr, path: ptr, p: ptr, type: i32, data: ptr): i32 {
  // Nobody waits for it to be acknowledged.
  if (nextEntry(path) === 0) return 0
  w8(p + SHORT_SIZE, type)
  copy(p + SHORT_SIZE + 1, data, CHALLENGE_SIZE)
  return finishShort(cn, path, p, p + SHORT_SIZE + 1 + CHALLENGE_SIZE)
}

/** Asks, and answers, whether somebody is where packets came from. */
function sayWhere(ep: ptr, cn: ptr, path: ptr, now: f64): void {
  if (r32(path + PATH_IS_ANSWER_DUE) !== 0) {
    w32(path + PATH_IS_ANSWER_DUE, 0)
    const p: ptr = r32(ep + EP_TRAIN)
    const size: i32 = buildEcho(cn, path, p, FRAME_PATH_RESPONSE, path + PATH_ANSWER)
    const to: ptr = path + PATH_ANSWER_ADDRESS
    if (size > 0) describe(ep, p, size, 0, r32(path + PATH_ANSWER_SOCKET), to)
    if (size > 0) sentPackets(ep, cn, 1, size, now)
  }
  if (challengeIsDue(path, SHORT_SIZE + 1 + CHALLENGE_SIZE + trailerSize(cn))) {
    const p: ptr = r32(ep + EP_TRAIN)
    const size: i32 = buildEcho(cn, path, p, FRAME_PATH_CHALLENGE, path + PATH_CHALLENGE)
    if (size === 0) return
    describe(ep, p, size, 0, r32(path + PATH_NEW_SOCKET), path + PATH_NEW_ADDRESS)
    sentPackets(ep, cn, 1, size, now)
    challengeSent(cn, path, size, now)
  }
}

/** Builds the handshake message that is due; gives the packet's size. */
function buildHandshake(cn: ptr, p: ptr, now: f64): i32 {
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) & ~CN_SAY_HANDSHAKE)
  const isInitial: bool = r32(cn + CN_STATE) === STATE_CONNECTING
  const message: ptr = r32(cn + CN_MESSAGE_OUT)
  const length: i32 = r32(cn + CN_MESSAGE_OUT + 4)
  if (message === 0) return 0
  const to: ptr = cn + (isInitial ? CN_ORIGINAL_CID : CN_REMOTE_CID)
  const from: ptr = cn + CN_LOCAL_CID
  const type: i32 = isInitial ? TYPE_INITIAL : TYPE_HANDSHAKE
  writeLongHeader(p, type, r32(to), r32(to + 4), r32(from), r32(from + 4), length)
  let at: ptr = p + LONG_SIZE
  if (isInitial && r32(cn + CN_COOKIES) > 0) {
    w8(p + LONG_COOKIE_SIZE, COOKIE_SIZE)
    copy(at, cn + CN_COOKIE, COOKIE_SIZE)
    at += COOKIE_SIZE
  }
  copy(at, message, length)
  at += length
  if (isInitial) {
    const sent: i32 = add32(cn + CN_HANDSHAKE_COUNT, 1)
    // A path that swallows large packets gets smaller ones after two of them.
    const size: i32 = (sent > INITIALS_LARGE ? INITIAL_SIZE_FLOOR : INITIAL_SIZE) - CRC_SIZE
    if (at - p < size) {
      fill(at, size - (at - p))
      at = p + size
    }
    const interval: f64 = 300000.0 * (sent === 1 ? 1.0 : sent === 2 ? 1.5 : sent === 3 ? 2.25 : 4.0)
    wf64(cn + CN_HANDSHAKE_DUE, now + minf(interval, HANDSHAKE_INTERVAL_MAX))
  }
  return finishLong(p, at)
}

function buildClose(cn: ptr, path: ptr, p: ptr): i32 {
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) & ~CN_SAY_CLOSE)
  w8(p + SHORT_SIZE, FRAME_CLOSE)
  return finishShort(cn, path, p, writeVarint(p + SHORT_SIZE + 1, f64(r32(cn + CODE))))
}

// ── Trains ───────────────────────────────────────────────────────────────────────────────────────

/** Whether there is room for another train of packets of `size` bytes. */
function hasRoom(ep: ptr, size: i32): bool {
  return (
    r32(ep + EP_TRAIN) + size <= TX_ARENA + TX_ARENA_SIZE &&
    r32(ep + EP_TRAIN_COUNT) < DESC_COUNT &&
    jobsHaveRoom(TRAIN_PACKETS_MAX + 2)
  )
}

function describe(ep: ptr, from: ptr, length: i32, segment: i32, socket: i32, address: ptr): void {
  const desc: ptr = TX_DESC + r32(ep + EP_TRAIN_COUNT) * DESC_SIZE
  fill(desc, DESC_SIZE)
  w32(desc + DESC_POINTER, from)
  w32(desc + DESC_LENGTH, length)
  w32(desc + DESC_SEGMENT, segment)
  w32(desc + DESC_SOCKET, socket)
  copy(desc + DESC_ADDRESS, address, ADDRESS_SIZE)
  add32(ep + EP_TRAIN_COUNT, 1)
  w32(ep + EP_TRAIN, from + length)
  count(ep, COUNT_BYTES_SENT, f64(length))
}

/**
 * Marks the last train, if anything in it is to be acknowledged: of one that only acknowledges, nobody
 * would notice that it was swallowed. `flight`: packets in flight before it.
 */
function markLast(ep: ptr, path: ptr, flight: i32, now: f64): void {
  if (r32(path + PATH_IN_FLIGHT_COUNT) === flight) return
  ecnMark(path, TX_DESC + (r32(ep + EP_TRAIN_COUNT) - 1) * DESC_SIZE, flight, now)
}

function describePacket(ep: ptr, cn: ptr, path: ptr, size: i32, now: f64): void {
  if (size === 0) return
  describe(ep, r32(ep + EP_TRAIN), size, 0, r32(path + PATH_SOCKET), path + PATH_ADDRESS)
  sentPackets(ep, cn, 1, size, now)
}

function sentPackets(ep: ptr, cn: ptr, packets: i32, bytes: i32, now: f64): void {
  count(ep, COUNT_DATAGRAMS_SENT, f64(packets))
  addf64(cn + CN_COUNT_PACKETS_SENT, f64(packets))
  addf64(cn + CN_COUNT_BYTES_SENT, f64(bytes))
  wf64(cn + CN_LAST_SENT, now)
}

/** Builds one train on a path: equal packets and a shorter last one. False when nothing was due. */
function buildTrain(ep: ptr, cn: ptr, path: ptr, now: f64): bool {
  const start: ptr = r32(ep + EP_TRAIN)
  let p: ptr = start
  let packets: i32 = 0
  let segment: i32 = 0
  const largest: i32 = r32(path + PATH_PACKET_BYTES)
  const flight: i32 = r32(path + PATH_IN_FLIGHT_COUNT)
  while (packets < TRAIN_PACKETS_MAX && p + largest <= TX_ARENA + TX_ARENA_SIZE) {
    if (packets > 0 && p - start + segment > TRAIN_BYTES_MAX) break
    // A router may drop a train as a whole when one packet of it is too large for the next link: of
    // two probes the small one has to get through.
    const isProbe: bool = r32(path + PATH_PROBES) > 0
    const size: i32 = buildPacket(cn, path, p, now)
    if (size === 0) break
    if (packets > 0 && size > segment) {
      // It does not fit this train: it starts the next one.
      describe(
        ep,
        start,
        p - start,
        packets > 1 ? segment : 0,
        r32(path + PATH_SOCKET),
        path + PATH_ADDRESS,
      )
      markLast(ep, path, flight, now)
      sentPackets(ep, cn, packets, p - start, now)
      describe(ep, p, size, 0, r32(path + PATH_SOCKET), path + PATH_ADDRESS)
      markLast(ep, path, flight, now)
      sentPackets(ep, cn, 1, size, now)
      return true
    }
    if (packets === 0) segment = size
    packets += 1
    p += size
    if (size < segment || isProbe) break
  }
  if (packets === 0) return false
  describe(
    ep,
    start,
    p - start,
    packets > 1 ? segment : 0,
    r32(path + PATH_SOCKET),
    path + PATH_ADDRESS,
  )
  markLast(ep, path, flight, now)
  sentPackets(ep, cn, packets, p - start, now)
  return true
}

/** Answers to strangers: each shorter than what it answers. */
function buildReplies(ep: ptr): void {
  const replies: i32 = r32(ep + EP_REPLY_COUNT)
  w32(ep + EP_REPLY_COUNT, 0)
  for (let i: i32 = 0; i < replies; i++) {
    const reply: ptr = r32(ep + EP_REPLIES) + i * REPLY_SIZE
    const p: ptr = r32(ep + EP_TRAIN)
    const type: i32 = r32(reply + REPLY_TYPE)
    const length: i32 = r32(reply + REPLY_LENGTH)
    writeLongHeader(
      p,
      type,
      r32(reply + REPLY_TO),
      r32(reply + REPLY_TO + 4),
      r32(reply + REPLY_FROM),
      r32(reply + REPLY_FROM + 4),
      length,
    )
    copy(p + LONG_SIZE, reply + REPLY_MESSAGE, length)
    const size: i32 = finishLong(p, p + LONG_SIZE + length)
    describe(ep, p, size, 0, r32(reply + REPLY_SOCKET), reply + REPLY_ADDRESS)
    count(ep, COUNT_DATAGRAMS_SENT, 1.0)
    if (type === TYPE_RESET) count(ep, COUNT_RESETS_SENT, 1.0)
    else if (type === TYPE_RETRY) count(ep, COUNT_RETRIES_SENT, 1.0)
    else count(ep, COUNT_REFUSALS_SENT, 1.0)
  }
}

/** What a connection has to send in one turn; whether it may have more. */
function serve(ep: ptr, cn: ptr, now: f64): bool {
  const path: ptr = r32(cn + CN_PATHS)
  const state: i32 = r32(cn + CN_STATE)
  if (state === STATE_CLOSING) {
    if ((r32(cn + CN_FLAGS) & CN_SAY_CLOSE) !== 0) {
      describePacket(ep, cn, path, buildClose(cn, path, r32(ep + EP_TRAIN)), now)
    }
    return false
  }
  if ((r32(cn + CN_FLAGS) & CN_SAY_HANDSHAKE) !== 0) {
    describePacket(ep, cn, path, buildHandshake(cn, r32(ep + EP_TRAIN), now), now)
  }
  if (state !== STATE_ESTABLISHED) return false
  keysRenew(cn, path, now)
  sayWhere(ep, cn, path, now)
  const flight: i32 = r32(path + PATH_IN_FLIGHT_COUNT)
  const probe: i32 = buildMtuProbe(cn, path, r32(ep + EP_TRAIN), now)
  if (probe > 0) {
    describePacket(ep, cn, path, probe, now)
    markLast(ep, path, flight, now)
    return true
  }
  if (buildTrain(ep, cn, path, now)) return true
  if (firstReady(cn) === 0) congestionIdle(path)
  return false
}

/** When a connection without streams is closed by the side that opened it. */
export function emptyDeadline(cn: ptr): f64 {
  if ((r32(cn + CN_FLAGS) & (CN_IS_CLIENT | CN_PINNED)) !== CN_IS_CLIENT) return Infinity
  return rf64(cn + CN_EMPTY_SINCE) + rf64(r32(cn + ENDPOINT) + EP_EMPTY_TIMEOUT)
}

/** When the connection wants to be called again. */
export function nextDeadline(cn: ptr): f64 {
  const state: i32 = r32(cn + CN_STATE)
  if (state === STATE_CLOSING || state === STATE_DRAINING) return rf64(cn + CN_CLOSE_END)
  const started: f64 = rf64(cn + CN_STARTED)
  if (state === STATE_CONNECTING) {
    return minf(rf64(cn + CN_HANDSHAKE_DUE), started + rf64(cn + CN_CONNECT_TIMEOUT))
  }
  if (state === STATE_HALF_OPEN) return started + HALF_OPEN_TIMEOUT
  if (state !== STATE_ESTABLISHED) return Infinity
  const path: ptr = r32(cn + CN_PATHS)
  const interval: f64 = probeInterval(cn, path, r32(path + PATH_PROBE_COUNT))
  let due: f64 = minf(
    lossDeadline(interval, path),
    rf64(cn + CN_LAST_HEARD) + rf64(cn + CN_IDLE_TIMEOUT),
  )
  // The peer may have set a shorter idle limit than our period: two probes fit in any.
  // The responder waits longer: one of both is enough, and a NAT listens to the initiator.
  const patience: f64 = (r32(cn + CN_FLAGS) & CN_IS_CLIENT) !== 0 ? 1.0 : 1.2
  const period: f64 = rf64(cn + CN_KEEP_ALIVE) * patience
  const keepAlive: f64 = minf(period, rf64(cn + CN_IDLE_TIMEOUT) * 0.4)
  due = minf(due, minf(rf64(path + PATH_ACK_DUE), paceDeadline(path)))
  // What pacing holds back leaves when pacing lets it, and is not due again before.
  if (r32(path + PATH_PACE_WAITS) === 0) {
    if (keepAlive > 0.0 && r32(path + PATH_IN_FLIGHT_COUNT) === 0) {
      due = minf(due, maxf(rf64(cn + CN_LAST_SENT), rf64(cn + CN_LAST_HEARD)) + keepAlive)
    }
    due = minf(due, blockedDeadline(cn, path))
    due = minf(due, minf(challengeDeadline(path), rf64(path + PATH_EXPECT_AT)))
  }
  return minf(minf(due, rf64(cn + CN_RETRY_AT)), emptyDeadline(cn))
}

/**
 * Fills the train arena and the send descriptors; gives the number of descriptors. Connections take
 * turns of one train, so that none waits for another's bulk. Call again until 0.
 */
export function endpointFlush(ep: ptr, now: f64): i32 {
  wf64(ep + EP_NOW, now)
  w32(ep + EP_TRAIN, TX_ARENA)
  w32(ep + EP_TRAIN_COUNT, 0)
  jobsClear(0)
  const isOffloaded: bool = (r32(ep + EP_FLAGS) & EP_OFFLOADED) !== 0
  buildReplies(ep)
  while (hasRoom(ep, TRAIN_BYTES_MAX + 1024) && r32(ep + EP_TRAIN_COUNT) < DESC_COUNT - 2) {
    const cn: ptr = nextSender(ep)
    if (cn === 0) break
    const hasMore: bool = serve(ep, cn, now)
    // While the train is in the cache.
    if (!isOffloaded) runJobs()
    arm(cn, nextDeadline(cn))
    if (hasMore) wantSend(cn)
    else connectionFreeIfDone(cn)
  }
  return r32(ep + EP_TRAIN_COUNT)
}
