/**
 * The kernels of ChaCha20-Poly1305 for builds with SIMD. Compiled only; never run as TypeScript.
 *
 * ChaCha20: lane k of a vector is a word of block k, so four blocks take the instructions of one.
 * Poly1305: words of 32 bits with products of 64, one block after the other.
 */

/** Writes four blocks of keystream from block `counter` on. */
export function chacha20Four(key: i32, nonce: i32, counter: i32, to: i32): void {
  const sigma0: v128 = i32x4.splat(0x61707865)
  const sigma1: v128 = i32x4.splat(0x3320646e)
  const sigma2: v128 = i32x4.splat(0x79622d32)
  const sigma3: v128 = i32x4.splat(0x6b206574)
  const counters: v128 = i32x4.add(i32x4.splat(counter), i32x4(0, 1, 2, 3))
  let a0: v128 = sigma0
  let a1: v128 = sigma1
  let a2: v128 = sigma2
  let a3: v128 = sigma3
  let b0: v128 = v128.load32_splat(key)
  let b1: v128 = v128.load32_splat(key, 4)
  let b2: v128 = v128.load32_splat(key, 8)
  let b3: v128 = v128.load32_splat(key, 12)
  let c0: v128 = v128.load32_splat(key, 16)
  let c1: v128 = v128.load32_splat(key, 20)
  let c2: v128 = v128.load32_splat(key, 24)
  let c3: v128 = v128.load32_splat(key, 28)
  let d0: v128 = counters
  let d1: v128 = v128.load32_splat(nonce)
  let d2: v128 = v128.load32_splat(nonce, 4)
  let d3: v128 = v128.load32_splat(nonce, 8)
  for (let round: i32 = 0; round < 10; round++) {
    a0 = i32x4.add(a0, b0)
    a1 = i32x4.add(a1, b1)
    a2 = i32x4.add(a2, b2)
    a3 = i32x4.add(a3, b3)
    d0 = rotate16(v128.xor(d0, a0))
    d1 = rotate16(v128.xor(d1, a1))
    d2 = rotate16(v128.xor(d2, a2))
    d3 = rotate16(v128.xor(d3, a3))
    c0 = i32x4.add(c0, d0)
    c1 = i32x4.add(c1, d1)
    c2 = i32x4.add(c2, d2)
    c3 = i32x4.add(c3, d3)
    b0 = rotate12(v128.xor(b0, c0))
    b1 = rotate12(v128.xor(b1, c1))
    b2 = rotate12(v128.xor(b2, c2))
    b3 = rotate12(v128.xor(b3, c3))
    a0 = i32x4.add(a0, b0)
    a1 = i32x4.add(a1, b1)
    a2 = i32x4.add(a2, b2)
    a3 = i32x4.add(a3, b3)
    d0 = rotate8(v128.xor(d0, a0))
    d1 = rotate8(v128.xor(d1, a1))
    d2 = rotate8(v128.xor(d2, a2))
    d3 = rotate8(v128.xor(d3, a3))
    c0 = i32x4.add(c0, d0)
    c1 = i32x4.add(c1, d1)
    c2 = i32x4.add(c2, d2)
    c3 = i32x4.add(c3, d3)
    b0 = rotate7(v128.xor(b0, c0))
    b1 = rotate7(v128.xor(b1, c1))
    b2 = rotate7(v128.xor(b2, c2))
    b3 = rotate7(v128.xor(b3, c3))
    a0 = i32x4.add(a0, b1)
    a1 = i32x4.add(a1, b2)
    a2 = i32x4.add(a2, b3)
    a3 = i32x4.add(a3, b0)
    d3 = rotate16(v128.xor(d3, a0))
    d0 = rotate16(v128.xor(d0, a1))
    d1 = rotate16(v128.xor(d1, a2))
    d2 = rotate16(v128.xor(d2, a3))
    c2 = i32x4.add(c2, d3)
    c3 = i32x4.add(c3, d0)
    c0 = i32x4.add(c0, d1)
    c1 = i32x4.add(c1, d2)
    b1 = rotate12(v128.xor(b1, c2))
    b2 = rotate12(v128.xor(b2, c3))
    b3 = rotate12(v128.xor(b3, c0))
    b0 = rotate12(v128.xor(b0, c1))
    a0 = i32x4.add(a0, b1)
    a1 = i32x4.add(a1, b2)
    a2 = i32x4.add(a2, b3)
    a3 = i32x4.add(a3, b0)
    d3 = rotate8(v128.xor(d3, a0))
    d0 = rotate8(v128.xor(d0, a1))
    d1 = rotate8(v128.xor(d1, a2))
    d2 = rotate8(v128.xor(d2, a3))
    c2 = i32x4.add(c2, d3)
    c3 = i32x4.add(c3, d0)
    c0 = i32x4.add(c0, d1)
    c1 = i32x4.add(c1, d2)
    b1 = rotate7(v128.xor(b1, c2))
    b2 = rotate7(v128.xor(b2, c3))
    b3 = rotate7(v128.xor(b3, c0))
    b0 = rotate7(v128.xor(b0, c1))
  }
  storeWords(
    to,
    i32x4.add(a0, sigma0),
    i32x4.add(a1, sigma1),
    i32x4.add(a2, sigma2),
    i32x4.add(a3, sigma3),
  )
  storeWords(
    to + 16,
    i32x4.add(b0, v128.load32_splat(key)),
    i32x4.add(b1, v128.load32_splat(key, 4)),
    i32x4.add(b2, v128.load32_splat(key, 8)),
    i32x4.add(b3, v128.load32_splat(key, 12)),
  )
  storeWords(
    to + 32,
    i32x4.add(c0, v128.load32_splat(key, 16)),
    i32x4.add(c1, v128.load32_splat(key, 20)),
    i32x4.add(c2, v128.load32_splat(key, 24)),
    i32x4.add(c3, v128.load32_splat(key, 28)),
  )
  storeWords(
    to + 48,
    i32x4.add(d0, counters),
    i32x4.add(d1, v128.load32_splat(nonce)),
    i32x4.add(d2, v128.load32_splat(nonce, 4)),
    i32x4.add(d3, v128.load32_splat(nonce, 8)),
  )
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

/** Stores four words of each of the four blocks: a transposition. */
function storeWords(to: i32, x0: v128, x1: v128, x2: v128, x3: v128): void {
  const low01: v128 = i32x4.shuffle(x0, x1, 0, 4, 1, 5)
  const low23: v128 = i32x4.shuffle(x2, x3, 0, 4, 1, 5)
  const high01: v128 = i32x4.shuffle(x0, x1, 2, 6, 3, 7)
  const high23: v128 = i32x4.shuffle(x2, x3, 2, 6, 3, 7)
  v128.store(to, i64x2.shuffle(low01, low23, 0, 2))
  v128.store(to, i64x2.shuffle(low01, low23, 1, 3), 64)
  v128.store(to, i64x2.shuffle(high01, high23, 0, 2), 128)
  v128.store(to, i64x2.shuffle(high01, high23, 1, 3), 192)
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
 * four of `r`. Clamping leaves 28 bits in each word of r and makes all but the first a multiple of
 * 4, so that s = r · 5 / 4 is whole: what lies above 2^128 of a product comes back as that. The sums
 * h + block are not carried: below 2^33.5 for the first word and 2^33 for the others, a sum of
 * products stays below 5.2 · 2^61.
 */
export function polyBlocksWide(h: i32, r: i32, p: i32, count: i32, high: i32): void {
  const mask: u64 = 0xffffffff
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
    const d0: u64 = h1 * s3 + h2 * s2 + h3 * s1 + h0 * r0
    let d1: u64 = h1 * r0 + h2 * s3 + h3 * s2 + h4 * s1 + h0 * r1
    let d2: u64 = h1 * r1 + h2 * r0 + h3 * s3 + h4 * s2 + h0 * r2
    let d3: u64 = h1 * r2 + h2 * r1 + h3 * r0 + h4 * s3 + h0 * r3
    h4 = h4 * r0
    d1 = d1 + (d0 >> 32)
    d2 = d2 + (d1 >> 32)
    d3 = d3 + (d2 >> 32)
    h4 = h4 + (d3 >> 32)
    // 2^130 is 5. The carry of h0 waits for the next block.
    h0 = (d0 & mask) + (h4 >> 2) + (h4 & ~3)
    h1 = d1 & mask
    h2 = d2 & mask
    h3 = d3 & mask
    h4 = h4 & 3
  }
  h1 = h1 + (h0 >> 32)
  h2 = h2 + (h1 >> 32)
  h3 = h3 + (h2 >> 32)
  h4 = h4 + (h3 >> 32)
  i64.store32(h, h0)
  i64.store32(h, h1, 4)
  i64.store32(h, h2, 8)
  i64.store32(h, h3, 12)
  i64.store32(h, h4, 16)
}
