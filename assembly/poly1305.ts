/**
 * The Poly1305 authenticator of RFC 8439. Shared source; builds with SIMD absorb blocks with a
 * kernel of their own (`simd/chacha-poly1305.ts`).
 *
 * The state lies in memory as whole words, so that both ways to absorb share the rest.
 */
import { copy, fill, type ptr, r32, w8, w32 } from './prelude'
import { absorb } from './simd/chacha-poly1305'

/** The accumulator: five words, the last one holds what is above 128 bits. */
export const POLY_H: i32 = 0
/** The clamped multiplier, four words. */
export const POLY_R: i32 = 32
/** What is added in the end, four words. */
const POLY_S: i32 = 48
/** Room for a block that is not whole. */
const POLY_BLOCK: i32 = 64
export const POLY_STATE_SIZE: i32 = 80

const BLOCK_SIZE: i32 = 16
const TWO_22: f64 = 4194304.0
const PART_22: f64 = 1.0 / 4194304.0
const MASK_22: i32 = 0x3fffff

/** Starts with a one-time key of 32 bytes. */
export function polyStart(state: ptr, key: ptr): void {
  fill(state, POLY_R)
  // RFC 8439 §2.5: r is clamped.
  w32(state + POLY_R, r32(key) & 0x0fffffff)
  w32(state + POLY_R + 4, r32(key + 4) & 0x0ffffffc)
  w32(state + POLY_R + 8, r32(key + 8) & 0x0ffffffc)
  w32(state + POLY_R + 12, r32(key + 12) & 0x0ffffffc)
  copy(state + POLY_S, key + 16, 16)
}

/** RFC 8439 §2.5: the tag of a message that stands for itself. */
export function poly1305(state: ptr, key: ptr, p: ptr, size: i32, tag: ptr): void {
  polyStart(state, key)
  const whole: i32 = size & ~15
  polyBlocks(state, p, whole >> 4, 1)
  if (whole !== size) {
    fill(state + POLY_BLOCK, BLOCK_SIZE)
    copy(state + POLY_BLOCK, p + whole, size - whole)
    w8(state + POLY_BLOCK + (size - whole), 1)
    polyBlocks(state, state + POLY_BLOCK, 1, 0)
  }
  polyFinish(state, tag)
}

/** Absorbs bytes and, after them, zeros up to a multiple of 16 (RFC 8439 §2.8: pad16). */
export function polyPadded(state: ptr, p: ptr, size: i32): void {
  const whole: i32 = size & ~15
  polyBlocks(state, p, whole >> 4, 1)
  if (whole === size) return
  fill(state + POLY_BLOCK, BLOCK_SIZE)
  copy(state + POLY_BLOCK, p + whole, size - whole)
  polyBlocks(state, state + POLY_BLOCK, 1, 1)
}

/** Absorbs whole blocks. `high` is the bit put above each: 1, or 0 when the block has its own. */
function polyBlocks(state: ptr, p: ptr, count: i32, high: i32): void {
  if (ASC_FEATURE_SIMD) {
    absorb(state + POLY_H, state + POLY_R, p, count, high)
  } else {
    blocks(state, p, count, high)
  }
}

/**
 * h = (h + block) · r mod 2^130 − 5, block after block, in six limbs of 22 bits.
 *
 * An f64 holds integers up to 2^53: a sum of six products of a 23-bit limb, a 22-bit limb and the
 * factor 20 stays below 2^52. That factor takes what is above 132 bits down: 2^132 = 4 · 2^130 and
 * 2^130 is 5 here.
 */
function blocks(state: ptr, p: ptr, count: i32, high: i32): void {
  const h: ptr = state + POLY_H
  const r: ptr = state + POLY_R
  const r0: f64 = limb0(r32(r))
  const r1: f64 = limb1(r32(r), r32(r + 4))
  const r2: f64 = limb2(r32(r + 4), r32(r + 8))
  const r3: f64 = limb3(r32(r + 8))
  const r4: f64 = limb4(r32(r + 8), r32(r + 12))
  const r5: f64 = limb5(r32(r + 12), 0)
  const s1: f64 = r1 * 20.0
  const s2: f64 = r2 * 20.0
  const s3: f64 = r3 * 20.0
  const s4: f64 = r4 * 20.0
  const s5: f64 = r5 * 20.0
  let h0: f64 = limb0(r32(h))
  let h1: f64 = limb1(r32(h), r32(h + 4))
  let h2: f64 = limb2(r32(h + 4), r32(h + 8))
  let h3: f64 = limb3(r32(h + 8))
  let h4: f64 = limb4(r32(h + 8), r32(h + 12))
  let h5: f64 = limb5(r32(h + 12), r32(h + 16))
  for (let index: i32 = 0; index < count; index++) {
    const word0: i32 = r32(p + index * BLOCK_SIZE)
    const word1: i32 = r32(p + index * BLOCK_SIZE + 4)
    const word2: i32 = r32(p + index * BLOCK_SIZE + 8)
    const word3: i32 = r32(p + index * BLOCK_SIZE + 12)
    h0 = h0 + limb0(word0)
    h1 = h1 + limb1(word0, word1)
    h2 = h2 + limb2(word1, word2)
    h3 = h3 + limb3(word2)
    h4 = h4 + limb4(word2, word3)
    h5 = h5 + limb5(word3, high)
    const d0: f64 = h0 * r0 + h1 * s5 + h2 * s4 + h3 * s3 + h4 * s2 + h5 * s1
    let d1: f64 = h0 * r1 + h1 * r0 + h2 * s5 + h3 * s4 + h4 * s3 + h5 * s2
    let d2: f64 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * s5 + h4 * s4 + h5 * s3
    let d3: f64 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * s5 + h5 * s4
    let d4: f64 = h0 * r4 + h1 * r3 + h2 * r2 + h3 * r1 + h4 * r0 + h5 * s5
    let d5: f64 = h0 * r5 + h1 * r4 + h2 * r3 + h3 * r2 + h4 * r1 + h5 * r0
    d1 = d1 + above22(d0)
    d2 = d2 + above22(d1)
    d3 = d3 + above22(d2)
    d4 = d4 + above22(d3)
    d5 = d5 + above22(d4)
    h0 = below22(d0) + above22(d5) * 20.0
    h1 = below22(d1) + above22(h0)
    h0 = below22(h0)
    h2 = below22(d2)
    h3 = below22(d3)
    h4 = below22(d4)
    h5 = below22(d5)
  }
  // h1 may be a little above its 22 bits; in words all limbs must be exact.
  h2 = h2 + above22(h1)
  h1 = below22(h1)
  h3 = h3 + above22(h2)
  h2 = below22(h2)
  h4 = h4 + above22(h3)
  h3 = below22(h3)
  h5 = h5 + above22(h4)
  h4 = below22(h4)
  const top: i32 = i32(h5)
  w32(h, i32(h0) | (i32(h1) << 22))
  w32(h + 4, (i32(h1) >>> 10) | (i32(h2) << 12))
  w32(h + 8, (i32(h2) >>> 20) | (i32(h3) << 2) | (i32(h4) << 24))
  w32(h + 12, (i32(h4) >>> 8) | (top << 14))
  w32(h + 16, top >>> 18)
}

function above22(value: f64): f64 {
  return Math.floor(value * PART_22)
}
function below22(value: f64): f64 {
  return value - Math.floor(value * PART_22) * TWO_22
}
/** Limbs of a number given in words: bits 0 … 21, 22 … 43 and so on. */
function limb0(word0: i32): f64 {
  return f64(word0 & MASK_22)
}
function limb1(word0: i32, word1: i32): f64 {
  return f64(((word0 >>> 22) | (word1 << 10)) & MASK_22)
}
function limb2(word1: i32, word2: i32): f64 {
  return f64(((word1 >>> 12) | (word2 << 20)) & MASK_22)
}
function limb3(word2: i32): f64 {
  return f64((word2 >>> 2) & MASK_22)
}
function limb4(word2: i32, word3: i32): f64 {
  return f64(((word2 >>> 24) | (word3 << 8)) & MASK_22)
}
function limb5(word3: i32, word4: i32): f64 {
  return f64((word3 >>> 14) | (word4 << 18))
}

/** Writes the tag, 16 bytes. Takes the same time whatever the numbers are. */
export function polyFinish(state: ptr, tag: ptr): void {
  const h: ptr = state + POLY_H
  const excess: i32 = r32(h + 16) >>> 2
  w32(h + 16, r32(h + 16) & 3)
  // 2^130 is 5.
  addSmall(h, excess + (excess << 2))
  // h ≥ 2^130 − 5 exactly when h + 5 has bit 130; then h + 5 − 2^130 is the answer.
  const carry: i32 = carryOfSmall(h, 5)
  const isReduced: i32 = -((r32(h + 16) + carry) >>> 2)
  addSmall(h, isReduced & 5)
  let over: i32 = 0
  for (let at: i32 = 0; at < 16; at = at + 4) {
    const a: i32 = r32(h + at)
    const b: i32 = r32(state + POLY_S + at)
    const partial: i32 = (a + b) | 0
    const sum: i32 = (partial + over) | 0
    over = carryOf(a, b, partial) + carryOf(partial, over, sum)
    w32(tag + at, sum)
  }
}

/** The carry of an addition of words: 0 or 1, without a branch. */
function carryOf(a: i32, b: i32, sum: i32): i32 {
  return ((a & b) | ((a | b) & ~sum)) >>> 31
}

/** Adds a small number to the five words. */
function addSmall(h: ptr, value: i32): void {
  let add: i32 = value
  for (let at: i32 = 0; at < 20; at = at + 4) {
    const a: i32 = r32(h + at)
    const sum: i32 = (a + add) | 0
    add = carryOf(a, add, sum)
    w32(h + at, sum)
  }
}

/** What adding a small number to the first four words would carry into the fifth. */
function carryOfSmall(h: ptr, value: i32): i32 {
  let add: i32 = value
  for (let at: i32 = 0; at < 16; at = at + 4) {
    const a: i32 = r32(h + at)
    add = carryOf(a, add, (a + add) | 0)
  }
  return add
}
