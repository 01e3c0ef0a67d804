/**
 * `npm run bench -- [SCENARIO …] [options]`: measures parties against each other, two processes
 * each, over the loopback interface.
 *
 *   SCENARIO            stream, datagrams, pingpong, connections           [stream]
 *   link [PROFILE …]    alone on an emulated link                          [every profile]
 *   share [PROFILE …]   on such a link with a flow of the kernel's TCP     [wan50]
 *   --parties LIST      names: net, tls, dgram[-unconnected], raw@TIER, punchline[-plain][@TIER] and
 *                       any of +spin, +sleep, +1472, +wide, +own, +ports (lib/parties.ts); or
 *                       paths of modules that export a party by default    [the first four]
 *                       and for links bbr, cubic: the kernel's TCP         [both and ours]
 *   --rounds N          how often each party is measured                   [5]
 *   --seconds S         how long each time                  [2; link 10 or 20, share 20]
 *   --warmup S          how long it runs before                            [0.5]
 *   --connections N     of the scenario of that name                       [1000]
 *   --veth              between two network namespaces (Linux, root, the command ip)
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
import { DEFAULT_PARTIES, knownParty, PARTY_NAMES } from './lib/parties.ts'
import { DEFAULT_WORKLOAD, SCENARIO_NAMES, type ScenarioName } from './lib/party.ts'
import { describeEnvironment, describeOrder, renderRows } from './lib/report.ts'
import { VethPair } from './lib/veth.ts'
import { KERNEL_CONTROLLERS } from './link/emulator.ts'
import { LINK_SCENARIOS, linkOrders, type NamedOrder, runLinks } from './link/run.ts'

const CONNECTIONS_MAX = 10_000
const WINDOW_MS = 2_000

const options = readOptions()
const environment = readEnvironment()
console.log(describeEnvironment(environment))

const results =
  'links' in options ? await runLinks(options.links, showProgress) : await runAll(options.orders)
if (options.jsonFile !== undefined) {
  const startedAt = new Date(performance.timeOrigin).toISOString()
  const text = JSON.stringify({ startedAt, environment, results }, null, 2)
  writeFileSync(options.jsonFile, `${text}\n`)
}
if (results.some(({ rows }) => rows.some(({ failures }) => failures.length > 0))) {
  process.exitCode = 1
}

async function runAll(orders: readonly ComparisonOrder[]) {
  if (!options.isVeth) return measureAll(orders)
  const pair = makePair()
  if (pair === undefined) return []
  try {
    const { spaces, host } = pair
    return await measureAll(
      orders.map((order) => ({ ...order, spaces, workload: { ...order.workload, host } })),
    )
  } finally {
    pair.close()
  }
}

function makePair(): VethPair | undefined {
  try {
    return new VethPair()
  } catch (error) {
    console.log(`skipped: ${error instanceof Error ? error.message : error}`)
    return undefined
  }
}

async function measureAll(orders: readonly ComparisonOrder[]) {
  const all: { order: ComparisonOrder; rows: Row[] }[] = []
  for (const order of orders) {
    console.log(`\n${describeOrder(order)}\n`)
    const rows = await compare(order, (round, party) => {
      showProgress(`round ${round + 1} of ${order.rounds}: ${party}`)
    })
    showProgress('')
    console.log(renderRows(order, rows))
    all.push({ order, rows })
  }
  return all
}

function showProgress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text}\x1b[K`)
}

type Options = { readonly jsonFile: string | undefined; readonly isVeth: boolean } & (
  | { readonly orders: readonly ComparisonOrder[] }
  | { readonly links: readonly NamedOrder[] }
)

function readOptions(): Options {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        parties: { type: 'string' },
        rounds: { type: 'string', default: '5' },
        seconds: { type: 'string' },
        warmup: { type: 'string', default: '0.5' },
        connections: { type: 'string', default: String(DEFAULT_WORKLOAD.connectionCount) },
        veth: { type: 'boolean', default: false },
        json: { type: 'string' },
      },
    })
    const common = { jsonFile: values.json, isVeth: values.veth }
    const rounds = readInteger('--rounds', values.rounds, { least: 1, most: 1_000 })
    const parties = values.parties?.split(',')
    const windowMs = values.seconds && readSeconds('--seconds', values.seconds)
    const [first = 'stream', ...others] = positionals
    const linkScenario = LINK_SCENARIOS.find((name) => name === first)
    if (linkScenario !== undefined) {
      const links = linkOrders(linkScenario, {
        profiles: others,
        parties: parties?.map((name) => (isKernel(name) ? name : readParty(name))) ?? [],
        rounds,
        windowMs: windowMs || undefined,
      })
      return { links, ...common }
    }
    const shared = {
      parties: (parties ?? DEFAULT_PARTIES).map(readParty),
      rounds,
      windowMs: windowMs || WINDOW_MS,
      warmupMs: readSeconds('--warmup', values.warmup),
      workload: {
        ...DEFAULT_WORKLOAD,
        connectionCount: readInteger('--connections', values.connections, {
          least: 1,
          most: CONNECTIONS_MAX,
        }),
      },
    }
    const scenarios = [first, ...others].map(readScenario)
    return { orders: scenarios.map((scenario) => ({ ...shared, scenario })), ...common }
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exit(2)
  }
}

function readScenario(name: string): ScenarioName {
  const scenario = SCENARIO_NAMES.find((known) => known === name)
  if (scenario !== undefined) return scenario
  const names = [...SCENARIO_NAMES, ...LINK_SCENARIOS].join(', ')
  throw new Error(`no scenario "${name}": there are ${names}`)
}

function isKernel(name: string): boolean {
  return KERNEL_CONTROLLERS.some((controller) => controller === name)
}

function readParty(name: string): string {
  if (knownParty(name) !== undefined) return name
  if (/[./]/.test(name)) return pathToFileURL(resolve(name)).href
  throw new Error(`no party "${name}": there are ${PARTY_NAMES.join(', ')}`)
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
