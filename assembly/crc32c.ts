/**
 * CRC32C (Castagnoli), the checksum of packets without packet protection. Shared source.
 *
 * Three algorithms with one result: *slicing-16* looks up 16 bytes at a time in 16 tables and runs
 * everywhere; with SIMD (`simd/crc32c-fold.ts`) the *nibble fold* is about twice as fast at the size
 * of a packet, and *sparse moves* once more than twice as fast in long packets. Published check
 * value: "123456789" gives 0xe3069283.
 */
import { fill, type ptr, r8, r32, w8, w32 } from './prelude'
import {
  crc32cFold,
  crc32cSparse,
  FOLD_SIZE_MIN,
  FOLD_STATE_SIZE,
  SPARSE_REST,
  SPARSE_REST_SIZE,
  SPARSE_SIZE_MIN,
  SPARSE_WORK_SIZE,
} from './simd/crc32c-fold'

/** 16 tables of 256 words. Table k holds the CRC of a byte followed by k zero bytes. */
export const CRC_TABLES: i32 = 0x20000
/** For each of the four lags of the fold: 16 bytes for low nibbles, 16 for high ones. */
export const CRC_NIBBLES: i32 = 0x24000
/** The fold's vectors in flight; only this differs between builds. */
export const CRC_SCRATCH: i32 = 0x24400

/** What the way for long messages works with; this differs, too. */
export const CRC_WORK: i32 = 0x271000
export const CRC_WORK_SIZE: i32 = SPARSE_WORK_SIZE

/** The generator polynomial, bits reversed (RFC 3720 §12.1). */
const POLYNOMIAL: i32 = 0x82f63b78 | 0

/** Computes all tables; once per instance, before anything else here. */
export function crc32cInit(): void {
  initSlicing()
  initNibbles()
}

/** Gives the CRC32C of `length` bytes. */
export function crc32c(p: ptr, length: i32): i32 {
  return crc32cUpdate(0, p, length)
}

/** Continues: gives the CRC32C of what `crc` is the CRC32C of, followed by these bytes. */
export function crc32cUpdate(crc: i32, p: ptr, length: i32): i32 {
  let state: i32 = ~crc
  let done: i32 = 0
  if (ASC_FEATURE_SIMD) {
    if (length >= SPARSE_SIZE_MIN) {
      done = crc32cSparse(state, p, length, CRC_WORK)
      crc32cFold(0, CRC_WORK + SPARSE_REST, SPARSE_REST_SIZE, CRC_NIBBLES, CRC_SCRATCH)
      state = slicing(0, CRC_SCRATCH, FOLD_STATE_SIZE)
    } else if (length >= FOLD_SIZE_MIN) {
      done = crc32cFold(state, p, length, CRC_NIBBLES, CRC_SCRATCH)
      state = slicing(0, CRC_SCRATCH, FOLD_STATE_SIZE)
    }
  }
  return ~slicing(state, p + done, length - done)
}

function slicing(state: i32, p: ptr, length: i32): i32 {
  let crc: i32 = state
  let at: ptr = p
  let left: i32 = length
  while (left >= 16) {
    crc =
      lookUpFour(12, crc ^ r32(at)) ^
      lookUpFour(8, r32(at + 4)) ^
      lookUpFour(4, r32(at + 8)) ^
      lookUpFour(0, r32(at + 12))
    at = at + 16
    left = left - 16
  }
  while (left >= 4) {
    crc = lookUpFour(0, crc ^ r32(at))
    at = at + 4
    left = left - 4
  }
  while (left > 0) {
    crc = advance(crc ^ r8(at))
    at = at + 1
    left = left - 1
  }
  return crc
}

/** Looks up the four bytes of a word of which `zeros` bytes of a 16-byte block come after it. */
function lookUpFour(zeros: i32, word: i32): i32 {
  const table: ptr = CRC_TABLES + (zeros << 10)
  return (
    r32(table + 3072 + ((word & 255) << 2)) ^
    r32(table + 2048 + (((word >>> 8) & 255) << 2)) ^
    r32(table + 1024 + (((word >>> 16) & 255) << 2)) ^
    r32(table + ((word >>> 24) << 2))
  )
}

/** Takes the state over one zero byte. */
function advance(state: i32): i32 {
  return (state >>> 8) ^ r32(CRC_TABLES + ((state & 255) << 2))
}

function advanceBy(state: i32, zeros: i32): i32 {
  let crc: i32 = state
  for (let i: i32 = 0; i < zeros; i++) crc = advance(crc)
  return crc
}

function initSlicing(): void {
  for (let byte: i32 = 0; byte < 256; byte++) {
    let crc: i32 = byte
    for (let bit: i32 = 0; bit < 8; bit++) {
      crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
    }
    w32(CRC_TABLES + (byte << 2), crc)
  }
  for (let entry: i32 = 256; entry < 4096; entry++) {
    w32(CRC_TABLES + (entry << 2), advance(r32(CRC_TABLES + ((entry - 256) << 2))))
  }
}

/** How many 16-byte vectors later the images of a vector are added: `simd/crc32c-fold.ts`. */
function lag(index: i32): i32 {
  if (index === 0) return 2
  if (index === 1) return 3
  return index === 2 ? 5 : 7
}

/**
 * Solves which byte at each of the four lags, taken together, has the same CRC as one byte at lag
 * 0. The 32 single bits at the four lags form a basis of all 32-bit states (true of few lags);
 * each bit of the byte at lag 0 is written in that basis by Gaussian elimination.
 */
function initNibbles(): void {
  const end: i32 = 128
  // No pivots yet: folding leaves its own state here.
  fill(CRC_SCRATCH, 288)
  for (let bit: i32 = 0; bit < 32; bit++) {
    addPivot(advanceBy(1 << (bit & 7), end - (lag(bit >> 3) << 4)), 1 << bit)
  }
  // Byte k of the word for a bit is what that bit becomes at lag k.
  const images: ptr = CRC_SCRATCH + 256
  for (let bit: i32 = 0; bit < 8; bit++) {
    w32(images + (bit << 2), reduce(advanceBy(1 << bit, end)))
  }
  for (let index: i32 = 0; index < 4; index++) {
    for (let half: i32 = 0; half < 2; half++) {
      for (let nibble: i32 = 0; nibble < 16; nibble++) {
        let image: i32 = 0
        for (let bit: i32 = 0; bit < 4; bit++) {
          if (((nibble >> bit) & 1) !== 0) image = image ^ r32(images + ((half * 4 + bit) << 2))
        }
        w8(CRC_NIBBLES + (index << 5) + (half << 4) + nibble, (image >>> (index << 3)) & 255)
      }
    }
  }
  fill(CRC_SCRATCH, 288)
}

/** Pivot for bit b at CRC_SCRATCH + 8b: its state, and the set of basis bits that sum to it. */
function addPivot(state: i32, member: i32): void {
  let value: i32 = state
  let members: i32 = member
  for (let bit: i32 = 31; bit >= 0; bit--) {
    if (((value >>> bit) & 1) === 0) continue
    const pivot: ptr = CRC_SCRATCH + (bit << 3)
    if (r32(pivot) === 0) {
      w32(pivot, value)
      w32(pivot + 4, members)
      return
    }
    value = value ^ r32(pivot)
    members = members ^ r32(pivot + 4)
  }
}

/** Gives the set of basis bits that sum to the state. */
function reduce(state: i32): i32 {
  let value: i32 = state
  let members: i32 = 0
  for (let bit: i32 = 31; bit >= 0; bit--) {
    if (((value >>> bit) & 1) === 0) continue
    const pivot: ptr = CRC_SCRATCH + (bit << 3)
    value = value ^ r32(pivot)
    members = members ^ r32(pivot + 4)
  }
  return members
}
