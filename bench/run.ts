/**
 * `npm run bench -- [SCENARIO …] [options]`: measures parties against each other, two processes
 * each, over the loopback interface.
 *
 *   SCENARIO            stream, datagrams, pingpong, connections           [stream]
 *   --parties LIST      names (net, tls, dgram, punchline, punchline@TIER,
 *                       punchline-plain, punchline+spin, raw@TIER), or
 *                       paths of modules that export a party by default    [the first four]
 *   --rounds N          how often each party is measured                   [5]
 *   --seconds S         how long each time                                 [2]
 *   --warmup S          how long it runs before                            [0.5]
 *   --connections N     of the scenario of that name                       [1000]
 *   --json FILE         writes everything, single samples too, to a file
 *
 * Exit code: 0 measured (a party that cannot run here is skipped, and said to be), 1 a sample
 * failed its own check or broke, 2 not understood.
 */
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { type ComparisonOrder, compare, type Row } from './lib/comparison.ts'
import { readEnvironment } from './lib/environment.ts'
import { DEFAULT_PARTIES, PARTIES } from './lib/parties.ts'
import { DEFAULT_WORKLOAD, SCENARIO_NAMES, type ScenarioName } from './lib/party.ts'
import { describeEnvironment, describeOrder, renderRows } from './lib/report.ts'

const CONNECTIONS_MAX = 10_000

const { orders, jsonFile } = readOptions()
const environment = readEnvironment()
console.log(describeEnvironment(environment))

const results: { order: ComparisonOrder; rows: Row[] }[] = []
for (const order of orders) {
  console.log(`\n${describeOrder(order)}\n`)
  const rows = await compare(order, (round, party) => {
    showProgress(`round ${round + 1} of ${order.rounds}: ${party}`)
  })
  showProgress('')
  console.log(renderRows(order, rows))
  results.push({ order, rows })
}
if (jsonFile !== undefined) {
  const startedAt = new Date(performance.timeOrigin).toISOString()
  writeFileSync(jsonFile, `${JSON.stringify({ startedAt, environment, results }, null, 2)}\n`)
}
if (results.some(({ rows }) => rows.some(({ failures }) => failures.length > 0))) {
  process.exitCode = 1
}

function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text}\x1b[K`)
}

function readOptions(): { orders: ComparisonOrder[]; jsonFile: string | undefined } {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        parties: { type: 'string', default: DEFAULT_PARTIES.join(',') },
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string', default: '2' },
        warmup: { type: 'string', default: '0.5' },
        connections: { type: 'string', default: String(DEFAULT_WORKLOAD.connectionCount) },
        json: { type: 'string' },
      },
    })
    const shared = {
      parties: values.parties.split(',').map(readParty),
      rounds: readInteger('--rounds', values.rounds, { least: 1, most: 1_000 }),
      windowMs: readSeconds('--seconds', values.seconds),
      warmupMs: readSeconds('--warmup', values.warmup),
      workload: {
        ...DEFAULT_WORKLOAD,
        connectionCount: readInteger('--connections', values.connections, {
          least: 1,
          most: CONNECTIONS_MAX,
        }),
      },
    }
    const scenarios = positionals.length === 0 ? ['stream'] : positionals
    return {
      orders: scenarios.map((name) => ({ ...shared, scenario: readScenario(name) })),
      jsonFile: values.json,
    }
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exit(2)
  }
}

function readScenario(name: string): ScenarioName {
  const scenario = SCENARIO_NAMES.find((known) => known === name)
  if (scenario !== undefined) return scenario
  throw new Error(`no scenario "${name}": there are ${SCENARIO_NAMES.join(', ')}`)
}

function readParty(name: string): string {
  if (PARTIES.has(name)) return name
  if (/[./]/.test(name)) return pathToFileURL(resolve(name)).href
  throw new Error(`no party "${name}": there are ${[...PARTIES.keys()].join(', ')}`)
}

function readInteger(name: string, text: string, { least, most }: { least: number; most: number }) {
  const value = Number(text)
  if (/^\d+$/.test(text) && value >= least && value <= most) return value
  throw new Error(`${name} is an integer from ${least} to ${most}`)
}

/** Answers milliseconds. */
function readSeconds(name: string, text: string): number {
  const value = Number(text)
  if (text !== '' && value >= 0 && value <= 3_600) return value * 1_000
  throw new Error(`${name} is a number of seconds up to 3600`)
}
