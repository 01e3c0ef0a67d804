/**
 * The ChaCha20 stream cipher of RFC 8439. Shared source; builds with SIMD compute three blocks
 * at once (`simd/chacha-poly1305.ts`).
 */
import { type ptr, r8, r32, w8, w32 } from './prelude'
import { STREAM_BLOCKS, streamAndAbsorb, xorVectors } from './simd/chacha-poly1305'

export const CHACHA_KEY_SIZE: i32 = 32
export const CHACHA_NONCE_SIZE: i32 = 12
export const CHACHA_BLOCK_SIZE: i32 = 64
/** Blocks that one call gives at most; builds with SIMD always write them all. */
export const CHACHA_BLOCKS_MAX: i32 = STREAM_BLOCKS

/** RFC 8439 §2.3: "expand 32-byte k", read as four little-endian words. */
const SIGMA_0: i32 = 0x61707865
const SIGMA_1: i32 = 0x3320646e
const SIGMA_2: i32 = 0x79622d32
const SIGMA_3: i32 = 0x6b206574

/** Writes `count` blocks of keystream from block `counter` on; room is needed for CHACHA_BLOCKS_MAX. */
export function chacha20(key: ptr, nonce: ptr, counter: i32, count: i32, to: ptr): void {
  if (ASC_FEATURE_SIMD) {
    streamAndAbsorb(key, nonce, counter, to, to, key, to, 0)
    return
  }
  for (let index: i32 = 0; index < count; index++) {
    block(key, nonce, counter + index, to + index * CHACHA_BLOCK_SIZE)
  }
}

/** XORs `size` bytes of keystream into the bytes at `p`. */
export function xorInto(p: ptr, keystream: ptr, size: i32): void {
  let done: i32 = 0
  if (ASC_FEATURE_SIMD) {
    done = xorVectors(p, keystream, size)
  }
  while (done + 4 <= size) {
    w32(p + done, r32(p + done) ^ r32(keystream + done))
    done = done + 4
  }
  while (done < size) {
    w8(p + done, r8(p + done) ^ r8(keystream + done))
    done = done + 1
  }
}

/** RFC 8439 §2.3: one block. The state is kept in locals, sixteen words named by their place. */
function block(key: ptr, nonce: ptr, counter: i32, to: ptr): void {
  let a0: i32 = SIGMA_0
  let a1: i32 = SIGMA_1
  let a2: i32 = SIGMA_2
  let a3: i32 = SIGMA_3
  let b0: i32 = r32(key)
  let b1: i32 = r32(key + 4)
  let b2: i32 = r32(key + 8)
  let b3: i32 = r32(key + 12)
  let c0: i32 = r32(key + 16)
  let c1: i32 = r32(key + 20)
  let c2: i32 = r32(key + 24)
  let c3: i32 = r32(key + 28)
  let d0: i32 = counter
  let d1: i32 = r32(nonce)
  let d2: i32 = r32(nonce + 4)
  let d3: i32 = r32(nonce + 8)
  for (let round: i32 = 0; round < 10; round++) {
    // Columns.
    a0 = (a0 + b0) | 0
    d0 = rotate(d0 ^ a0, 16)
    c0 = (c0 + d0) | 0
    b0 = rotate(b0 ^ c0, 12)
    a0 = (a0 + b0) | 0
    d0 = rotate(d0 ^ a0, 8)
    c0 = (c0 + d0) | 0
    b0 = rotate(b0 ^ c0, 7)
    a1 = (a1 + b1) | 0
    d1 = rotate(d1 ^ a1, 16)
    c1 = (c1 + d1) | 0
    b1 = rotate(b1 ^ c1, 12)
    a1 = (a1 + b1) | 0
    d1 = rotate(d1 ^ a1, 8)
    c1 = (c1 + d1) | 0
    b1 = rotate(b1 ^ c1, 7)
    a2 = (a2 + b2) | 0
    d2 = rotate(d2 ^ a2, 16)
    c2 = (c2 + d2) | 0
    b2 = rotate(b2 ^ c2, 12)
    a2 = (a2 + b2) | 0
    d2 = rotate(d2 ^ a2, 8)
    c2 = (c2 + d2) | 0
    b2 = rotate(b2 ^ c2, 7)
    a3 = (a3 + b3) | 0
    d3 = rotate(d3 ^ a3, 16)
    c3 = (c3 + d3) | 0
    b3 = rotate(b3 ^ c3, 12)
    a3 = (a3 + b3) | 0
    d3 = rotate(d3 ^ a3, 8)
    c3 = (c3 + d3) | 0
    b3 = rotate(b3 ^ c3, 7)
    // Diagonals.
    a0 = (a0 + b1) | 0
    d3 = rotate(d3 ^ a0, 16)
    c2 = (c2 + d3) | 0
    b1 = rotate(b1 ^ c2, 12)
    a0 = (a0 + b1) | 0
    d3 = rotate(d3 ^ a0, 8)
    c2 = (c2 + d3) | 0
    b1 = rotate(b1 ^ c2, 7)
    a1 = (a1 + b2) | 0
    d0 = rotate(d0 ^ a1, 16)
    c3 = (c3 + d0) | 0
    b2 = rotate(b2 ^ c3, 12)
    a1 = (a1 + b2) | 0
    d0 = rotate(d0 ^ a1, 8)
    c3 = (c3 + d0) | 0
    b2 = rotate(b2 ^ c3, 7)
    a2 = (a2 + b3) | 0
    d1 = rotate(d1 ^ a2, 16)
    c0 = (c0 + d1) | 0
    b3 = rotate(b3 ^ c0, 12)
    a2 = (a2 + b3) | 0
    d1 = rotate(d1 ^ a2, 8)
    c0 = (c0 + d1) | 0
    b3 = rotate(b3 ^ c0, 7)
    a3 = (a3 + b0) | 0
    d2 = rotate(d2 ^ a3, 16)
    c1 = (c1 + d2) | 0
    b0 = rotate(b0 ^ c1, 12)
    a3 = (a3 + b0) | 0
    d2 = rotate(d2 ^ a3, 8)
    c1 = (c1 + d2) | 0
    b0 = rotate(b0 ^ c1, 7)
  }
  w32(to, (a0 + SIGMA_0) | 0)
  w32(to + 4, (a1 + SIGMA_1) | 0)
  w32(to + 8, (a2 + SIGMA_2) | 0)
  w32(to + 12, (a3 + SIGMA_3) | 0)
  w32(to + 16, (b0 + r32(key)) | 0)
  w32(to + 20, (b1 + r32(key + 4)) | 0)
  w32(to + 24, (b2 + r32(key + 8)) | 0)
  w32(to + 28, (b3 + r32(key + 12)) | 0)
  w32(to + 32, (c0 + r32(key + 16)) | 0)
  w32(to + 36, (c1 + r32(key + 20)) | 0)
  w32(to + 40, (c2 + r32(key + 24)) | 0)
  w32(to + 44, (c3 + r32(key + 28)) | 0)
  w32(to + 48, (d0 + counter) | 0)
  w32(to + 52, (d1 + r32(nonce)) | 0)
  w32(to + 56, (d2 + r32(nonce + 4)) | 0)
  w32(to + 60, (d3 + r32(nonce + 8)) | 0)
}

function rotate(word: i32, by: i32): i32 {
  return (word << by) | (word >>> (32 - by))
}
