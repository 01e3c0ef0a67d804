/**
 * Receiving, in three steps: what descriptors point to becomes a list of jobs, one for each packet of
 * a connection; the jobs are done, here or by the native tier; packets that were opened are applied.
 * First packets and answers to them go to `strangers.ts` at once. Nothing that a datagram says can
 * make this throw.
 */
import { ackWanted } from './acknowledge'
import { settleBorrowed } from './borrowed'
import {
  CN_CONFIRMED,
  CN_COUNT_BYTES_RECEIVED,
  CN_COUNT_PACKETS_RECEIVED,
  CN_FLAGS,
  CN_IS_CLIENT,
  CN_LAST_HEARD,
  CN_MESSAGE_IN,
  CN_MESSAGE_OUT,
  CN_PATHS,
  CN_PROTECTED,
  CN_STATE,
  dropMessage,
  pathOf,
  probeTimeout,
  STATE_CLOSING,
  STATE_ESTABLISHED,
  STATE_HALF_OPEN,
  setState,
  tellClosed,
  wantSend,
} from './connection'
import { ecnReceived, ecnStart } from './ecn'
import {
  count,
  EP_CIDS,
  EP_CONNECTIONS_FREED,
  EP_FLAGS,
  EP_FROM,
  EP_INGEST_AT,
  EP_INGEST_COUNT,
  EP_INGEST_NEXT,
  EP_INGEST_WAITED,
  EP_LENDS,
  EP_MESSAGES,
  EP_NOW,
  tell,
} from './endpoint'
import {
  CLOSED,
  closeConnection,
  ELICITING,
  heardAfterClose,
  MID_BURST,
  readFrames,
  UNSTORED,
} from './frames'
import { addJob, jobsClear, jobsCount, jobsHaveRoom, jobsOwner, verdictOf } from './jobs'
import { noteForged, noteOpened, openOperation, openSlot, trailerSize } from './keys'
import {
  CODE_SECURITY,
  CONNECTION_CONFIRMED,
  COUNT_BYTES_RECEIVED,
  COUNT_CONNECTIONS_ACCEPTED,
  COUNT_DATAGRAMS_RECEIVED,
  COUNT_DROPPED_CORRUPT,
  COUNT_DROPPED_DESCRIPTOR,
  COUNT_DROPPED_FOREIGN,
  COUNT_DROPPED_FORGED,
  COUNT_DROPPED_MALFORMED,
  COUNT_DROPPED_MEMORY,
  COUNT_DROPPED_UNKNOWN,
  COUNT_PACKETS_DUPLICATE,
  COUNT_PACKETS_RECEIVED,
  DESC_COUNT,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_SEGMENT,
  DESC_SIZE,
  JOB_HEADER,
  JOB_KEY,
  JOB_PAYLOAD,
  JOB_PAYLOAD_SIZE,
  JOB_SIZE,
  JOBS,
  RX_ARENA,
  RX_ARENA_SIZE,
  RX_DESC,
  VERDICT_INTACT,
} from './layout'
import { noteSource } from './migration'
import {
  PATH_EXPECT_AT,
  PATH_FLOOR,
  PATH_LARGEST_RECEIVED,
  PATH_LARGEST_RECEIVED_AT,
  PATH_RECEIVED,
} from './path'
import { add32, addf64, maxf, mini, type ptr, r8, r32, rf64, w32, wf64 } from './prelude'
import {
  RANGE_END,
  RANGES_COUNT,
  RANGES_HEAD,
  rangesAdd,
  rangesContain,
  rangesDropHead,
} from './ranges'
import { sampleHandshake } from './recovery'
import { longPacket, unknownPacket } from './strangers'
import { streamsEstablished } from './stream'
import { tableFind } from './table'
import {
  expandNumber,
  FIRST_LONG,
  FIRST_OURS,
  PACKET_CID,
  ROUTE_PROBE,
  SHORT_NUMBER,
  SHORT_PATH,
  SHORT_SIZE,
  VARINT_MAX,
} from './wire'

/**
 * Received ranges that are remembered per path; older ones count as received. Even if every other
 * packet is missing this is a replay window of 2,048 packets.
 */
const RECEIVED_RANGES_MAX: i32 = 1024

// What a job of this list knows beside what it has to do.
const JOB_CONNECTION: i32 = 32
const JOB_PATH: i32 = 36
const JOB_PACKET_SIZE: i32 = 40
/** How many connections the endpoint had freed when the job was written. */
const JOB_FREED: i32 = 44
const JOB_PACKET_NUMBER: i32 = 48
const JOB_DESCRIPTOR: i32 = 56

// ── Descriptors ──────────────────────────────────────────────────────────────────────────────────

/**
 * Begins with the first `descriptors` receive descriptors. `lends`: what they point to stays as it is
 * until `settleBorrowed`.
 */
export function ingestStart(ep: ptr, descriptors: i32, lends: bool): void {
  settleBorrowed()
  w32(ep + EP_FLAGS, (r32(ep + EP_FLAGS) & ~EP_LENDS) | (lends ? EP_LENDS : 0))
  w32(ep + EP_INGEST_COUNT, mini(descriptors, DESC_COUNT))
  w32(ep + EP_INGEST_NEXT, 0)
  w32(ep + EP_INGEST_AT, 0)
  w32(ep + EP_INGEST_WAITED, 0)
}

/**
 * Writes jobs for what comes next, as many as fit; gives how many. 0: all descriptors are taken; or,
 * if there are some left, the host has to see to a handshake first.
 */
export function ingestPrepare(ep: ptr, now: f64): i32 {
  jobsClear(ep)
  wf64(ep + EP_NOW, now)
  // A packet that waited for the host does not wait twice.
  let mayWait: bool = r32(ep + EP_INGEST_WAITED) === 0
  w32(ep + EP_INGEST_WAITED, 0)
  while (r32(ep + EP_INGEST_NEXT) < r32(ep + EP_INGEST_COUNT)) {
    const desc: ptr = RX_DESC + r32(ep + EP_INGEST_NEXT) * DESC_SIZE
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
      add32(ep + EP_INGEST_NEXT, 1)
      continue
    }
    const end: ptr = start + length
    let p: ptr = r32(ep + EP_INGEST_AT)
    if (p < start || p > end) p = start
    while (p < end) {
      const size: i32 = segment > 0 && segment < end - p ? segment : end - p
      const waits: bool = mayWait && mustWait(ep, p, size)
      if (waits || !jobsHaveRoom(1)) {
        w32(ep + EP_INGEST_AT, p)
        // What came before it is applied first.
        if (jobsCount() === 0) w32(ep + EP_INGEST_WAITED, 1)
        return jobsCount()
      }
      mayWait = true
      datagram(ep, now, desc, p, size)
      p += size
    }
    w32(ep + EP_INGEST_AT, 0)
    add32(ep + EP_INGEST_NEXT, 1)
  }
  return jobsCount()
}

/** Applies the packets of the jobs. Those that nobody has done are done here. */
export function ingestFinish(ep: ptr, now: f64): void {
  if (jobsOwner() !== ep) return
  const jobs: i32 = jobsCount()
  for (let i: i32 = 0; i < jobs; i++) {
    const isIntact: bool = verdictOf(i) === VERDICT_INTACT
    shortPacket(ep, now, JOBS + i * JOB_SIZE, isIntact)
  }
  jobsClear(0)
}

/**
 * Goes on until all descriptors are taken or the host has to see to a handshake; gives how many
 * descriptors were taken.
 */
export function ingestRun(ep: ptr, now: f64): i32 {
  while (ingestPrepare(ep, now) > 0) ingestFinish(ep, now)
  return r32(ep + EP_INGEST_NEXT)
}

/**
 * Whether a packet's connection has a handshake message for the host: the keys that open the packet
 * are in there.
 */
function mustWait(ep: ptr, p: ptr, size: i32): bool {
  if (r32(ep + EP_MESSAGES) === 0) return false
  if (size < SHORT_SIZE || (r8(p) & (FIRST_OURS | FIRST_LONG)) !== FIRST_OURS) return false
  const found: i32 = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  return found !== 0 && (found & 3) === 0 && r32(found + CN_MESSAGE_IN) !== 0
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
  else prepare(ep, now, desc, p, size)
}

// ── Packets of connections ───────────────────────────────────────────────────────────────────────

/** Writes the job for a packet of a connection. */
function prepare(ep: ptr, now: f64, desc: ptr, p: ptr, size: i32): void {
  if (size < SHORT_SIZE) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const found: i32 = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  if (found === 0 || (found & 3) !== 0) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    if (found === 0) unknownPacket(ep, desc, p, size)
    return
  }
  const cn: ptr = found
  const path: ptr = pathOf(cn, r8(p + SHORT_PATH))
  if (path === 0 || !isReady(cn)) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  const trailer: i32 = trailerSize(cn)
  const number: f64 = expandNumber(r32(p + SHORT_NUMBER), rf64(path + PATH_LARGEST_RECEIVED) + 1.0)
  // A peer may jump ahead with every packet; beyond this, numbers are not exact any more.
  if (size < SHORT_SIZE + trailer || number > VARINT_MAX) {
    count(ep, COUNT_DROPPED_MALFORMED, 1.0)
    return
  }
  const slot: ptr = openSlot(cn, r8(p), number, now)
  const payload: i32 = size - SHORT_SIZE - trailer
  const job: ptr = addJob(openOperation(cn), slot, number, p, SHORT_SIZE, payload)
  w32(job + JOB_CONNECTION, cn)
  w32(job + JOB_PATH, path)
  w32(job + JOB_PACKET_SIZE, size)
  w32(job + JOB_FREED, r32(ep + EP_CONNECTIONS_FREED))
  wf64(job + JOB_PACKET_NUMBER, number)
  w32(job + JOB_DESCRIPTOR, desc)
}

/** Whether packets of a connection can be opened: the handshake has come so far. */
function isReady(cn: ptr): bool {
  const state: i32 = r32(cn + CN_STATE)
  if (state === STATE_ESTABLISHED || state === STATE_CLOSING) return true
  return state === STATE_HALF_OPEN && (r32(cn + CN_FLAGS) & CN_PROTECTED) !== 0
}

/** Whether a job's connection is what it was: freed memory may be somebody else's by now. */
function isStillThere(ep: ptr, job: ptr): bool {
  if (r32(job + JOB_FREED) === r32(ep + EP_CONNECTIONS_FREED)) return true
  const p: ptr = r32(job + JOB_HEADER)
  const found: i32 = tableFind(ep + EP_CIDS, r32(p + PACKET_CID), r32(p + PACKET_CID + 4))
  return found === r32(job + JOB_CONNECTION)
}

/** Applies a packet of a connection. */
function shortPacket(ep: ptr, now: f64, job: ptr, isIntact: bool): void {
  const cn: ptr = r32(job + JOB_CONNECTION)
  const path: ptr = r32(job + JOB_PATH)
  if (!isStillThere(ep, job) || !isReady(cn)) {
    count(ep, COUNT_DROPPED_UNKNOWN, 1.0)
    return
  }
  if (!isIntact) {
    count(ep, r32(job + JOB_KEY) === 0 ? COUNT_DROPPED_CORRUPT : COUNT_DROPPED_FORGED, 1.0)
    if (noteForged(cn)) fail(cn, CODE_SECURITY, now)
    return
  }
  const number: f64 = rf64(job + JOB_PACKET_NUMBER)
  if (number < rf64(path + PATH_FLOOR) || rangesContain(path + PATH_RECEIVED, number)) {
    // No packet is sent twice, so the network did this: an answer would be repeated as well, and on
    // a path that repeats everything answers to answers would never end.
    count(ep, COUNT_PACKETS_DUPLICATE, 1.0)
    return
  }
  noteOpened(cn, path, r32(job + JOB_KEY), number, now)
  if (r32(cn + CN_STATE) === STATE_CLOSING) {
    heardAfterClose(cn)
    return
  }
  wf64(cn + CN_LAST_HEARD, now)
  if ((r32(cn + CN_FLAGS) & CN_CONFIRMED) === 0) confirm(ep, cn)
  const size: i32 = r32(job + JOB_PACKET_SIZE)
  const desc: ptr = r32(job + JOB_DESCRIPTOR)
  noteSource(cn, path, desc, number, size, now)
  w32(ep + EP_FROM, desc)
  const start: ptr = r32(job + JOB_PAYLOAD)
  const result: i32 = readFrames(cn, path, start, start + r32(job + JOB_PAYLOAD_SIZE), now)
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
  const largest: f64 = rf64(path + PATH_LARGEST_RECEIVED)
  noteReceived(cn, path, number, now)
  ecnReceived(path, desc)
  if ((result & ELICITING) !== 0) {
    // The sender has more. If none of it comes, it may send it to where we are no more: a packet of
    // ours shows it where we are.
    const isMore: bool = (result & MID_BURST) !== 0
    wf64(path + PATH_EXPECT_AT, isMore ? now + probeTimeout(cn, path) : Infinity)
  }
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

/** The first packet that only the other side of the handshake can send. */
function confirm(ep: ptr, cn: ptr): void {
  w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_CONFIRMED)
  dropMessage(cn, CN_MESSAGE_OUT)
  if ((r32(cn + CN_FLAGS) & CN_IS_CLIENT) !== 0) return
  sampleHandshake(cn, r32(cn + CN_PATHS), rf64(cn + CN_LAST_HEARD))
  setState(cn, STATE_ESTABLISHED)
  ecnStart(r32(cn + CN_PATHS))
  streamsEstablished(cn)
  count(ep, COUNT_CONNECTIONS_ACCEPTED, 1.0)
  tell(cn, CONNECTION_CONFIRMED)
}

/** Ends a connection because of something the peer did: it is told. */
export function fail(cn: ptr, code: i32, now: f64): void {
  closeConnection(cn, code, now)
  tellClosed(cn, code)
}
