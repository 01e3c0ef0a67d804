import type { Micros } from '../machine.ts'

/** Microseconds on the process's monotonic clock. */
export function nowMicros(): Micros {
  return Math.floor(performance.now() * 1000)
}
