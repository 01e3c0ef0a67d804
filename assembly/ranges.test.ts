import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { usePlainMemory } from '../bindings/plain.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import { INSTANCE } from './layout.ts'
import { OWNER_QUOTA, OWNER_USED, pagesInit } from './pages.ts'
import { fill, r32, rf64, w32 } from './prelude.ts'
import {
  RANGE_END,
  RANGE_NEXT,
  RANGE_PREVIOUS,
  RANGE_START,
  RANGES_COUNT,
  RANGES_HEAD,
  RANGES_SIZE,
  RANGES_TAIL,
  rangesAdd,
  rangesClear,
  rangesContain,
  rangesDropHead,
  rangesMissing,
  rangesNextHeld,
  rangesNextMissing,
  rangesRemove,
} from './ranges.ts'

const MEMORY_BYTES = 4 * 1024 * 1024
const OWNER = INSTANCE + 2048
const SET = OWNER + 64
const NODE_BYTES = 32

const memory = new ArrayBuffer(MEMORY_BYTES)

function setUp(quotaBytes = MEMORY_BYTES): void {
  usePlainMemory(memory, { hasAssertions: true })
  pagesInit(MEMORY_BYTES)
  fill(OWNER, 64)
  fill(SET, RANGES_SIZE)
  w32(OWNER + OWNER_QUOTA, quotaBytes)
}

/** The intervals, after checking everything the list promises about itself. */
function intervals(): [number, number][] {
  const found: [number, number][] = []
  let previous = 0
  for (let node = r32(SET + RANGES_HEAD); node !== 0; node = r32(node + RANGE_NEXT)) {
    const start = rf64(node + RANGE_START)
    const end = rf64(node + RANGE_END)
    assert.ok(start < end, 'an empty interval')
    const last = found.at(-1)
    if (last !== undefined) assert.ok(last[1] < start, 'intervals that touch or overlap')
    assert.is(r32(node + RANGE_PREVIOUS), previous)
    found.push([start, end])
    previous = node
  }
  assert.is(r32(SET + RANGES_TAIL), previous)
  assert.is(r32(SET + RANGES_COUNT), found.length)
  assert.is(r32(OWNER + OWNER_USED), found.length * NODE_BYTES)
  return found
}

const SPAN = 160

/** The model: one flag per number. */
class Model {
  readonly holds: boolean[] = new Array(SPAN + 1).fill(false)

  intervals(base: number): [number, number][] {
    const found: [number, number][] = []
    for (let at = 0; at < SPAN; at += 1) {
      if (!this.holds[at]) continue
      const start = at
      while (this.holds[at]) at += 1
      found.push([base + start, base + at])
    }
    return found
  }
}

for (const base of [0, 2 ** 31 - 80, 2 ** 53 - 1 - SPAN]) {
  test(`equals a set of numbers from ${base} on`, () => {
    setUp()
    const model = new Model()
    const random = new SeededRandom(base)
    for (let step = 0; step < 20_000; step += 1) {
      const start = random.below(SPAN)
      const end = Math.min(SPAN, start + 1 + random.below(random.chance(0.1) ? SPAN : 6))
      const kind = random.below(10)
      if (kind < 5) {
        assert.ok(rangesAdd(OWNER, SET, base + start, base + end))
        model.holds.fill(true, start, end)
      } else if (kind < 9) {
        assert.ok(rangesRemove(OWNER, SET, base + start, base + end))
        model.holds.fill(false, start, end)
      } else if (r32(SET + RANGES_HEAD) !== 0) {
        const [first] = model.intervals(0)
        if (first !== undefined) model.holds.fill(false, first[0], first[1])
        rangesDropHead(OWNER, SET)
      }
      assert.equal(intervals(), model.intervals(base), `step ${step}`)
      const value = random.below(SPAN)
      assert.is(Boolean(rangesContain(SET, base + value)), model.holds[value])
      assert.is(
        rangesMissing(SET, base + start, base + end),
        model.holds.slice(start, end).filter((isHeld) => !isHeld).length,
      )
      let missing = value
      while (model.holds[missing]) missing += 1
      assert.is(rangesNextMissing(SET, base + value), base + missing)
      let held = missing
      while (held < SPAN && !model.holds[held]) held += 1
      assert.is(rangesNextHeld(SET, base + missing, base + SPAN), base + held)
    }
    rangesClear(OWNER, SET)
    assert.equal(intervals(), [])
  })
}

test('an interval without numbers leaves the set as it is', () => {
  setUp()
  for (const [start, end] of [
    [5, 5],
    [9, 3],
  ] as const) {
    assert.ok(rangesAdd(OWNER, SET, start, end))
    assert.ok(rangesRemove(OWNER, SET, start, end))
    assert.equal(intervals(), [])
  }
  rangesAdd(OWNER, SET, 3, 8)
  for (const at of [2, 3, 5, 8, 9]) assert.ok(rangesAdd(OWNER, SET, at, at))
  for (const at of [2, 3, 5, 8, 9]) assert.ok(rangesRemove(OWNER, SET, at, at))
  assert.equal(intervals(), [[3, 8]])
})

test('without memory nothing is added, and what cannot be taken out stays in', () => {
  const QUOTA_NODES = 5
  setUp(QUOTA_NODES * NODE_BYTES)
  const model = new Model()
  const random = new SeededRandom(9)
  let refusedAdds = 0
  let refusedRemovals = 0
  for (let step = 0; step < 20_000; step += 1) {
    const start = random.below(SPAN)
    const end = Math.min(SPAN, start + 1 + random.below(8))
    const before = model.intervals(0)
    if (random.chance(0.6)) {
      if (rangesAdd(OWNER, SET, start, end)) model.holds.fill(true, start, end)
      else {
        refusedAdds += 1
        assert.is(before.length, QUOTA_NODES)
      }
    } else if (rangesRemove(OWNER, SET, start, end)) model.holds.fill(false, start, end)
    else {
      // Only splitting one interval needs memory; it stays whole then.
      refusedRemovals += 1
      assert.is(before.length, QUOTA_NODES)
      assert.ok(before.some(([from, to]) => from < start && to > end))
    }
    assert.equal(intervals(), model.intervals(0), `step ${step}`)
  }
  assert.ok(refusedAdds > 100 && refusedRemovals > 10, `${refusedAdds}, ${refusedRemovals}`)
})

test.run()
