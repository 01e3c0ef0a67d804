/**
 * What became of a datagram. The order is part of the event-log hash: add at the end only.
 */
export const FATES = [
  'sent',
  'delivered',
  'lost',
  'lost-in-burst',
  'masked',
  'queue-full',
  'too-big',
  'link-down',
  'bad-checksum',
  'duplicated',
  'corrupted',
  'held-back',
  'unroutable',
  'port-closed',
  'receive-buffer-full',
  'host-down',
  'unmapped',
  'filtered',
] as const

export type Fate = (typeof FATES)[number]

/** Indexes into `FATES`: the hot path handles numbers. */
export const FATE = Object.fromEntries(FATES.map((fate, index) => [fate, index])) as {
  readonly [Name in Fate]: number
}

/**
 * The running hash of everything that happened, in order: two runs that agree in it did the same
 * things at the same virtual times. Two lanes of 32 bits; each step is a bijection of its lane, so
 * a difference is never folded away by equal events that follow.
 */
export class EventHash {
  private low = 0x243f6a88
  private high = 0x85a308d3 | 0

  /** Folds in one number: a safe integer, or the integer part of a double. */
  fold(value: number): void {
    this.foldWord(value | 0)
    // Times pass 2^32 µs after 71 minutes: the upper part counts, too.
    if (value > 0x7fffffff || value < -0x80000000) this.foldWord(Math.floor(value / 4294967296) | 0)
  }

  /** Folds in 32 bits. */
  foldWord(word: number): void {
    const low = Math.imul(this.low ^ word, 0x9e3779b1)
    this.low = low ^ (low >>> 15)
    const high = Math.imul(this.high + word, 0x85ebca77)
    this.high = high ^ (high >>> 16)
  }

  /** Folds in `wordCount` words, half of them into each lane: this is the cost per datagram. */
  foldWords(words: Int32Array, wordCount: number): void {
    let low = this.low
    let high = this.high
    let index = 0
    for (; index + 1 < wordCount; index += 2) {
      low = Math.imul(low ^ (words[index] as number), 0x9e3779b1)
      low ^= low >>> 15
      high = Math.imul(high + (words[index + 1] as number), 0x85ebca77)
      high ^= high >>> 16
    }
    this.low = low
    this.high = high
    if (index < wordCount) this.foldWord(words[index] as number)
    this.foldWord(wordCount)
  }

  foldText(text: string): void {
    for (let index = 0; index < text.length; index++) this.foldWord(text.charCodeAt(index))
    this.foldWord(text.length)
  }

  /** Copies the state of `other`, so that a digest can be read without disturbing the run. */
  copyFrom(other: EventHash): void {
    this.low = other.low
    this.high = other.high
  }

  /** Answers 16 hexadecimal digits. */
  toString(): string {
    return hex32(this.high) + hex32(this.low)
  }
}

function hex32(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0')
}
