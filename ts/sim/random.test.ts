import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SeededRandom } from './random.ts'

const MANY = 200_000
/** What the authors' version 1.1 in C draws. */
const XOSHIRO_1234 = [
  11_520, 0, 5_927_040, 70_819_200, 2_031_721_883, 1_637_235_492, 1_287_239_034, 3_734_860_849,
  3_729_100_597, 4_258_142_804,
]
/** The first words of five seeds: a change of these changes every recorded run. */
const PINNED = [2_065_186_152, 3_286_789_664, 2_120_082_958, 3_511_408_343, 3_779_301_744]

function mean(draw: () => number): number {
  let sum = 0
  for (let count = 0; count < MANY; count++) sum += draw()
  return sum / MANY
}

function near(actual: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not near ${expected}`)
}

test('draws what xoshiro128** draws from the state 1, 2, 3, 4', () => {
  const random = SeededRandom.fromState(1, 2, 3, 4)
  const drawn = Array.from({ length: 10 }, () => random.u32())
  assert.equal(drawn, XOSHIRO_1234)
})

test('draws the same from the same seed, on every machine', () => {
  const random = new SeededRandom(2 ** 40 + 7)
  const again = new SeededRandom(2 ** 40 + 7)
  for (let count = 0; count < 1000; count++) assert.is(random.u32(), again.u32())
  const first = [0, 1, 2, 2 ** 32, 2 ** 53 - 1].map((seed) => new SeededRandom(seed).u32())
  assert.equal(first, PINNED)
})

test('seeds that differ in one bit draw differently from the first word on', () => {
  const seen = new Set<number>()
  for (let seed = 0; seed < 1000; seed++) seen.add(new SeededRandom(seed).u32())
  for (let bit = 10; bit < 53; bit++) seen.add(new SeededRandom(2 ** bit).u32())
  assert.is(seen.size, 1043)
})

test('refuses seeds that are no safe integers', () => {
  for (const seed of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => new SeededRandom(seed), RangeError)
  }
})

test('a fork depends on seed and label, not on what was drawn', () => {
  const parent = new SeededRandom(5)
  const before = parent.fork('link')
  parent.u32()
  const after = parent.fork('link')
  assert.is(before.u32(), after.u32())
  assert.is.not(parent.fork('link').u32(), parent.fork('knil').u32())
  assert.is.not(parent.fork('link').u32(), new SeededRandom(6).fork('link').u32())
  assert.is.not(parent.fork('').u32(), new SeededRandom(5).u32())
})

test('below is uniform and stays below', () => {
  const random = new SeededRandom(1)
  const counts = new Array<number>(7).fill(0)
  for (let count = 0; count < MANY; count++) {
    const drawn = random.below(7)
    counts[drawn] = (counts[drawn] as number) + 1
  }
  for (const count of counts) near(count / MANY, 1 / 7, 0.003)
  assert.is(random.below(1), 0)
  assert.ok(random.below(2 ** 32) >= 0)
  for (const count of [0, -1, 2 ** 33, Number.NaN]) assert.throws(() => random.below(count))
  // A count of three quarters of 2^32 would lead its first third without rejection.
  near(
    mean(() => (random.below(3 * 2 ** 30) < 2 ** 30 ? 1 : 0)),
    1 / 3,
    0.004,
  )
})

test('between reaches both ends', () => {
  const random = new SeededRandom(2)
  const seen = new Set<number>()
  for (let count = 0; count < 100; count++) seen.add(random.between(-1, 1))
  assert.equal([...seen].sort(), [-1, 0, 1])
})

test('chance has the probability asked for; 0 and 1 are exact and draw nothing', () => {
  const random = new SeededRandom(3)
  near(
    mean(() => (random.chance(0.3) ? 1 : 0)),
    0.3,
    0.004,
  )
  near(
    mean(() => (random.chance(0.001) ? 1 : 0)),
    0.001,
    0.0003,
  )
  const { draws } = random
  assert.not.ok(random.chance(0))
  assert.ok(random.chance(1))
  assert.is(random.draws, draws)
})

test('exponential waiting times have their mean and their tail', () => {
  const random = new SeededRandom(4)
  near(
    mean(() => random.exponential(10)),
    10,
    0.1,
  )
  near(
    mean(() => (random.exponential(1) > 1 ? 1 : 0)),
    0.36788,
    0.005,
  )
  near(
    mean(() => (random.exponential(1) > 3 ? 1 : 0)),
    0.04979,
    0.002,
  )
  near(
    mean(() => random.exponential(1) ** 2),
    2,
    0.05,
  )
})

test('bell and pareto keep to their bounds and means', () => {
  const random = new SeededRandom(5)
  near(
    mean(() => random.bell(10)),
    10,
    0.05,
  )
  near(
    mean(() => (Math.abs(random.bell(10) - 10) < 5 ? 1 : 0)),
    11 / 12,
    0.005,
  )
  near(
    mean(() => random.pareto(10)),
    20,
    0.5,
  )
  near(
    mean(() => (random.pareto(1) > 10 ? 1 : 0)),
    0.01,
    0.001,
  )
  for (let count = 0; count < 1000; count++) {
    const bell = random.bell(1)
    assert.ok(bell >= 0 && bell < 2)
    const pareto = random.pareto(1)
    assert.ok(pareto >= 1 && pareto <= 65_536)
  }
})

test('fill writes all of every length and draws one word per four bytes', () => {
  for (let size = 0; size < 20; size++) {
    const random = new SeededRandom(6)
    const bytes = new Uint8Array(size + 2)
    random.fill(bytes.subarray(1, size + 1))
    assert.is(random.draws, Math.ceil(size / 4))
    assert.is(bytes[0], 0)
    assert.is(bytes[size + 1], 0)
  }
  const bytes = new Uint8Array(4096)
  new SeededRandom(7).fill(bytes)
  assert.is(new Set(bytes).size, 256)
})

test('a flipped draw is inverted, the ones after it are not, and the digest tells', () => {
  const plain = new SeededRandom(8)
  const flipped = new SeededRandom(8)
  flipped.flipDraw(3)
  for (let index = 0; index < 10; index++) {
    const expected = plain.u32()
    assert.is(flipped.u32(), index === 3 ? ~expected >>> 0 : expected)
    assert.is(flipped.digest === plain.digest, index < 3)
  }
})

test.run()
