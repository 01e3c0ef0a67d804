/**
 * Measures short operations against each other. Benchmark.js gives each its own time; ratios come
 * from interleaved rounds, because on a shared machine two separate minutes are not comparable.
 */
import { readEnvironment } from './environment.ts'
import { median, quantile } from './statistics.ts'

/** One way to do the work. */
export interface Contender {
  readonly name: string
  /** Operations in one turn of the work: a batch of packets counts each. Default 1. */
  readonly operations?: number
  /** Does the work for `times` turns; the result keeps the engine from leaving it out. */
  run(times: number): number
}

export interface MicroOptions {
  /** Interleaved rounds; the starting contender rotates. */
  readonly rounds: number
  /** About how long one contender works per round, in ms. */
  readonly roundMs: number
  /** Longest time that Benchmark.js takes per contender, in seconds. */
  readonly benchmarkSeconds: number
}

export const MICRO_DEFAULTS: MicroOptions = { rounds: 401, roundMs: 1, benchmarkSeconds: 1 }

/** Enough to see that everything runs; the figures mean nothing. */
export const MICRO_TINY: MicroOptions = { rounds: 3, roundMs: 0.2, benchmarkSeconds: 0.01 }

/** What was measured of one contender. Times are nanoseconds per operation. */
export interface MicroResult {
  readonly name: string
  readonly medianNs: number
  readonly minNs: number
  /** Half of the rounds lie between these two. */
  readonly quartilesNs: readonly [number, number]
  readonly rounds: number
}

/** What Benchmark.js says of one contender. */
export interface BenchmarkResult {
  readonly meanNs: number
  /** Relative margin of error. */
  readonly marginPercent: number
  readonly samples: number
}

/** Keeps results alive, so that no run can be optimised away. */
const sink = new Int32Array(1)

/** Measures the contenders against each other in interleaved rounds; results in their order. */
export function measure(
  contenders: readonly Contender[],
  options: MicroOptions = MICRO_DEFAULTS,
): MicroResult[] {
  const times = contenders.map((contender) => calibrate(contender, options.roundMs))
  const samples = contenders.map((): number[] => [])
  for (let round = 0; round < options.rounds; round += 1) {
    for (let turn = 0; turn < contenders.length; turn += 1) {
      const index = (round + turn) % contenders.length
      const contender = contenders[index]
      const count = times[index]
      if (contender && count) samples[index]?.push(timeOnce(contender, count))
    }
  }
  return contenders.map((contender, index) => summarise(contender, samples[index] ?? []))
}

/** The ratio of medians: how many times as long `slower` takes as `faster`. */
export function ratio(slower: MicroResult, faster: MicroResult): number {
  return slower.medianNs / faster.medianNs
}

/** Runs until the code is warm, and gives the count of turns that fills a round. */
function calibrate(contender: Contender, roundMs: number): number {
  const roundNs = roundMs * 1e6
  let times = 16
  for (;;) {
    const ns = timeOnce(contender, times) * times
    if (ns >= roundNs) return Math.max(1, Math.round((times * roundNs) / ns))
    times *= 2
  }
}

function timeOnce(contender: Contender, times: number): number {
  const startedAt = process.hrtime.bigint()
  sink[0] = contender.run(times)
  return Number(process.hrtime.bigint() - startedAt) / times
}

/** Gives the figures of a contender whose turns took so long, in ns, in each of the rounds. */
export function summarise(
  { name, operations = 1 }: Pick<Contender, 'name' | 'operations'>,
  turnNs: readonly number[],
): MicroResult {
  const samples = turnNs.map((ns) => ns / operations)
  return {
    name,
    medianNs: median(samples),
    minNs: Math.min(...samples),
    quartilesNs: [quantile(samples, 0.25), quantile(samples, 0.75)],
    rounds: samples.length,
  }
}

/** Turns per call of Benchmark.js, whose own loop costs as much as a short operation. */
const PER_CYCLE = 64

/**
 * Measures one contender with Benchmark.js, for at most so many seconds. To be called after all
 * interleaved rounds: loading that library makes V8 compile typed-array code a seventh slower, from
 * then on and for the whole process, which would flatter the core.
 */
export async function runBenchmark(
  contender: Contender,
  maxSeconds: number,
): Promise<BenchmarkResult> {
  const { default: Benchmark } = await import('benchmark')
  const benchmark = new Benchmark({
    name: contender.name,
    maxTime: maxSeconds,
    // Its default is a twentieth of a second per sample, for runs of about a second.
    minTime: maxSeconds / 20,
    fn: () => {
      sink[0] = contender.run(PER_CYCLE)
    },
  })
  benchmark.run({ async: false })
  const { mean, rme, sample } = benchmark.stats
  const perCycle = PER_CYCLE * (contender.operations ?? 1)
  return { meanNs: (mean / perCycle) * 1e9, marginPercent: rme, samples: sample.length }
}

/** Names what the figures were measured on; without it they mean nothing. */
export function describeMachine(): string {
  const { processor, cores, load, system, node, v8 } = readEnvironment()
  return `${processor} × ${cores}, load ${load[0]?.toFixed(1)}\n${system}, Node ${node} (V8 ${v8})`
}
