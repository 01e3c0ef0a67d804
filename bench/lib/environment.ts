import { readFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, loadavg, release, type } from 'node:os'

/** What a reader needs to know to judge the figures. */
export interface Environment {
  readonly node: string
  readonly v8: string
  readonly system: string
  readonly processor: string
  readonly cores: number
  /** Load averages of 1, 5 and 15 minutes, when it was looked at. */
  readonly load: readonly number[]
  /** Punchline's own settings that reach the peers. */
  readonly settings: Readonly<Record<string, string>>
}

export function readEnvironment(): Environment {
  return {
    node: process.version,
    v8: process.versions.v8,
    system: `${type()} ${release()} ${arch()}`,
    processor: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    load: loadavg(),
    settings: Object.fromEntries(
      Object.entries(process.env).flatMap(([key, value]) =>
        key.startsWith('PUNCHLINE_') && value !== undefined ? [[key, value]] : [],
      ),
    ),
  }
}

export interface CpuTimes {
  readonly atMs: number
  /** Time of all cores spent on programs and the kernel. NaN where it is not known. */
  readonly busyMs: number
  /** Time that the host gave to other guests. NaN where it is not known. */
  readonly stolenMs: number
}

/** Linux counts in ticks of 10 ms, whatever the kernel's own frequency. */
const TICK_MS = 10

/** Reads the machine's processor times; Linux only. */
export function readCpuTimes(): CpuTimes {
  const atMs = performance.now()
  if (process.platform !== 'linux') return { atMs, busyMs: Number.NaN, stolenMs: Number.NaN }
  const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n', 1)
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, stolen = 0] = line
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number)
  const busyTicks = user + nice + system + irq + softirq
  return { atMs, busyMs: busyTicks * TICK_MS, stolenMs: stolen * TICK_MS }
}
