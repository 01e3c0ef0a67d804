/**
 * The kernels of ChaCha20-Poly1305 for builds with SIMD. Compiled only; never run as TypeScript.
 *
 * ChaCha20: a vector is a row of a block's state, and three blocks are computed at a time: twelve
 * vectors and what is needed beside them just fit the registers of x86-64. Every step waits for the
 * one before, which leaves the processor time; so the same loop absorbs ciphertext with the scalar
 * unit, and authenticating costs next to nothing.
 */

/** Blocks of keystream that one call gives. */
export const STREAM_BLOCKS: i32 = 3
/** Blocks that one call can absorb meanwhile: one in each double round. */
export const ABSORB_MAX: i32 = 10

const ROUNDS: i32 = 10
const MASK_32: u64 = 0xffffffff

/**
 * Writes three blocks of keystream from block `counter` on, and absorbs `count` blocks at `p`, up to
 * ABSORB_MAX: see `absorb`. With a count of 0, `h` and `r` may be any place that can be read.
 */
export function streamAndAbsorb(
  key: i32,
  nonce: i32,
  counter: i32,
  to: i32,
  h: i32,
  r: i32,
  p: i32,
  count: i32,
): void {
  const end: i32 = p + (count << 4)
  let at: i32 = p
  const r0: u64 = i64.load32_u(r)
  const r1: u64 = i64.load32_u(r, 4)
  const r2: u64 = i64.load32_u(r, 8)
  const r3: u64 = i64.load32_u(r, 12)
  const s1: u64 = r1 + (r1 >> 2)
  const s2: u64 = r2 + (r2 >> 2)
  const s3: u64 = r3 + (r3 >> 2)
  let h0: u64 = i64.load32_u(h)
  let h1: u64 = i64.load32_u(h, 4)
  let h2: u64 = i64.load32_u(h, 8)
  let h3: u64 = i64.load32_u(h, 12)
  let h4: u64 = i64.load32_u(h, 16)
  // RFC 8439 §2.3: "expand 32-byte k", the key, then counter and nonce.
  const sigma: v128 = i32x4(0x61707865, 0x3320646e, 0x79622d32, 0x6b206574)
  const low: v128 = v128.load(key)
  const high: v128 = v128.load(key, 16)
  const row0: v128 = counterRow(nonce, counter)
  const row1: v128 = counterRow(nonce, counter + 1)
  const row2: v128 = counterRow(nonce, counter + 2)
  let a0: v128 = sigma
  let b0: v128 = low
  let c0: v128 = high
  let d0: v128 = row0
  let a1: v128 = sigma
  let b1: v128 = low
  let c1: v128 = high
  let d1: v128 = row1
  let a2: v128 = sigma
  let b2: v128 = low
  let c2: v128 = high
  let d2: v128 = row2
  for (let round: i32 = 0; round < ROUNDS; round++) {
    if (at < end) {
      h0 = h0 + i64.load32_u(at)
      h1 = h1 + i64.load32_u(at, 4)
      h2 = h2 + i64.load32_u(at, 8)
      h3 = h3 + i64.load32_u(at, 12)
      h4 = h4 + 1
      const t0: u64 = h1 * s3 + h2 * s2 + h3 * s1 + h0 * r0
      const t1: u64 = h1 * r0 + h2 * s3 + h3 * s2 + h4 * s1 + h0 * r1 + (t0 >> 32)
      const t2: u64 = h1 * r1 + h2 * r0 + h3 * s3 + h4 * s2 + h0 * r2 + (t1 >> 32)
      const t3: u64 = h1 * r2 + h2 * r1 + h3 * r0 + h4 * s3 + h0 * r3 + (t2 >> 32)
      h4 = h4 * r0 + (t3 >> 32)
      h0 = (t0 & MASK_32) + (h4 >> 2) + (h4 & ~3)
      h1 = t1 & MASK_32
      h2 = t2 & MASK_32
      h3 = t3 & MASK_32
      h4 = h4 & 3
      at = at + 16
    }
    a0 = i32x4.add(a0, b0)
    a1 = i32x4.add(a1, b1)
    a2 = i32x4.add(a2, b2)
    d0 = rotate16(v128.xor(d0, a0))
    d1 = rotate16(v128.xor(d1, a1))
    d2 = rotate16(v128.xor(d2, a2))
    c0 = i32x4.add(c0, d0)
    c1 = i32x4.add(c1, d1)
    c2 = i32x4.add(c2, d2)
    b0 = rotate12(v128.xor(b0, c0))
    b1 = rotate12(v128.xor(b1, c1))
    b2 = rotate12(v128.xor(b2, c2))
    a0 = i32x4.add(a0, b0)
    a1 = i32x4.add(a1, b1)
    a2 = i32x4.add(a2, b2)
    d0 = rotate8(v128.xor(d0, a0))
    d1 = rotate8(v128.xor(d1, a1))
    d2 = rotate8(v128.xor(d2, a2))
    c0 = i32x4.add(c0, d0)
    c1 = i32x4.add(c1, d1)
    c2 = i32x4.add(c2, d2)
    b0 = rotate7(v128.xor(b0, c0))
    b1 = rotate7(v128.xor(b1, c1))
    b2 = rotate7(v128.xor(b2, c2))
    // Diagonals become columns.
    b0 = left1(b0)
    b1 = left1(b1)
    b2 = left1(b2)
    c0 = left2(c0)
    c1 = left2(c1)
    c2 = left2(c2)
    d0 = left3(d0)
    d1 = left3(d1)
    d2 = left3(d2)
    a0 = i32x4.add(a0, b0)
    a1 = i32x4.add(a1, b1)
    a2 = i32x4.add(a2, b2)
    d0 = rotate16(v128.xor(d0, a0))
    d1 = rotate16(v128.xor(d1, a1))
    d2 = rotate16(v128.xor(d2, a2))
    c0 = i32x4.add(c0, d0)
    c1 = i32x4.add(c1, d1)
    c2 = i32x4.add(c2, d2)
    b0 = rotate12(v128.xor(b0, c0))
    b1 = rotate12(v128.xor(b1, c1))
    b2 = rotate12(v128.xor(b2, c2))
    a0 = i32x4.add(a0, b0)
    a1 = i32x4.add(a1, b1)
    a2 = i32x4.add(a2, b2)
    d0 = rotate8(v128.xor(d0, a0))
    d1 = rotate8(v128.xor(d1, a1))
    d2 = rotate8(v128.xor(d2, a2))
    c0 = i32x4.add(c0, d0)
    c1 = i32x4.add(c1, d1)
    c2 = i32x4.add(c2, d2)
    b0 = rotate7(v128.xor(b0, c0))
    b1 = rotate7(v128.xor(b1, c1))
    b2 = rotate7(v128.xor(b2, c2))
    b0 = left3(b0)
    b1 = left3(b1)
    b2 = left3(b2)
    c0 = left2(c0)
    c1 = left2(c1)
    c2 = left2(c2)
    d0 = left1(d0)
    d1 = left1(d1)
    d2 = left1(d2)
  }
  v128.store(to, i32x4.add(a0, sigma))
  v128.store(to, i32x4.add(b0, low), 16)
  v128.store(to, i32x4.add(c0, high), 32)
  v128.store(to, i32x4.add(d0, row0), 48)
  v128.store(to, i32x4.add(a1, sigma), 64)
  v128.store(to, i32x4.add(b1, low), 80)
  v128.store(to, i32x4.add(c1, high), 96)
  v128.store(to, i32x4.add(d1, row1), 112)
  v128.store(to, i32x4.add(a2, sigma), 128)
  v128.store(to, i32x4.add(b2, low), 144)
  v128.store(to, i32x4.add(c2, high), 160)
  v128.store(to, i32x4.add(d2, row2), 176)
  if (count === 0) return
  h1 = h1 + (h0 >> 32)
  h2 = h2 + (h1 >> 32)
  h3 = h3 + (h2 >> 32)
  i64.store32(h, h0)
  i64.store32(h, h1, 4)
  i64.store32(h, h2, 8)
  i64.store32(h, h3, 12)
  i64.store32(h, h4 + (h3 >> 32), 16)
}

function counterRow(nonce: i32, counter: i32): v128 {
  let row: v128 = i32x4.splat(counter)
  row = i32x4.replace_lane(row, 1, i32.load(nonce))
  row = i32x4.replace_lane(row, 2, i32.load(nonce, 4))
  return i32x4.replace_lane(row, 3, i32.load(nonce, 8))
}
function rotate16(x: v128): v128 {
  return i8x16.swizzle(x, i8x16(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13))
}
function rotate12(x: v128): v128 {
  return v128.or(i32x4.shl(x, 12), i32x4.shr_u(x, 20))
}
function rotate8(x: v128): v128 {
  return i8x16.swizzle(x, i8x16(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14))
}
function rotate7(x: v128): v128 {
  return v128.or(i32x4.shl(x, 7), i32x4.shr_u(x, 25))
}
/** Turn a row by so many words. */
function left1(x: v128): v128 {
  return i32x4.shuffle(x, x, 1, 2, 3, 0)
}
function left2(x: v128): v128 {
  return i32x4.shuffle(x, x, 2, 3, 0, 1)
}
function left3(x: v128): v128 {
  return i32x4.shuffle(x, x, 3, 0, 1, 2)
}

/** XORs all whole vectors of keystream into the bytes at `p` and answers how many bytes it did. */
export function xorVectors(p: i32, keystream: i32, size: i32): i32 {
  const whole: i32 = size & ~15
  for (let at: i32 = 0; at < whole; at = at + 16) {
    v128.store(p + at, v128.xor(v128.load(p + at), v128.load(keystream + at)))
  }
  return whole
}

/**
 * Absorbs whole blocks: h = (h + block) · r mod 2^130 − 5, in words of 32 bits, five of `h` and
 * four of `r`. `high` is the bit put above each block.
 *
 * Clamping leaves 28 bits in each word of r and makes all but the first a multiple of 4, so that
 * s = r · 5 / 4 is whole: what lies above 2^128 of a product comes back as that, since 2^130 is 5.
 * The sums h + block are not carried: below 2^33.5 for the first word and 2^33 for the others, a sum
 * of products stays below 5.2 · 2^61.
 */
export function absorb(h: i32, r: i32, p: i32, count: i32, high: i32): void {
  const top: u64 = high
  const r0: u64 = i64.load32_u(r)
  const r1: u64 = i64.load32_u(r, 4)
  const r2: u64 = i64.load32_u(r, 8)
  const r3: u64 = i64.load32_u(r, 12)
  const s1: u64 = r1 + (r1 >> 2)
  const s2: u64 = r2 + (r2 >> 2)
  const s3: u64 = r3 + (r3 >> 2)
  let h0: u64 = i64.load32_u(h)
  let h1: u64 = i64.load32_u(h, 4)
  let h2: u64 = i64.load32_u(h, 8)
  let h3: u64 = i64.load32_u(h, 12)
  let h4: u64 = i64.load32_u(h, 16)
  const end: i32 = p + (count << 4)
  for (let at: i32 = p; at < end; at = at + 16) {
    h0 = h0 + i64.load32_u(at)
    h1 = h1 + i64.load32_u(at, 4)
    h2 = h2 + i64.load32_u(at, 8)
    h3 = h3 + i64.load32_u(at, 12)
    h4 = h4 + top
    const t0: u64 = h1 * s3 + h2 * s2 + h3 * s1 + h0 * r0
    const t1: u64 = h1 * r0 + h2 * s3 + h3 * s2 + h4 * s1 + h0 * r1 + (t0 >> 32)
    const t2: u64 = h1 * r1 + h2 * r0 + h3 * s3 + h4 * s2 + h0 * r2 + (t1 >> 32)
    const t3: u64 = h1 * r2 + h2 * r1 + h3 * r0 + h4 * s3 + h0 * r3 + (t2 >> 32)
    h4 = h4 * r0 + (t3 >> 32)
    h0 = (t0 & MASK_32) + (h4 >> 2) + (h4 & ~3)
    h1 = t1 & MASK_32
    h2 = t2 & MASK_32
    h3 = t3 & MASK_32
    h4 = h4 & 3
  }
  h1 = h1 + (h0 >> 32)
  h2 = h2 + (h1 >> 32)
  h3 = h3 + (h2 >> 32)
  i64.store32(h, h0)
  i64.store32(h, h1, 4)
  i64.store32(h, h2, 8)
  i64.store32(h, h3, 12)
  i64.store32(h, h4 + (h3 >> 32), 16)
}
