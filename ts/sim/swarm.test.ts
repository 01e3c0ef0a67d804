// slow: dozens of random lives
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FATES } from './event-log.ts'
import { SeededRandom } from './random.ts'
import { drawLinkParams, drawMagnitude, type Scenario, SWARM_RANGES } from './scenario.ts'
import { type StopAndWaitDefect, stopAndWaitHarness } from './stop-and-wait.ts'
import { swarmScenario } from './swarm.ts'
import { BytePattern } from './transfer.ts'

const scenario = swarmScenario(stopAndWaitHarness())

test('a transport without defects passes, however bad the network', () => {
  const seen = new Set<string>()
  for (let seed = 0; seed < 25; seed++) {
    const { counts, figures } = scenario.run(seed)
    for (const fate of FATES) if (counts[fate] > 0) seen.add(fate)
    assert.ok((figures['resumeProbeTimeouts'] ?? 9) <= 5)
  }
  for (const fate of [
    'lost',
    'duplicated',
    'corrupted',
    'held-back',
    'link-down',
    'bad-checksum',
  ]) {
    assert.ok(seen.has(fate), `${fate} never happened`)
  }
})

test('the same seed gives the same result, one flipped draw another hash', () => {
  const result = scenario.run(7)
  assert.equal(scenario.run(7), result)
  for (const draw of [0, 10, 40]) {
    for (const label of ['link client>server', 'link server>client', 'swarm', 'stream 3']) {
      assert.is.not(outcome(7, { label, draw }), result.hash, `${label}:${draw}`)
    }
  }
})

/** The hash, or what went wrong: one chunk per round trip may be too slow for a worse network. */
function outcome(seed: number, flip: { label: string; draw: number }): string {
  try {
    return scenario.run(seed, { flip }).hash
  } catch (error) {
    return (error as Error).message
  }
}

/** The first message of a failing seed among some. */
function findFailure(subject: Scenario, seeds: number): string | undefined {
  for (let seed = 0; seed < seeds; seed++) {
    try {
      subject.run(seed)
    } catch (error) {
      return (error as Error).message
    }
  }
  return undefined
}

const ALARMS: Record<StopAndWaitDefect, RegExp> = {
  'trusts-bytes': /wrong byte at offset|never opened|idle|time/,
  'takes-duplicates': /wrong byte at offset|bytes after the end/,
  'gives-up': /^(idle|time) at |nothing was delivered/,
}
for (const [defect, alarm] of Object.entries(ALARMS) as [StopAndWaitDefect, RegExp][]) {
  test(`finds a transport that ${defect.replace('-', ' ')}`, () => {
    const message = findFailure(swarmScenario(stopAndWaitHarness(defect)), 20)
    assert.match(message ?? 'no failure', alarm)
  })
}

test('parameters stay within their ranges and reach both ends', () => {
  const random = new SeededRandom(1)
  const all = Array.from({ length: 2_000 }, () => drawLinkParams(random, SWARM_RANGES))
  for (const name of [
    'lossRate',
    'duplicateRate',
    'corruptRate',
    'reorderRate',
    'delayMicros',
  ] as const) {
    const [low, high] = SWARM_RANGES[name]
    const values = all.map((params) => params[name])
    assert.ok(Math.min(...values) >= low && Math.max(...values) <= high)
    assert.ok(Math.max(...values) > 0.95 * high)
    assert.ok(Math.min(...values) < 0.05 * high)
  }
  const rates = all.map(({ rateBitsPerSecond }) => rateBitsPerSecond).filter(Number.isFinite)
  assert.ok(Math.min(...rates) >= 256_000 && Math.max(...rates) <= 1e9)
  const draws = new SeededRandom(1)
  drawLinkParams(draws, SWARM_RANGES)
  const perLink = draws.draws
  for (let count = 2; count < 100; count++) {
    drawLinkParams(draws, { ...SWARM_RANGES, lossRate: [0, 1] })
    assert.ok(Math.abs(draws.draws - count * perLink) < 2) // `pick` may reject a draw, very seldom.
  }
})

test('magnitudes spread over all doublings', () => {
  const random = new SeededRandom(1)
  const counts = new Map<number, number>()
  for (let count = 0; count < 4_000; count++) {
    const value = drawMagnitude(random, [1_000, 8_000])
    assert.ok(value >= 1_000 && value <= 8_000)
    const doubling = Math.floor(Math.log2(value / 1_000))
    counts.set(doubling, (counts.get(doubling) ?? 0) + 1)
  }
  assert.equal([...counts.keys()].sort(), [0, 1, 2, 3])
  assert.is(drawMagnitude(random, [5, 5]), 5)
})

test('a byte pattern is the same from any offset, and finds any difference', () => {
  const pattern = new BytePattern(99)
  const whole = new Uint8Array(400)
  pattern.fill(whole, 0)
  const random = new SeededRandom(1)
  for (let round = 0; round < 500; round++) {
    const offset = random.below(300)
    const part = new Uint8Array(random.below(100))
    pattern.fill(part, offset)
    assert.equal(part, whole.slice(offset, offset + part.length))
    assert.is(pattern.findDifference(part, offset), -1)
    if (part.length === 0) continue
    const index = random.below(part.length)
    part[index] = (part[index] as number) ^ (1 << random.below(8))
    assert.is(pattern.findDifference(part, offset), index)
  }
})

test.run()
