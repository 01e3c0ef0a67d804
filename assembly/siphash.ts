/**
 * SipHash-2-4 with 64 bits of result: the MAC of cookies and reset tokens. Shared source.
 *
 * Aumasson, Bernstein: "SipHash: a fast short-input PRF" (2012). It is made for inputs of a few
 * words and a key nobody knows, and costs strangers less of our time than any hash function would.
 */
import { type ptr, r8, r32, w32 } from './prelude'

export const SIPHASH_KEY_SIZE: i32 = 16
export const SIPHASH_SIZE: i32 = 8

/** Writes the hash of `size` bytes, SIPHASH_SIZE bytes, to `out`. */
export function sipHash(key: ptr, data: ptr, size: i32, out: ptr): void {
  // Numbers of 64 bits in two halves each. The constants spell "somepseudorandomlygeneratedbytes".
  let low0: i32 = r32(key) ^ 0x70736575
  let high0: i32 = r32(key + 4) ^ 0x736f6d65
  let low1: i32 = r32(key + 8) ^ 0x6e646f6d
  let high1: i32 = r32(key + 12) ^ 0x646f7261
  let low2: i32 = r32(key) ^ 0x6e657261
  let high2: i32 = r32(key + 4) ^ 0x6c796765
  let low3: i32 = r32(key + 8) ^ 0x79746573
  let high3: i32 = r32(key + 12) ^ 0x74656462
  // Whole words, then one with what is left and the size, then the end with twice the rounds.
  const words: i32 = size >> 3
  for (let index: i32 = 0; index <= words + 1; index++) {
    const at: ptr = data + (index << 3)
    let low: i32 = 0
    let high: i32 = 0
    if (index < words) {
      low = r32(at)
      high = r32(at + 4)
    } else if (index === words) {
      low = tail(at, size & 7)
      high = tail(at + 4, (size & 7) - 4) | (size << 24)
    } else {
      low2 = low2 ^ 0xff
    }
    low3 = low3 ^ low
    high3 = high3 ^ high
    for (let round: i32 = index <= words ? 2 : 4; round > 0; round--) {
      let sum: i32 = (low0 + low1) | 0
      high0 = (high0 + high1 + carry(low0, low1, sum)) | 0
      low0 = sum
      sum = (low2 + low3) | 0
      high2 = (high2 + high3 + carry(low2, low3, sum)) | 0
      low2 = sum
      let turned: i32 = turn(low1, high1, 13)
      high1 = turn(high1, low1, 13) ^ high0
      low1 = turned ^ low0
      turned = turn(low3, high3, 16)
      high3 = turn(high3, low3, 16) ^ high2
      low3 = turned ^ low2
      // A turn by 32 swaps the halves.
      turned = low0
      low0 = high0
      high0 = turned

      sum = (low2 + low1) | 0
      high2 = (high2 + high1 + carry(low2, low1, sum)) | 0
      low2 = sum
      sum = (low0 + low3) | 0
      high0 = (high0 + high3 + carry(low0, low3, sum)) | 0
      low0 = sum
      turned = turn(low1, high1, 17)
      high1 = turn(high1, low1, 17) ^ high2
      low1 = turned ^ low2
      turned = turn(low3, high3, 21)
      high3 = turn(high3, low3, 21) ^ high0
      low3 = turned ^ low0
      turned = low2
      low2 = high2
      high2 = turned
    }
    low0 = low0 ^ low
    high0 = high0 ^ high
  }
  w32(out, low0 ^ low1 ^ low2 ^ low3)
  w32(out + 4, high0 ^ high1 ^ high2 ^ high3)
}

/** One half of a 64-bit number turned left: its own bits and those that come from the other. */
function turn(half: i32, other: i32, by: i32): i32 {
  return (half << by) | (other >>> (32 - by))
}

/** The carry of an addition of words: 0 or 1. */
function carry(a: i32, b: i32, sum: i32): i32 {
  return ((a & b) | ((a | b) & ~sum)) >>> 31
}

/** Reads up to 4 bytes as a little-endian word; none when `count` is not positive. */
function tail(p: ptr, count: i32): i32 {
  let word: i32 = 0
  for (let index: i32 = 0; index < 4 && index < count; index++) {
    word = word | (r8(p + index) << (index << 3))
  }
  return word
}
