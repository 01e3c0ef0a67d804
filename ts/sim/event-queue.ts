import type { Micros } from '../machine.ts'

/**
 * What happens when: a binary heap of numbers, ordered by time and, at equal times, by the order of
 * `push`. So a run depends on nothing but what was pushed. It allocates only when it grows.
 */
export class EventQueue {
  private times: Float64Array
  /** Breaks ties, and names an event so that its owner can tell it from a stale one. */
  private sequences: Float64Array
  private payloads: Int32Array
  private count = 0
  private nextSequence = 1

  /** The event that the last `pop` took. */
  time: Micros = 0
  sequence = 0
  payload = 0

  constructor(capacity = 1024) {
    this.times = new Float64Array(capacity)
    this.sequences = new Float64Array(capacity)
    this.payloads = new Int32Array(capacity)
  }

  get size(): number {
    return this.count
  }

  /** The time of the next event, or Infinity. */
  peekTime(): Micros {
    return this.count === 0 ? Number.POSITIVE_INFINITY : (this.times[0] as number)
  }

  /** Adds an event and answers its sequence number, 1 or more. `payload`: 32 bits. */
  push(time: Micros, payload: number): number {
    if (this.count === this.times.length) this.grow()
    const { times, sequences, payloads } = this
    const sequence = this.nextSequence++
    let hole = this.count++
    while (hole > 0) {
      const parent = (hole - 1) >> 1
      // Equal times: the older one is the parent already.
      if ((times[parent] as number) <= time) break
      times[hole] = times[parent] as number
      sequences[hole] = sequences[parent] as number
      payloads[hole] = payloads[parent] as number
      hole = parent
    }
    times[hole] = time
    sequences[hole] = sequence
    payloads[hole] = payload
    return sequence
  }

  /** Takes the earliest event into `time`, `sequence` and `payload`; false when there is none. */
  pop(): boolean {
    if (this.count === 0) return false
    const { times, sequences, payloads } = this
    this.time = times[0] as number
    this.sequence = sequences[0] as number
    this.payload = payloads[0] as number
    const last = --this.count
    const time = times[last] as number
    const sequence = sequences[last] as number
    let hole = 0
    for (;;) {
      let child = 2 * hole + 1
      if (child >= last) break
      if (child + 1 < last && this.isBefore(child + 1, child)) child += 1
      const childTime = times[child] as number
      if (time < childTime || (time === childTime && sequence < (sequences[child] as number))) break
      times[hole] = childTime
      sequences[hole] = sequences[child] as number
      payloads[hole] = payloads[child] as number
      hole = child
    }
    times[hole] = time
    sequences[hole] = sequence
    payloads[hole] = payloads[last] as number
    return true
  }

  private isBefore(a: number, b: number): boolean {
    const timeA = this.times[a] as number
    const timeB = this.times[b] as number
    if (timeA !== timeB) return timeA < timeB
    return (this.sequences[a] as number) < (this.sequences[b] as number)
  }

  private grow(): void {
    const capacity = this.times.length * 2
    const times = new Float64Array(capacity)
    times.set(this.times)
    const sequences = new Float64Array(capacity)
    sequences.set(this.sequences)
    const payloads = new Int32Array(capacity)
    payloads.set(this.payloads)
    this.times = times
    this.sequences = sequences
    this.payloads = payloads
  }
}
