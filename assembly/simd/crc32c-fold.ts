/**
 * The SIMD kernel of CRC32C, by folding with nibble tables. Compiled only; never run as TypeScript.
 *
 * A 16-byte vector of the message may be replaced by other vectors further on that leave the same
 * CRC. Every byte of it is a linear 8-bit value; its images at four later places ("lags", counted
 * in vectors) together cover all 32 bits of the CRC's state if the lags are well chosen, so four
 * byte-to-byte maps exist that move the vector on. A linear map of a byte is two 16-entry tables,
 * one per nibble, and a 16-entry table is one `swizzle`: 8 look-ups per 16 bytes, no memory
 * touched. Lags 2, 3, 5, 7 are independent for this polynomial (1, 2, 3, 4 are not) and let two
 * vectors be in work at a time.
 */

/** Bytes that stay in flight: seven vectors, the largest lag. */
export const FOLD_STATE_SIZE: i32 = 112
/** Shorter messages are not worth the start; two vectors and the state must fit at least. */
export const FOLD_SIZE_MIN: i32 = 176

/**
 * Folds all but the last few bytes and answers how many it consumed. At `scratch` it leaves
 * FOLD_STATE_SIZE bytes whose CRC from state 0 is the state after the consumed bytes.
 */
export function crc32cFold(state: i32, p: i32, length: i32, nibbles: i32, scratch: i32): i32 {
  const low2: v128 = v128.load(nibbles)
  const high2: v128 = v128.load(nibbles, 16)
  const low3: v128 = v128.load(nibbles, 32)
  const high3: v128 = v128.load(nibbles, 48)
  const low5: v128 = v128.load(nibbles, 64)
  const high5: v128 = v128.load(nibbles, 80)
  const low7: v128 = v128.load(nibbles, 96)
  const high7: v128 = v128.load(nibbles, 112)
  const nibble: v128 = i8x16.splat(15)
  // What earlier vectors add to the next seven. The state goes into the first four bytes.
  let next0: v128 = i32x4.replace_lane(i32x4.splat(0), 0, state)
  let next1: v128 = i32x4.splat(0)
  let next2: v128 = next1
  let next3: v128 = next1
  let next4: v128 = next1
  let next5: v128 = next1
  let next6: v128 = next1
  let at: i32 = p
  const end: i32 = p + length
  while (at + 32 + FOLD_STATE_SIZE <= end) {
    const a: v128 = v128.xor(v128.load(at), next0)
    const aLow: v128 = v128.and(a, nibble)
    const aHigh: v128 = v128.and(i16x8.shr_u(a, 4), nibble)
    const b: v128 = v128.xor(v128.load(at, 16), next1)
    const bLow: v128 = v128.and(b, nibble)
    const bHigh: v128 = v128.and(i16x8.shr_u(b, 4), nibble)
    next0 = v128.xor(next2, image(low2, high2, aLow, aHigh))
    next1 = v128.xor(
      v128.xor(next3, image(low3, high3, aLow, aHigh)),
      image(low2, high2, bLow, bHigh),
    )
    next2 = v128.xor(next4, image(low3, high3, bLow, bHigh))
    next3 = v128.xor(next5, image(low5, high5, aLow, aHigh))
    next4 = v128.xor(next6, image(low5, high5, bLow, bHigh))
    next5 = image(low7, high7, aLow, aHigh)
    next6 = image(low7, high7, bLow, bHigh)
    at = at + 32
  }
  v128.store(scratch, v128.xor(next0, v128.load(at)))
  v128.store(scratch, v128.xor(next1, v128.load(at, 16)), 16)
  v128.store(scratch, v128.xor(next2, v128.load(at, 32)), 32)
  v128.store(scratch, v128.xor(next3, v128.load(at, 48)), 48)
  v128.store(scratch, v128.xor(next4, v128.load(at, 64)), 64)
  v128.store(scratch, v128.xor(next5, v128.load(at, 80)), 80)
  v128.store(scratch, v128.xor(next6, v128.load(at, 96)), 96)
  return at - p + FOLD_STATE_SIZE
}

/** Maps 16 bytes, given as nibbles, by a pair of tables. */
function image(lowTable: v128, highTable: v128, low: v128, high: v128): v128 {
  return v128.xor(i8x16.swizzle(lowTable, low), i8x16.swizzle(highTable, high))
}

// ── Long messages ────────────────────────────────────────────────────────────────────────────────
// The polynomial divides x^(8·290) + x^(8·136) + x^(8·113) + x^(8·107) + x^(8·32) + 1, so a byte may
// also be replaced by itself at five places further on, without any look-up (the way of Russell's
// "Chorba", arXiv 2412.16398). Measured: with nearer places loads wait for the stores before them,
// with farther ones more of a packet is left to the fold.

/** How far a byte goes at most, 290, in whole vectors; one whose fold leaves no byte over. */
const REACH: i32 = 304
const BLOCK: i32 = 8_192
/** Behind the last vector that was moved, so far is read. */
const BEYOND: i32 = 160

/** Shorter ones win nothing. */
export const SPARSE_SIZE_MIN: i32 = 640
/** What `crc32cSparse` leaves in its memory. */
export const SPARSE_REST: i32 = REACH + BLOCK + BEYOND
export const SPARSE_REST_SIZE: i32 = REACH
/** Bytes of memory it works with. */
export const SPARSE_WORK_SIZE: i32 = SPARSE_REST + SPARSE_REST_SIZE

/**
 * Moves all but the last bytes on and answers how many it consumed: fewer than 16 are left. At
 * `work + SPARSE_REST` it leaves SPARSE_REST_SIZE bytes with the CRC of those from state 0.
 */
export function crc32cSparse(state: i32, p: i32, length: i32, work: i32): i32 {
  // At `work` lies what was moved last, behind it the block that is being moved.
  memory.fill(work, 0, REACH)
  const front: i32 = (length - REACH) & -16
  let at: i32 = p
  let left: i32 = front
  let size: i32 = left < BLOCK ? left : BLOCK
  // The state goes into the first four bytes; nothing was moved there.
  v128.store(work, v128.xor(v128.load(at), i32x4.replace_lane(i32x4.splat(0), 0, state)), REACH)
  moveOn(work + 16, work + 16 + REACH, at + 16, size - 16)
  while (left > size) {
    memory.copy(work, work + size, REACH)
    at = at + size
    left = left - size
    size = left < BLOCK ? left : BLOCK
    moveOn(work, work + REACH, at, size)
  }
  // The rest of the message takes all in, and nothing of it is moved.
  const zero: v128 = i32x4.splat(0)
  const end: i32 = work + size + REACH
  for (let i: i32 = 0; i < BEYOND; i = i + 16) v128.store(end + i, zero)
  moveOn(work + size, work + SPARSE_REST, at + size, SPARSE_REST_SIZE)
  return front + REACH
}

/** Vector by vector: adds to the message's what five of those moved before have for it. */
function moveOn(moved: i32, to: i32, from: i32, size: i32): void {
  for (let i: i32 = 0; i < size; i = i + 16) {
    const there: i32 = moved + i
    const a: v128 = v128.xor(v128.load(from + i), v128.load(there, REACH - 290))
    const b: v128 = v128.xor(v128.load(there, REACH - 258), v128.load(there, REACH - 183))
    const c: v128 = v128.xor(v128.load(there, REACH - 177), v128.load(there, REACH - 154))
    v128.store(to + i, v128.xor(v128.xor(a, b), c))
  }
}
