import { renderTable } from '../lib/report.ts'
import { median } from '../lib/statistics.ts'
import type { LinkComparison, LinkComparisonOrder, LinkRow } from './comparison.ts'
import type { LinkProfile } from './profiles.ts'
import type { LinkSample } from './sample.ts'

/** Says in words what was measured. */
export function describeLinkOrder(name: string, order: LinkComparisonOrder): string {
  const { rounds, windowMs, warmupMs, rival } = order
  const shared = rival === undefined ? '' : `, shared with one flow of the kernel's ${rival}`
  const times = `${windowMs / 1_000} s${warmupMs > 0 ? ` after ${warmupMs / 1_000} s` : ''}`
  return (
    `${name}: ${describeProfile(order.profile)}${shared}\n` +
    `${rounds} interleaved rounds of ${times}; medians (min..max); ` +
    "x = median of the rounds' ratios to bbr, the kernel's"
  )
}

function describeProfile(profile: LinkProfile): string {
  const { rateBitsPerSecond, rttMs, queueBytes, loss = 0, bursts, jitterMs = 0, reorder } = profile
  return [
    `${rateBitsPerSecond / 1e6} Mbit/s`,
    `${rttMs} ms`,
    `${queueBytes / 1_000} kB of queue`,
    ...(loss > 0 ? [`${loss * 100} % lost`] : []),
    ...(bursts ? [`${((bursts.enter * bursts.loss) / bursts.leave) * 100} % lost in bursts`] : []),
    ...(jitterMs > 0 ? [`±${jitterMs} ms`] : []),
    ...(reorder ? [`${reorder.chance * 100} % held back ${reorder.holdMs} ms`] : []),
  ].join(', ')
}

/** Renders the rows as a table, followed by what was skipped, thrown away or went wrong. */
export function renderLinkRows({ rows, lateRounds }: LinkComparison, isShared: boolean): string {
  const columns: readonly Column[] = [
    [
      'goodput Mbit/s',
      ({ samples }) => spreadOf(samples, ({ goodputs }) => (goodputs[0] ?? 0) / 1e6, 1),
    ],
    ...(isShared
      ? ([['share %', ({ samples }) => spreadOf(samples, shareOf, 0)]] satisfies Column[])
      : ([['x', ({ ratio }) => ratio?.toFixed(3) ?? '-']] satisfies Column[])),
    ['resent', ({ samples }) => middle(samples, ({ resent }) => resent, 0)],
    ['drops: queue', ({ samples }) => middle(samples, ({ link }) => link.there.queueDrops, 0)],
    ['chance', ({ samples }) => middle(samples, ({ link }) => link.there.losses, 0)],
    [
      'queue p50 ms',
      ({ samples }) => middle(samples, ({ link }) => link.there.queueMicros.p50 / 1e3, 1),
    ],
    ['p95', ({ samples }) => middle(samples, ({ link }) => link.there.queueMicros.p95 / 1e3, 1)],
    [
      'link late p50 µs',
      ({ samples }) => middle(samples, ({ link }) => link.there.latenessMicros.p50, 0),
    ],
    ['p99', ({ samples }) => middle(samples, ({ link }) => link.there.latenessMicros.p99, 0)],
  ]
  const measured = rows.filter(({ samples }) => samples.length > 0)
  const table = [
    ['party', 'n', ...columns.map(([name]) => name)],
    ...measured.map((row) => [
      row.party,
      String(row.samples.length),
      ...columns.map(([, render]) => render(row)),
    ]),
  ]
  const notes = rows.flatMap(({ party, skipped, failures }) => [
    ...(skipped === undefined ? [] : [`${party}: skipped: ${skipped}`]),
    ...failures.map((failure) => `${party}: FAILED: ${failure}`),
  ])
  if (lateRounds > 0) notes.push(`${lateRounds} rounds repeated: the link was late`)
  return [...(measured.length > 0 ? [renderTable(table)] : []), ...notes].join('\n')
}

type Column = readonly [name: string, render: (row: LinkRow) => string]
type Value = (sample: LinkSample) => number

/** Of what arrived from both flows, the first one's. */
function shareOf({ goodputs: [own = 0, other = 0] }: LinkSample): number {
  return (own / (own + other)) * 100
}

function middle(samples: readonly LinkSample[], value: Value, digits: number): string {
  return median(samples.map(value)).toFixed(digits)
}

function spreadOf(samples: readonly LinkSample[], value: Value, digits: number): string {
  const values = samples.map(value)
  const [least, most] = [Math.min(...values), Math.max(...values)]
  return `${median(values).toFixed(digits)} (${least.toFixed(digits)}..${most.toFixed(digits)})`
}
