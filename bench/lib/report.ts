import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  type ComparisonOrder,
  type Figure,
  METRICS,
  REFERENCE_PARTY,
  type Row,
} from './comparison.ts'
import type { Environment } from './environment.ts'

/** Says in words what was measured. */
export function describeOrder({ scenario, workload, rounds, ...times }: ComparisonOrder): string {
  const { writeSizeBytes, datagramSizeBytes, messageSizeBytes } = workload
  const { connectionCount, messagesInFlight } = workload
  const work = {
    stream: `one connection, one way, writes of ${writeSizeBytes} B`,
    datagrams: `one way under a credit window, no protocol, ${datagramSizeBytes} B each`,
    pingpong: `one connection, one message of ${messageSizeBytes} B back and forth`,
    connections:
      `${connectionCount} connections, on each ${messagesInFlight} messages ` +
      `of ${messageSizeBytes} B back and forth`,
  }[scenario]
  return (
    `${scenario}: ${work}\n` +
    `${rounds} interleaved rounds of ${times.windowMs / 1_000} s after ${times.warmupMs / 1_000} s ` +
    `of warm-up; median (min..max); x = median of the rounds' ratios to ${REFERENCE_PARTY[scenario]}`
  )
}

export function describeEnvironment(environment: Environment): string {
  const { node, v8, system, processor, cores, load, settings } = environment
  const lines = [
    `Node.js ${node}, V8 ${v8}, ${system}`,
    `${cores} cores, ${processor}, load ${load.map((value) => value.toFixed(2)).join(' ')}`,
    ...Object.entries(settings).map(([key, value]) => `${key}=${value}`),
  ]
  return lines.join('\n')
}

/** Renders the rows as a table, followed by what was skipped, went wrong or needs a note. */
export function renderRows({ scenario }: ComparisonOrder, rows: readonly Row[]): string {
  const metrics = METRICS[scenario].filter(({ name }) =>
    rows.some(({ figures }) => figures.some((figure) => figure.name === name)),
  )
  const hasRatios = rows.some(({ figures }) => figures.some(({ ratio }) => ratio !== undefined))
  const head = ['party', 'n']
  for (const { name, unit, isCompared } of metrics) {
    head.push(`${name} ${unit}`)
    if (isCompared && hasRatios) head.push('x')
  }
  const body = rows
    .filter(({ samples }) => samples.length > 0)
    .map((row) => {
      const cells = [nameOf(row), String(row.samples.length)]
      for (const { name, isCompared } of metrics) {
        const figure = row.figures.find((candidate) => candidate.name === name)
        cells.push(figure === undefined ? '-' : renderSpread(figure))
        if (isCompared && hasRatios) cells.push(figure?.ratio?.toFixed(2) ?? '-')
      }
      return cells
    })
  const notes = rows.flatMap((row) => {
    const details = Object.entries(row.details).map(([key, value]) => `${key} ${value}`)
    return [
      ...(row.skipped === undefined ? [] : [`skipped: ${row.skipped}`]),
      ...row.failures.map((failure) => `FAILED: ${failure}`),
      ...(details.length === 0 ? [] : [details.join(', ')]),
    ].map((note) => `${nameOf(row)}: ${note}`)
  })
  return [renderTable([head, ...body]), ...notes].join('\n')
}

/** Parties outside this folder are known by the path of their module. */
function nameOf({ party }: Row): string {
  return party.startsWith('file:') ? relative('.', fileURLToPath(party)) : party
}

function renderSpread({ median, min, max }: Figure): string {
  return `${renderNumber(median)} (${renderNumber(min)}..${renderNumber(max)})`
}

/** About three significant digits, and never an exponent. */
function renderNumber(value: number): string {
  const magnitude = Math.abs(value)
  return value.toFixed(magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : 2)
}

/** Aligns cells in columns. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  )
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0
          return column === 0 ? cell.padEnd(width) : cell.padStart(width)
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
