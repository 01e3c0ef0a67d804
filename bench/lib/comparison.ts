/**
 * Compares parties: in every round each party is measured once, and every round begins with
 * another one, so that a machine that becomes slower or busier does so for all. What counts is the
 * ratio to the reference *of the same round*.
 */
import type { ScenarioName } from './party.ts'
import { median, type Spread, spread } from './statistics.ts'
import { type CellOrder, measureCell, type Sample, UnavailableError } from './two-process.ts'

/** Ratios are made to this party when it takes part. */
export const REFERENCE_PARTY: Readonly<Record<ScenarioName, string>> = {
  stream: 'net',
  datagrams: 'dgram',
  pingpong: 'net',
  connections: 'net',
}

export interface ComparisonOrder extends Omit<CellOrder, 'party'> {
  readonly parties: readonly string[]
  readonly rounds: number
}

export interface Metric {
  readonly name: string
  readonly unit: string
  /** What a sample says, in this unit; NaN when it says nothing. */
  readonly of: (sample: Sample) => number
  /** Whether the report gives its ratio to the reference. */
  readonly isCompared: boolean
}

const othersMetric: Metric = {
  name: 'others',
  unit: 'cores',
  of: (sample) => sample.othersCores + sample.stolenCores,
  isCompared: false,
}

const latencyMetrics: readonly Metric[] = [
  { name: 'p50', unit: 'µs', of: ({ p50Micros = Number.NaN }) => p50Micros, isCompared: true },
  { name: 'p99', unit: 'µs', of: ({ p99Micros = Number.NaN }) => p99Micros, isCompared: true },
]

const roundTripMetrics: readonly Metric[] = [
  { name: 'rate', unit: 'echoes/s', of: (sample) => sample.workPerSecond, isCompared: true },
  { name: 'CPU', unit: 'µs/echo', of: (sample) => sample.cpuSeconds * 1e6, isCompared: true },
]

/** What each scenario reports, the most important first. */
export const METRICS: Readonly<Record<ScenarioName, readonly Metric[]>> = {
  stream: [
    { name: 'rate', unit: 'MB/s', of: (sample) => sample.workPerSecond / 1e6, isCompared: true },
    { name: 'CPU', unit: 's/GB', of: (sample) => sample.cpuSeconds * 1e9, isCompared: true },
    {
      name: 'receiver',
      unit: 's/GB',
      of: (sample) => sample.serverCpuSeconds * 1e9,
      isCompared: false,
    },
    {
      name: 'sender',
      unit: 's/GB',
      of: (sample) => sample.clientCpuSeconds * 1e9,
      isCompared: false,
    },
    othersMetric,
  ],
  datagrams: [
    { name: 'rate', unit: 'k/s', of: (sample) => sample.workPerSecond / 1e3, isCompared: true },
    { name: 'CPU', unit: 'ns each', of: (sample) => sample.cpuSeconds * 1e9, isCompared: true },
    {
      name: 'receiver',
      unit: 'ns each',
      of: (sample) => sample.serverCpuSeconds * 1e9,
      isCompared: false,
    },
    {
      name: 'sender',
      unit: 'ns each',
      of: (sample) => sample.clientCpuSeconds * 1e9,
      isCompared: false,
    },
    othersMetric,
  ],
  pingpong: [...latencyMetrics, ...roundTripMetrics, othersMetric],
  connections: [
    ...roundTripMetrics,
    {
      name: 'memory',
      unit: 'KiB each',
      of: ({ bytesPerConnection = Number.NaN }) => bytesPerConnection / 1024,
      isCompared: false,
    },
    { name: 'set-up', unit: 's', of: (sample) => sample.setupSeconds, isCompared: false },
    othersMetric,
  ],
}

export interface Row {
  readonly party: string
  readonly samples: readonly Sample[]
  /** Set when it cannot run here. It has no samples then. */
  readonly skipped?: string
  /** What went wrong in single samples. Any makes the whole benchmark fail. */
  readonly failures: readonly string[]
  readonly figures: readonly Figure[]
  readonly details: Readonly<Record<string, string>>
}

export interface Figure extends Spread {
  readonly name: string
  readonly unit: string
  /** Median of the rounds' ratios to the reference. */
  readonly ratio?: number
}

/** A round's samples by party; what failed or was skipped is missing. */
type Round = Map<string, Sample>

/** Measures all parties; `onProgress` is told before each cell. */
export async function compare(
  order: ComparisonOrder,
  onProgress: (round: number, party: string) => void = () => {},
): Promise<Row[]> {
  const rounds: Round[] = []
  const skipped = new Map<string, string>()
  const failures = new Map<string, string[]>(order.parties.map((party) => [party, []]))
  for (let index = 0; index < order.rounds; index += 1) {
    const round: Round = new Map()
    rounds.push(round)
    for (const party of rotate(order.parties, index)) {
      if (skipped.has(party)) continue
      onProgress(index, party)
      try {
        round.set(party, await measureCell({ ...order, party }))
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error)
        if (error instanceof UnavailableError) skipped.set(party, reason)
        else failures.get(party)?.push(`round ${index + 1}: ${reason}`)
      }
    }
  }
  return order.parties.map((party) => {
    const samples = rounds.flatMap((round) => round.get(party) ?? [])
    const reason = skipped.get(party)
    return {
      party,
      samples,
      ...(reason !== undefined && { skipped: reason }),
      failures: failures.get(party) ?? [],
      figures: METRICS[order.scenario].flatMap((metric) =>
        summarize(metric, party, rounds, REFERENCE_PARTY[order.scenario]),
      ),
      details: samples.at(-1)?.details ?? {},
    }
  })
}

/** Answers one figure, or none when no sample has it. */
function summarize(
  metric: Metric,
  party: string,
  rounds: readonly Round[],
  referenceParty: string,
): Figure[] {
  const values: number[] = []
  const ratios: number[] = []
  for (const round of rounds) {
    const sample = round.get(party)
    if (sample === undefined) continue
    const value = metric.of(sample)
    if (Number.isNaN(value)) continue
    values.push(value)
    const reference = round.get(referenceParty)
    if (metric.isCompared && reference !== undefined) ratios.push(value / metric.of(reference))
  }
  if (values.length === 0) return []
  const { name, unit } = metric
  const ratio = ratios.length === 0 ? {} : { ratio: median(ratios) }
  return [{ name, unit, ...spread(values), ...ratio }]
}

function rotate<T>(items: readonly T[], by: number): T[] {
  const shift = by % items.length
  return [...items.slice(shift), ...items.slice(0, shift)]
}
