/**
 * `npm run fuzz`: gives every parser millions of changed inputs, and the core's boundary a million
 * steps. `--target NAME` one of them, `--short` for seconds only, `--count N` other counts, `--seed N` other draws, `--input
 * TEXT` repeats one input (base64), `--defect NAME` breaks the core on purpose, to see the alarm.
 * Ends with a table of executions and branches reached, and 1 when anything went wrong.
 */

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { BranchCounter, type BranchReport } from './coverage.ts'
import { fuzz } from './engine.ts'

const { values } = parseArgs({
  options: {
    target: { type: 'string' },
    count: { type: 'string' },
    short: { type: 'boolean', default: false },
    seed: { type: 'string', default: '1' },
    input: { type: 'string' },
    defect: { type: 'string' },
  },
})

/** The share of a parser's branches that must be reached. */
const REACHED_MIN = 0.95
/** Counting slows the parsers down: it is done for so many executions, the rest goes uncounted. */
const COUNTED = 200_000
const BOUNDARY_STEPS = 1e6

/** Steps of the boundary that are counted. */
const BOUNDARY_COUNTED = 100_000
const BOUNDARY_SOURCE = 'assembly/index.ts'

const row = (...cells: readonly (string | number)[]) =>
  cells
    .map((cell, index) => (index === 0 ? String(cell).padEnd(12) : String(cell).padStart(14)))
    .join('')

let failures = 0

/** All that a host can call. */
const source = readFileSync(new URL(`../../../${BOUNDARY_SOURCE}`, import.meta.url), 'utf8')
const exported = [...source.matchAll(/^export function (\w+)/gm)].map(([, name = '']) => name)
const BOUNDARY = { [BOUNDARY_SOURCE]: exported }

const shares = ({ reached, total }: BranchReport) => [
  `${reached}/${total}`,
  `${((100 * reached) / total).toFixed(1)} %`,
]

function judge({ reached, total, missed, unknown }: BranchReport): void {
  for (const branch of missed) console.log(`  not reached: ${branch}`)
  for (const name of unknown) console.log(`  not there: ${name}`)
  if (reached < REACHED_MIN * total || unknown.length > 0) failures += 1
}

// Parsers are loaded after counting has begun, or V8 would not count their first branches.
const counter = new BranchCounter()
const { makeTargets } = await import('./targets.ts')
const { fuzzBoundary } = await import('./core-targets.ts')
const targets = (await makeTargets(values.defect)).filter(
  ({ name }) => values.target === undefined || name === values.target,
)
const isBoundary = values.target === undefined || values.target === 'boundary'
if (targets.length === 0 && !isBoundary) throw new RangeError(`there is no target ${values.target}`)
const seed = Number(values.seed)

/** A failure is told, and the others go on. */
async function attempt(run: () => void | Promise<void>): Promise<void> {
  try {
    await run()
  } catch (error) {
    console.log(`FAILED ${(error as Error).message}`)
    failures += 1
  }
}

async function repeat(input: Buffer): Promise<void> {
  for (const target of targets) {
    await attempt(() => {
      target.run(input)
      console.log(`${target.name}: nothing happens`)
    })
  }
}

/** All are counted before any runs at full speed: V8 does not begin anew with what it has optimized. */
async function fuzzAll(): Promise<void> {
  console.log(row('parser', 'executions', 'seconds', 'slowest ms', 'branches', 'reached'))
  const finish: (() => void | Promise<void>)[] = []
  for (const target of targets) {
    await attempt(() => {
      const usual = values.short ? target.shortCount : target.longCount
      const count = values.count === undefined ? usual : Number(values.count)
      const counted = Math.min(count, COUNTED)
      const beganAt = performance.now()
      const first = fuzz(target, { seed, count: counted, isTimed: true })
      const tookMs = performance.now() - beganAt
      const report = counter.report(target.parser)
      finish.push(() => {
        const resumedAt = performance.now() - tookMs
        const rest = fuzz(target, { seed: seed + 1, count: count - counted, isTimed: true })
        const executions = first.executions + rest.executions
        const slowest = Math.max(first.slowestMs, rest.slowestMs).toFixed(2)
        console.log(row(target.name, executions, since(resumedAt), slowest, ...shares(report)))
        judge(report)
      })
    })
  }
  if (isBoundary) {
    await attempt(async () => {
      const steps = Number(values.count ?? (values.short ? 24_000 : BOUNDARY_STEPS))
      const counted = Math.min(steps, BOUNDARY_COUNTED)
      const beganAt = performance.now()
      // From here on only what the host calls is counted.
      counter.report(BOUNDARY)
      const calls = await fuzzBoundary(seed, counted)
      const tookMs = performance.now() - beganAt
      const report = counter.report(BOUNDARY)
      finish.push(async () => {
        const resumedAt = performance.now() - tookMs
        for (const [name, count] of await fuzzBoundary(seed + counted, steps - counted)) {
          calls.set(name, (calls.get(name) ?? 0) + count)
        }
        const sum = [...calls.values()].reduce((a, b) => a + b, 0)
        console.log(row('boundary', sum, since(resumedAt), '', ...shares(report)))
        console.log(`  ${calls.size} exports, the most seldom ${Math.min(...calls.values())} times`)
        judge(report)
      })
    })
  }
  counter.close()
  for (const run of finish) await attempt(run)
}

const since = (at: number) => ((performance.now() - at) / 1000).toFixed(1)

if (values.input === undefined) await fuzzAll()
else await repeat(Buffer.from(values.input, 'base64'))
process.exitCode = failures > 0 ? 1 : 0
