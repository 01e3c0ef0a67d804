/**
 * The compiled core and its source run as plain TypeScript are one: the same calls give the same
 * answers and leave the same memory, whatever the calls are. PUNCHLINE_LONG=1 takes many seeds,
 * PUNCHLINE_SEED=N one.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from '../ts/sim/random.ts'
import { builtCores } from './build/test-builds.ts'
import { COUNTERS, PARAMS } from './core.ts'
import { type TestBuild, testCore } from './testing/cores.ts'
import { Difference, Lockstep } from './testing/lockstep.ts'
import { constant, constantNames } from './testing/names.ts'
import { RandomCalls } from './testing/random-calls.ts'

const STEPS = 10_000
/** Comparing memories seldom is what makes ten thousand steps quick. */
const COMPARE_EVERY = 100
const ONE_SEED = process.env['PUNCHLINE_SEED']
const SEED_COUNT = process.env['PUNCHLINE_LONG'] === '1' ? 300 : 11
const SEEDS =
  ONE_SEED === undefined
    ? Array.from({ length: SEED_COUNT }, (_, index) => index + 1)
    : [Number(ONE_SEED)]

/** Builds with assertions fill free memory: their images equal each other only. */
const GROUPS: readonly (readonly TestBuild[])[] = [
  ['typescript', 'simd', 'plain'],
  ['typescript-debug', 'simd-debug', 'plain-debug'],
]
/** The control plane takes strings, the runtime's own functions belong to it. */
const NOT_SHARED = /^(core(Version|Features)|controlReset|__\w+|memory|CRC_\w+)$/

interface Run {
  readonly calls: Lockstep['calls']
  readonly counters: readonly number[]
}

/** What went wrong, and how many steps were fine for certain. */
class Failure extends Error {
  readonly comparedSteps: number

  constructor(message: string, comparedSteps: number, cause: unknown) {
    super(message, { cause })
    this.comparedSteps = comparedSteps
  }
}

/** Runs a seed; after `exactFrom` steps, memories are compared after each of them. */
async function run(builds: readonly TestBuild[], seed: number, exactFrom = STEPS): Promise<Run> {
  const lockstep = new Lockstep(await Promise.all(builds.map((build) => testCore(build))))
  const host = new RandomCalls(lockstep, new SeededRandom(seed))
  let comparedSteps = 0
  for (let step = 0; step <= STEPS; step += 1) {
    try {
      if (step < STEPS) host.step()
      else host.finish()
      if (step >= exactFrom || step % COMPARE_EVERY === COMPARE_EVERY - 1) {
        lockstep.compareMemories()
        comparedSteps = step + 1
      }
    } catch (error) {
      const message = `seed ${seed}, step ${step}: ${(error as Error).message}`
      throw new Failure(message, comparedSteps, error)
    }
  }
  return { calls: lockstep.calls, counters: host.counters }
}

/** As `run`, but names the very step after which anything differs. */
async function runExactly(builds: readonly TestBuild[], seed: number): Promise<Run> {
  try {
    return await run(builds, seed)
  } catch (error) {
    if (!(error instanceof Failure) || !(error.cause instanceof Difference)) throw error
    await run(builds, seed, error.comparedSteps)
    throw error
  }
}

for (const builds of GROUPS) {
  const runs: Run[] = []

  for (const seed of SEEDS) {
    test(`${builds.join(', ')}: ${STEPS} random steps are the same (seed ${seed})`, async () => {
      runs.push(await runExactly(builds, seed))
    })
  }

  // What is not reached is not proven.
  test(`${builds.join(', ')}: the steps reach every export and every counter`, () => {
    assert.is(runs.length, SEEDS.length)
    const sum = (name: string, field: 'count' | 'trapped') =>
      runs.reduce((total, { calls }) => total + (calls.get(name)?.[field] ?? 0), 0)
    const module = new WebAssembly.Module(builtCores()[0]?.bytes ?? new Uint8Array())
    const names = WebAssembly.Module.exports(module).map(({ name }) => name)
    const shared = names.filter((name) => !NOT_SHARED.test(name))
    assert.equal(
      shared.filter((name) => sum(name, 'count') < 3 * SEEDS.length),
      [],
      'exports that are hardly called',
    )
    // Only the checksum takes addresses from the host, so it alone can be led out of bounds.
    assert.equal(
      shared.filter((name) => sum(name, 'trapped') > 0 && !/^crc32c/.test(name)),
      [],
      'exports that trapped',
    )
    const counters = constantNames('layout.ts', /^COUNT_/)
    assert.is(counters.size, COUNTERS)
    if (SEEDS.length === 1) return
    const silent = [...counters].filter(([index]) =>
      runs.every((each) => each.counters[index] === 0),
    )
    assert.equal(silent, [], 'counters that never counted')
  })
}

test('a single bit that differs is found and named', async () => {
  const lockstep = new Lockstep([await testCore('typescript'), await testCore('plain')])
  const host = new RandomCalls(lockstep, new SeededRandom(1))
  const [one, other] = lockstep.cores
  assert.ok(one && other)
  const lastStream = () => lockstep.lastArguments('streamCommit')[0] ?? 0
  while (one.exports.streamNumber(lastStream()) === -1) host.step()
  lockstep.call('streamNumber', lastStream())
  lockstep.compareMemories()
  const handle = lastStream()
  const field = (name: string) => handle + constant('stream.ts', name)
  for (const [address, name] of [
    [PARAMS + 8, /PARAMS\+8\)/],
    [field('ST_WRITTEN'), /stream 0x\w+ \(number \d+\)\.ST_WRITTEN\)/],
    [field('ST_LOST_RANGES') + 4, /\.ST_LOST_RANGES\+4\)/],
  ] as const) {
    other.u8[address] = (other.u8[address] as number) ^ 4
    assert.throws(() => lockstep.compareMemories(), name)
    other.u8[address] = (other.u8[address] as number) ^ 4
    lockstep.compareMemories()
  }
  // One answer that differs is found, too.
  other.i32[handle >> 2] = 0
  assert.throws(() => lockstep.call('streamNumber', handle), /typescript answers .*, plain -1/)
})

test.run()
