/**
 * The bytes of a measured stream: the byte at every position is known to both ends, so that the
 * receiver can check samples wherever its chunks begin.
 */

/** A prime, so that a lost, doubled or moved piece of any usual size shifts the pattern. */
export const PATTERN_PERIOD_BYTES = 65_521

/** Sparse enough not to be seen in the figures, dense enough for every packet to be sampled. */
export const SAMPLE_EVERY_BYTES = 1_021

/** Makes a period of the pattern and `extraBytes` of the next, to take slices at every phase. */
export function makePattern(extraBytes = 0): Buffer {
  const pattern = Buffer.allocUnsafe(PATTERN_PERIOD_BYTES + extraBytes)
  let state = 0x9e3779b9
  for (let i = 0; i < PATTERN_PERIOD_BYTES; i += 1) {
    // xorshift32: no two neighbourhoods are alike.
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    pattern[i] = state >>> 24
  }
  // One by one: more than a period may be asked for, whose source is only written on the way.
  for (let i = 0; i < extraBytes; i += 1) {
    pattern[PATTERN_PERIOD_BYTES + i] = pattern[i] ?? 0
  }
  return pattern
}

/** Compares samples of a stream with the pattern, chunk by chunk. */
export class PatternCheck {
  bytesReceived = 0
  checks = 0
  mismatches = 0
  private readonly pattern = makePattern()
  private nextSample = 0

  take(chunk: Uint8Array): void {
    const end = this.bytesReceived + chunk.length
    for (; this.nextSample < end; this.nextSample += SAMPLE_EVERY_BYTES) {
      this.checks += 1
      const expected = this.pattern[this.nextSample % PATTERN_PERIOD_BYTES]
      if (chunk[this.nextSample - this.bytesReceived] !== expected) this.mismatches += 1
    }
    this.bytesReceived = end
  }
}
