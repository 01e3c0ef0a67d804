/**
 * A path: one way to the peer, with its own packet numbers, acknowledgements, round-trip time and
 * congestion window. Connections have one at first; a relay or a move adds others.
 */
import { ADDRESS_SIZE, DESC_ADDRESS, DESC_PORT } from './layout'
import { give, take } from './pages'
import { copy, fill, low32, maxf, type ptr, r8, r32, rf64, w32, wf64 } from './prelude'
import { rangesClear } from './ranges'

export const PATH_CONNECTION: i32 = 0
export const PATH_NUMBER: i32 = 4
export const PATH_SOCKET: i32 = 8
/** DESC_ADDRESS … DESC_SCOPE of a descriptor. */
export const PATH_ADDRESS: i32 = 12
/** Largest packet it carries, as far as known. */
export const PATH_PACKET_BYTES: i32 = 36
/** Number of the next packet. */
export const PATH_NEXT: i32 = 40
export const PATH_LARGEST_ACKED: i32 = 48
/** Lowest number that may still be in flight. */
export const PATH_BASE: i32 = 56
/** Ring of sent packets by number. */
export const PATH_RING: i32 = 64
export const PATH_RING_CAPACITY: i32 = 68
export const PATH_IN_FLIGHT: i32 = 72
export const PATH_IN_FLIGHT_COUNT: i32 = 76
/** When the last packet that asks for an acknowledgement left. */
export const PATH_LAST_ELICITING: i32 = 80
/** When the oldest packet counts as lost, 0: not set. */
export const PATH_LOSS_TIME: i32 = 88
/** Probe timeouts in a row. */
export const PATH_PROBE_COUNT: i32 = 96
/** Packets that may leave in spite of a full window. */
export const PATH_PROBES: i32 = 100
export const PATH_RTT_LATEST: i32 = 104
/** 0: no sample yet. */
export const PATH_RTT_SMOOTHED: i32 = 112
export const PATH_RTT_VARIANCE: i32 = 120
export const PATH_RTT_MIN: i32 = 128
/** Packet numbers of ours that were acknowledged, from PATH_BASE on. */
export const PATH_ACKED: i32 = 136
/** Packet numbers of the peer that we received. */
export const PATH_RECEIVED: i32 = 152
export const PATH_LARGEST_RECEIVED: i32 = 168
export const PATH_LARGEST_RECEIVED_AT: i32 = 176
/** Numbers below were received, or do not matter any more. */
export const PATH_FLOOR: i32 = 184
/** Packets received that ask for an acknowledgement and have none. */
export const PATH_ACK_PENDING: i32 = 192
/** Congestion control: which (CONTROLLER_…), its window in bytes, its rate in bytes per µs. */
export const PATH_CONTROLLER: i32 = 196
export const PATH_WINDOW: i32 = 200
/** 0: nothing is known of the path yet. */
export const PATH_PACING_RATE: i32 = 208
/** Pacing: when the next train may leave, when the last one left, whether anything waits for it. */
export const PATH_PACE_NEXT: i32 = 216
export const PATH_PACE_TRAIN: i32 = 224
export const PATH_PACE_WAITS: i32 = 232
/** Whether packets were seen to overtake each other, and by how much they may before one is lost. */
export const PATH_IS_REORDERED: i32 = 236
export const PATH_REORDER_WINDOW: i32 = 240
/** Losses since then are one episode; how many of them are not known to be spurious. */
export const PATH_EPISODE_AT: i32 = 248
export const PATH_EPISODE_LOST: i32 = 256
/** Episodes without a spurious loss until the reordering window is forgotten. */
export const PATH_REORDER_EPISODES: i32 = 260
/** Bytes that arrived; when the last of them did; when the packet left that showed it. */
export const PATH_DELIVERED: i32 = 264
export const PATH_DELIVERED_AT: i32 = 272
export const PATH_FIRST_SENT: i32 = 280
/** Until so many bytes have arrived, samples say what the application sent; 0: they do not. */
export const PATH_APP_LIMITED: i32 = 288
/** What one ACK frame says (congestion.ts). */
export const PATH_SAMPLE: i32 = 296
/** When an acknowledgement is due, Infinity: none; when the last one left. */
export const PATH_ACK_DUE: i32 = 352
export const PATH_ACK_SENT: i32 = 360
/** PATH_LARGEST_ACKED as it was before the ACK frame that is read. */
export const PATH_LARGEST_BEFORE: i32 = 368
/** When the episode of losses before the present one began. */
export const PATH_EPISODE_BEFORE: i32 = 376
/** State of the controller. */
export const PATH_MODEL: i32 = 384
/** Search for the packet size (mtu.ts): the largest that may be tried, the smallest that failed. */
export const PATH_MTU_MOST: i32 = 640
export const PATH_MTU_BAD: i32 = 644
/** Size of the probe on its way, 0: none; what its losses count; when to go on. */
export const PATH_MTU_PROBE: i32 = 648
export const PATH_MTU_MISSES: i32 = 652
export const PATH_MTU_AT: i32 = 656
/** Largest number of a large packet that arrived; large packets lost since. */
export const PATH_MTU_BIG_ACKED: i32 = 664
export const PATH_MTU_BIG_LOST: i32 = 672
/** Packets leave full: larger ones would be of use. */
export const PATH_MTU_IS_WANTED: i32 = 676
/** How long after this search the next one begins. */
export const PATH_MTU_INTERVAL: i32 = 680
/** Another place the peer was heard from (migration.ts): NEW_…, where, what it was asked, until when. */
export const PATH_NEW_STATE: i32 = 688
export const PATH_NEW_SOCKET: i32 = 692
export const PATH_NEW_ADDRESS: i32 = 696
export const PATH_CHALLENGE: i32 = 720
export const PATH_NEW_DUE: i32 = 728
export const PATH_NEW_ASKED: i32 = 736
/** Bytes that came from there, and that went there. */
export const PATH_NEW_BYTES_IN: i32 = 740
export const PATH_NEW_BYTES_OUT: i32 = 744
/** The peer asks whether we are somewhere: with what, and where the answer goes. */
export const PATH_IS_ANSWER_DUE: i32 = 748
export const PATH_ANSWER: i32 = 752
export const PATH_ANSWER_SOCKET: i32 = 760
export const PATH_ANSWER_ADDRESS: i32 = 764
/** When more should have come, because the last packet was full; Infinity: it was not. */
export const PATH_EXPECT_AT: i32 = 792
/** Marks of congestion (ecn.ts): whether packets are marked, the first number that was … */
export const PATH_ECN_IS_ON: i32 = 800
export const PATH_ECN_SINCE: i32 = 808
/** … how many of them were acknowledged, and seen marked; in all, before, and as congested … */
export const PATH_ECN_ACKED: i32 = 816
export const PATH_ECN_SEEN: i32 = 824
export const PATH_ECN_BEFORE: i32 = 832
export const PATH_ECN_CONGESTED: i32 = 840
/** … of which so many were heeded; and what we have seen ourselves of the peer's. */
export const PATH_ECN_HANDLED: i32 = 848
export const PATH_ECN_MARKED_IN: i32 = 856
export const PATH_ECN_CONGESTED_IN: i32 = 864
const PATH_SIZE: i32 = 872

// ── Sent packets ─────────────────────────────────────────────────────────────────────────────────

export const SENT_AT: i32 = 0
export const SENT_BYTES: i32 = 8
/** STATE_…, one byte. */
export const SENT_STATE: i32 = 12
/** Whether the application limited the rate when it left, one byte. */
export const SENT_IS_LIMITED: i32 = 13
/** Whether it only finds out how large packets may be, one byte. */
export const SENT_IS_MTU_PROBE: i32 = 14
/** What it carried: one part of a stream here, further ones in a chain of records. */
export const SENT_RECORD: i32 = 16
/** Bytes that had arrived when it left (the low 32 bits of PATH_DELIVERED). */
export const SENT_DELIVERED: i32 = 36
/** Control frames of the connection (CONTROL_…). */
export const SENT_CONTROL: i32 = 40
/** Chain of further records. */
export const SENT_MORE: i32 = 44
/** Largest number acknowledged by an ACK frame in it, −1: none. */
export const SENT_ACKED: i32 = 48
/** Before it left: µs since PATH_DELIVERED_AT and since PATH_FIRST_SENT. */
export const SENT_SINCE_DELIVERED: i32 = 56
export const SENT_SINCE_FIRST: i32 = 60
export const SENT_SIZE: i32 = 64

export const STATE_UNTRACKED: i32 = 0
export const STATE_IN_FLIGHT: i32 = 1
export const STATE_ACKED: i32 = 2
export const STATE_LOST: i32 = 3

// ── What a packet carried of one stream ──────────────────────────────────────────────────────────

/** Stream number; NO_STREAM: nothing. */
export const RECORD_STREAM: i32 = 0
/** Bytes of data; bit 31: FIN. */
export const RECORD_LENGTH: i32 = 4
export const RECORD_OFFSET: i32 = 8
/** Control frames of the stream (STREAM_…_DUE). */
export const RECORD_CONTROL: i32 = 16
/** Next of the chain; only in chained records. */
export const RECORD_NEXT: i32 = 20
export const RECORD_SIZE: i32 = 32
export const NO_STREAM: i32 = -1
export const RECORD_FIN: i32 = 1 << 31

const RING_MIN: i32 = 8
const RING_MAX: i32 = 131072

/** Copies an address; beside the port is how the one datagram was marked. */
export function copyPlace(to: ptr, from: ptr): void {
  copy(to, from, ADDRESS_SIZE)
  const port: ptr = to + DESC_PORT - DESC_ADDRESS
  w32(port, r32(port) & 0xffff)
}

export function pathCreate(
  connection: ptr,
  number: i32,
  socket: i32,
  address: ptr,
  packetBytes: i32,
): ptr {
  const path: ptr = take(connection, PATH_SIZE)
  if (path === 0) return 0
  fill(path, PATH_SIZE)
  w32(path + PATH_CONNECTION, connection)
  w32(path + PATH_NUMBER, number)
  w32(path + PATH_SOCKET, socket)
  copyPlace(path + PATH_ADDRESS, address)
  w32(path + PATH_PACKET_BYTES, packetBytes)
  wf64(path + PATH_LARGEST_ACKED, -1.0)
  wf64(path + PATH_LARGEST_RECEIVED, -1.0)
  wf64(path + PATH_RTT_MIN, Infinity)
  wf64(path + PATH_EXPECT_AT, Infinity)
  wf64(path + PATH_ACK_DUE, Infinity)
  wf64(path + PATH_ACK_SENT, -Infinity)
  // The first packets show what the application has to send.
  wf64(path + PATH_APP_LIMITED, 1.0)
  wf64(path + PATH_EPISODE_AT, -1.0)
  wf64(path + PATH_EPISODE_BEFORE, -1.0)
  return path
}

/** Forgets what was learnt of the way: it is another one. What is in flight stays so. */
export function pathForget(path: ptr): void {
  fill(path + PATH_MODEL, PATH_MTU_MOST - PATH_MODEL)
  wf64(path + PATH_RTT_LATEST, 0.0)
  wf64(path + PATH_RTT_SMOOTHED, 0.0)
  wf64(path + PATH_RTT_VARIANCE, 0.0)
  wf64(path + PATH_RTT_MIN, Infinity)
  wf64(path + PATH_PACING_RATE, 0.0)
  wf64(path + PATH_PACE_NEXT, 0.0)
  wf64(path + PATH_APP_LIMITED, 1.0)
  wf64(path + PATH_REORDER_WINDOW, 0.0)
  w32(path + PATH_IS_REORDERED, 0)
  w32(path + PATH_REORDER_EPISODES, 0)
}

export function pathFree(connection: ptr, path: ptr): void {
  const capacity: i32 = r32(path + PATH_RING_CAPACITY)
  if (capacity !== 0) {
    for (let i: i32 = 0; i < capacity; i++) {
      dropRecords(connection, r32(path + PATH_RING) + i * SENT_SIZE)
    }
    give(connection, r32(path + PATH_RING), capacity * SENT_SIZE)
  }
  rangesClear(connection, path + PATH_ACKED)
  rangesClear(connection, path + PATH_RECEIVED)
  give(connection, path, PATH_SIZE)
}

function entryIn(ring: ptr, capacity: i32, number: f64): ptr {
  return ring + (low32(number) & (capacity - 1)) * SENT_SIZE
}

/** Entry of a sent packet; the caller knows that the ring still holds it. */
export function sentEntry(path: ptr, number: f64): ptr {
  return entryIn(r32(path + PATH_RING), r32(path + PATH_RING_CAPACITY), number)
}

/** Gives back the chain of a sent packet. */
export function dropRecords(connection: ptr, entry: ptr): void {
  let record: ptr = r32(entry + SENT_MORE)
  w32(entry + SENT_MORE, 0)
  while (record !== 0) {
    const next: ptr = r32(record + RECORD_NEXT)
    give(connection, record, RECORD_SIZE)
    record = next
  }
}

function growRing(connection: ptr, path: ptr): bool {
  const capacity: i32 = r32(path + PATH_RING_CAPACITY)
  const larger: i32 = capacity === 0 ? RING_MIN : capacity << 1
  if (larger > RING_MAX) return false
  const ring: ptr = take(connection, larger * SENT_SIZE)
  if (ring === 0) return false
  fill(ring, larger * SENT_SIZE)
  const old: ptr = r32(path + PATH_RING)
  const next: f64 = rf64(path + PATH_NEXT)
  let number: f64 = heldFrom(path)
  while (number < next) {
    copy(entryIn(ring, larger, number), entryIn(old, capacity, number), SENT_SIZE)
    number += 1.0
  }
  w32(path + PATH_RING, ring)
  w32(path + PATH_RING_CAPACITY, larger)
  if (capacity !== 0) give(connection, old, capacity * SENT_SIZE)
  return true
}

/** Skips numbers that are not in flight any more. */
export function advanceBase(path: ptr): void {
  let base: f64 = rf64(path + PATH_BASE)
  const next: f64 = rf64(path + PATH_NEXT)
  if (r32(path + PATH_IN_FLIGHT_COUNT) === 0) base = next
  else while (r8(sentEntry(path, base) + SENT_STATE) !== STATE_IN_FLIGHT) base += 1.0
  wf64(path + PATH_BASE, base)
}

/** Whether the next packet would take the place of one that is in flight. */
function isRingFull(path: ptr): bool {
  return rf64(path + PATH_NEXT) - rf64(path + PATH_BASE) >= f64(r32(path + PATH_RING_CAPACITY))
}

/** Makes sure that one more packet can be remembered; false when there is no memory for it. */
export function makeRoom(path: ptr): bool {
  if (!isRingFull(path)) return true
  if (r32(path + PATH_RING_CAPACITY) !== 0) advanceBase(path)
  return !isRingFull(path) || growRing(r32(path + PATH_CONNECTION), path)
}

/**
 * An entry for the next packet, cleared; 0 when the ring is full and cannot grow. Older packets
 * that are decided give way.
 */
export function nextEntry(path: ptr): ptr {
  const connection: ptr = r32(path + PATH_CONNECTION)
  const next: f64 = rf64(path + PATH_NEXT)
  if (!makeRoom(path)) return 0
  const entry: ptr = sentEntry(path, next)
  dropRecords(connection, entry)
  fill(entry, SENT_SIZE)
  w32(entry + SENT_RECORD + RECORD_STREAM, NO_STREAM)
  wf64(entry + SENT_ACKED, -1.0)
  return entry
}

/** The lowest number that the ring still holds. */
export function heldFrom(path: ptr): f64 {
  return maxf(0.0, rf64(path + PATH_NEXT) - f64(r32(path + PATH_RING_CAPACITY)))
}
