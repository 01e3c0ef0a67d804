/** Round-trip times, kept without allocating while they are measured. */

/** The oldest are overwritten beyond this; 8 MiB. */
const SAMPLES_MAX = 1024 * 1024

export class Latencies {
  private readonly samples = new Float64Array(SAMPLES_MAX)
  private count = 0

  record(micros: number): void {
    this.samples[this.count % SAMPLES_MAX] = micros
    this.count += 1
  }

  /** Answers what was recorded since the last call. */
  take(): Float64Array {
    const taken = this.samples.slice(0, Math.min(this.count, SAMPLES_MAX))
    this.count = 0
    return taken
  }
}
