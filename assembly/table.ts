/**
 * Open-addressing hash table from a 64-bit key to a pointer: connections by id, streams by
 * connection and number. Linear probing, at most half full, removal shifts back (no tombstones).
 * A table shrinks as it empties: what many connections took comes back when they are gone.
 */
import { give, take } from './pages'
import { add32, copy, fill, mul, type ptr, r32, w32 } from './prelude'

const SLOTS: i32 = 0
/** Number of slots, a power of two; 0 before the first insertion. */
const CAPACITY: i32 = 4
export const TABLE_COUNT: i32 = 8
/** Secret of this table: peers choose some keys and must not be able to make them collide. */
const SEED: i32 = 12
/** Bytes of a table inside its owner. */
export const TABLE_SIZE: i32 = 16

const SLOT_SIZE: i32 = 16
const SLOT_LOW: i32 = 0
const SLOT_HIGH: i32 = 4
const SLOT_VALUE: i32 = 8
const CAPACITY_MIN: i32 = 64

export function tableInit(table: ptr, seed: i32): void {
  fill(table, TABLE_SIZE)
  w32(table + SEED, seed)
}

function hash(table: ptr, low: i32, high: i32): i32 {
  let h: i32 = mul(low ^ r32(table + SEED), 0x7feb352d)
  h = mul((h ^ (h >>> 15)) + high, 0x2c1b3c6d)
  h = mul(h ^ (h >>> 13), 0x297a2d39)
  return h ^ (h >>> 16)
}

/** Address of the slot with this key, or of the empty slot where it would go. */
function slotOf(table: ptr, low: i32, high: i32): ptr {
  const mask: i32 = r32(table + CAPACITY) - 1
  const slots: ptr = r32(table + SLOTS)
  let i: i32 = hash(table, low, high) & mask
  while (true) {
    const slot: ptr = slots + i * SLOT_SIZE
    if (r32(slot + SLOT_VALUE) === 0) return slot
    if (r32(slot + SLOT_LOW) === low && r32(slot + SLOT_HIGH) === high) return slot
    i = (i + 1) & mask
  }
}

/** The value stored for the key, or 0. */
export function tableFind(table: ptr, low: i32, high: i32): i32 {
  if (r32(table + TABLE_COUNT) === 0) return 0
  return r32(slotOf(table, low, high) + SLOT_VALUE)
}

/** Moves everything to a new array of slots. False when there is no memory: nothing has changed. */
function resize(owner: ptr, table: ptr, wanted: i32): bool {
  const old: ptr = r32(table + SLOTS)
  const capacity: i32 = r32(table + CAPACITY)
  const slots: ptr = take(owner, wanted * SLOT_SIZE)
  if (slots === 0) return false
  fill(slots, wanted * SLOT_SIZE)
  w32(table + SLOTS, slots)
  w32(table + CAPACITY, wanted)
  for (let i: i32 = 0; i < capacity; i++) {
    const from: ptr = old + i * SLOT_SIZE
    if (r32(from + SLOT_VALUE) === 0) continue
    copy(slotOf(table, r32(from + SLOT_LOW), r32(from + SLOT_HIGH)), from, SLOT_SIZE)
  }
  if (capacity !== 0) give(owner, old, capacity * SLOT_SIZE)
  return true
}

/** Stores `value` (not 0) for the key. False when there is no memory or the key is taken. */
export function tableAdd(owner: ptr, table: ptr, low: i32, high: i32, value: i32): bool {
  const capacity: i32 = r32(table + CAPACITY)
  if (r32(table + TABLE_COUNT) * 2 >= capacity) {
    if (!resize(owner, table, capacity === 0 ? CAPACITY_MIN : capacity << 1)) return false
  }
  const slot: ptr = slotOf(table, low, high)
  if (r32(slot + SLOT_VALUE) !== 0) return false
  w32(slot + SLOT_LOW, low)
  w32(slot + SLOT_HIGH, high)
  w32(slot + SLOT_VALUE, value)
  add32(table + TABLE_COUNT, 1)
  return true
}

export function tableRemove(owner: ptr, table: ptr, low: i32, high: i32): void {
  if (r32(table + TABLE_COUNT) === 0) return
  let hole: ptr = slotOf(table, low, high)
  if (r32(hole + SLOT_VALUE) === 0) return
  const mask: i32 = r32(table + CAPACITY) - 1
  const slots: ptr = r32(table + SLOTS)
  let i: i32 = (hole - slots) >> 4
  let empty: i32 = i
  while (true) {
    i = (i + 1) & mask
    const slot: ptr = slots + i * SLOT_SIZE
    if (r32(slot + SLOT_VALUE) === 0) break
    const home: i32 = hash(table, r32(slot + SLOT_LOW), r32(slot + SLOT_HIGH)) & mask
    // It may move into the hole if its home does not lie between the hole and itself.
    if (((i - home) & mask) >= ((i - empty) & mask)) {
      copy(hole, slot, SLOT_SIZE)
      hole = slot
      empty = i
    }
  }
  fill(hole, SLOT_SIZE)
  const left: i32 = add32(table + TABLE_COUNT, -1)
  const capacity: i32 = mask + 1
  if (left === 0) tableFree(owner, table)
  else if (capacity > CAPACITY_MIN && left < capacity >> 3) resize(owner, table, capacity >> 1)
}

export function tableFree(owner: ptr, table: ptr): void {
  const capacity: i32 = r32(table + CAPACITY)
  if (capacity !== 0) give(owner, r32(table + SLOTS), capacity * SLOT_SIZE)
  w32(table + CAPACITY, 0)
  w32(table + TABLE_COUNT, 0)
}
