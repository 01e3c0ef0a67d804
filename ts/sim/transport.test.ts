// slow: two hundred seeds
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { swarmScenario } from './swarm.ts'
import { transportHarness } from './transport-harness.ts'

const CLI = fileURLToPath(new URL('./cli.ts', import.meta.url))
const SEED_COUNT = process.env['PUNCHLINE_LONG'] === '1' ? 5_000 : 200
/** Of real time, for all seeds: a bound, not a measure. */
const LIMIT_MS = SEED_COUNT * 700

const scenario = swarmScenario(transportHarness())
const plain = swarmScenario(transportHarness({ security: { mode: 'none' } }))

for (const { name } of [scenario, plain]) {
  test(`${name}, ${SEED_COUNT} bad networks: every byte once, in order, and delivery resumes after healing`, () => {
    checkSeeds(name)
  })
}

function checkSeeds(name: string): void {
  const args = ['--import', 'tsx', CLI, '--scenario', name, '--seeds', `${SEED_COUNT}`]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: LIMIT_MS,
  })
  assert.is(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, new RegExp(`${SEED_COUNT} seeds, 0 failed; ${SEED_COUNT / 100} run twice`))
  // A swarm that meets no trouble proves nothing: each kind of fault struck many of the seeds.
  for (const fate of ['lost', 'lost-in-burst', 'duplicated', 'held-back', 'link-down']) {
    assert.ok(seedShare(stdout, fate) >= 50, `${fate}: ${seedShare(stdout, fate)} % of seeds`)
  }
  for (const fate of ['corrupted', 'bad-checksum', 'queue-full']) {
    assert.ok(seedShare(stdout, fate) >= 5, `${fate}: ${seedShare(stdout, fate)} % of seeds`)
  }
}

function seedShare(report: string, fate: string): number {
  return Number(new RegExp(`^${fate} +\\d+ +(\\d+) %$`, 'm').exec(report)?.[1])
}

test('the same seed gives the same event-log hash, one flipped draw another', () => {
  for (const seed of [3, 11]) {
    const { hash } = scenario.run(seed)
    assert.is(scenario.run(seed).hash, hash)
    for (const label of ['link client>server', 'link server>client', 'swarm', 'host client']) {
      for (const draw of [0, 1]) {
        assert.is.not(outcome(seed, { label, draw }), hash, `seed ${seed}, ${label}:${draw}`)
      }
    }
  }
})

/** The hash, or why there is none: another draw is another network, which may be a worse one. */
function outcome(seed: number, flip: { label: string; draw: number }): string {
  try {
    return scenario.run(seed, { flip }).hash
  } catch (error) {
    return (error as Error).message
  }
}

test.run()
