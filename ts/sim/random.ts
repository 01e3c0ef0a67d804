import type { Random } from '../machine.ts'

const TWO_POW_32 = 4_294_967_296

/**
 * Seeded chance: xoshiro128**, seeded through splitmix32. Only 32-bit integer arithmetic and exact
 * products of doubles, so that every engine on every machine draws the same numbers.
 *
 * Distributions: `u32`, `below`, `between` and `fraction` are uniform; `exponential` is exact (von
 * Neumann's comparison method, no logarithm); `bell` is a sum of uniforms; `pareto` has a heavy tail
 * and needs only a square root.
 */
export class SeededRandom implements Random {
  private a = 0
  private b = 0
  private c = 0
  private d = 0
  private readonly seedLow: number
  private readonly seedHigh: number
  private drawCount = 0
  private flipAt = -1
  private drawnDigest = 0

  /** `seed`: a safe integer, 0 or more. */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(`a seed is an integer from 0 to 2^53 - 1, not ${seed}`)
    }
    this.seedLow = seed | 0
    this.seedHigh = Math.floor(seed / TWO_POW_32) | 0
    // A Feistel network: no two seeds share a state, and every bit of the seed reaches all of it.
    let low = this.seedLow
    let high = this.seedHigh
    for (let round = 1; round <= 3; round++) {
      low ^= mix32((high + Math.imul(round, 0x9e3779b9)) | 0)
      high ^= mix32((low + Math.imul(round, 0x7f4a7c15)) | 0)
    }
    this.a = low
    this.b = high
    // Never four zeros, the one state from which xoshiro does not move: c is 0 for one `low` only.
    this.c = mix32((low + 0x3c6ef372) | 0)
    this.d = mix32((high + 0xdaa66d2b) | 0)
  }

  /** Continues from a state as published vectors give it: four words, not all of them 0. */
  static fromState(a: number, b: number, c: number, d: number): SeededRandom {
    const random = new SeededRandom(0)
    random.a = a | 0
    random.b = b | 0
    random.c = c | 0
    random.d = d | 0
    return random
  }

  /**
   * Makes an independent generator. It depends on this one's seed and on `label` only, not on what
   * was drawn: so a new consumer of chance leaves the draws of all others as they were.
   */
  fork(label: string): SeededRandom {
    let low = this.seedLow
    let high = this.seedHigh ^ 0x5bd1e995
    for (let index = 0; index < label.length; index++) {
      const unit = label.charCodeAt(index)
      low = mix32((low ^ unit) | 0)
      high = mix32((high + Math.imul(unit, 0x01000193) + index) | 0)
    }
    // 53 bits: what a seed can hold.
    return new SeededRandom((high >>> 11) * TWO_POW_32 + (low >>> 0))
  }

  u32(): number {
    const b = this.b
    const times5 = Math.imul(b, 5)
    let drawn = Math.imul((times5 << 7) | (times5 >>> 25), 9)
    const c = this.c ^ this.a
    const d = this.d ^ b
    this.b = b ^ c
    this.a ^= d
    this.c = c ^ (b << 9)
    this.d = (d << 11) | (d >>> 21)
    if (this.drawCount === this.flipAt) drawn = ~drawn
    this.drawCount += 1
    // A bijection of the digest so far: a draw that differs can't be forgotten by a later one.
    const digest = Math.imul(this.drawnDigest ^ drawn, 0x9e3779b1)
    this.drawnDigest = digest ^ (digest >>> 15)
    return drawn >>> 0
  }

  fill(bytes: Uint8Array): void {
    let index = 0
    for (; index + 4 <= bytes.length; index += 4) {
      const word = this.u32()
      bytes[index] = word
      bytes[index + 1] = word >>> 8
      bytes[index + 2] = word >>> 16
      bytes[index + 3] = word >>> 24
    }
    if (index === bytes.length) return
    for (let word = this.u32(); index < bytes.length; index++, word >>>= 8) bytes[index] = word
  }

  /** Draws an integer, 0 … `count` − 1, without bias. `count`: 1 … 2^32. */
  below(count: number): number {
    if (!(count >= 1 && count <= TWO_POW_32)) throw new RangeError(`below(${count})`)
    // Draws beyond the last whole multiple of `count` are thrown away, or small values would lead.
    const limit = TWO_POW_32 - (TWO_POW_32 % count)
    let drawn = this.u32()
    while (drawn >= limit) drawn = this.u32()
    return drawn % count
  }

  /** Draws an integer, `low` … `high`, both included. */
  between(low: number, high: number): number {
    return low + this.below(high - low + 1)
  }

  /** Draws from [0, 1) in steps of 2^-32. */
  fraction(): number {
    return this.u32() / TWO_POW_32
  }

  /** Answers true with the given probability. 0 and 1 are exact and draw nothing. */
  chance(probability: number): boolean {
    if (probability <= 0) return false
    if (probability >= 1) return true
    return this.u32() < probability * TWO_POW_32
  }

  /** Picks one of `choices`, which has at least one. */
  pick<Choice>(choices: readonly Choice[]): Choice {
    return choices[this.below(choices.length)] as Choice
  }

  /** Draws a waiting time with the given mean: memoryless, as arrivals are. */
  exponential(mean: number): number {
    // Von Neumann 1951: the length of a falling run of uniforms is odd with probability e^-x.
    for (let whole = 0; ; whole++) {
      const first = this.fraction()
      let previous = first
      let runLength = 1
      for (;;) {
        const next = this.fraction()
        if (next >= previous) break
        previous = next
        runLength += 1
      }
      if (runLength % 2 === 1) return mean * (whole + first)
    }
  }

  /** Draws from 0 … 2 × `mean`, most often near the middle: the sum of four uniforms. */
  bell(mean: number): number {
    return (mean * (this.fraction() + this.fraction() + this.fraction() + this.fraction())) / 2
  }

  /**
   * Draws `scale` or more, seldom much more: Pareto with shape 2, mean 2 × `scale`, never above
   * 65,536 × `scale`.
   */
  pareto(scale: number): number {
    return scale / Math.sqrt((this.u32() + 1) / TWO_POW_32)
  }

  /** How many words were drawn. */
  get draws(): number {
    return this.drawCount
  }

  /** A fingerprint of every word drawn so far. */
  get digest(): number {
    return this.drawnDigest
  }

  /**
   * Inverts one future draw (counted from 0). For tests that a world's hash notices a single
   * different draw; it leaves the draws after it as they were.
   */
  flipDraw(index: number): void {
    this.flipAt = index
  }
}

/** Splitmix32's finalizer: a bijection of 32 bits that leaves no pattern of its input. */
function mix32(value: number): number {
  let mixed = value
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}
