import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { usePlainMemory } from '../bindings/plain.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import { RX_ARENA, TX_ARENA } from './layout.ts'
import { fill } from './prelude.ts'
import {
  TIMER_DUE,
  TIMER_SIZE,
  timerClear,
  timerIsSet,
  timerSet,
  WHEEL_SIZE,
  wheelInit,
  wheelNext,
  wheelPop,
} from './wheel.ts'

const memory = new ArrayBuffer(4 * 1024 * 1024)
const view = new DataView(memory)
const WHEEL = RX_ARENA
const TIMERS = TX_ARENA
const timerAt = (index: number) => TIMERS + index * TIMER_SIZE

function setUp(now: number, timers: number): void {
  usePlainMemory(memory, { hasAssertions: true })
  wheelInit(WHEEL, now)
  fill(TIMERS, timers * TIMER_SIZE)
  assert.ok(WHEEL + WHEEL_SIZE < TIMERS)
}

const MS = 1000
const SECOND = 1000 * MS
const HOUR = 3600 * SECOND

/** How far ahead timers are set: within a slot, and on both sides of every level's end. */
const SPANS = [0, 1, 500, MS, 63 * MS, 64 * MS, 65 * MS, 4095 * MS, 4096 * MS, 4097 * MS]
const FAR_SPANS = [262_143 * MS, 262_144 * MS, HOUR, 16_777_215 * MS, 16_777_217 * MS, 30 * HOUR]

interface Case {
  readonly name: string
  readonly start: number
  readonly spans: readonly number[]
  readonly stepMax: number
  /** Also due times and moments that are not whole microseconds. */
  readonly isFractional?: boolean
}

const CASES: readonly Case[] = [
  { name: 'short timers and steps', start: 0, spans: SPANS, stepMax: 3 * MS },
  { name: 'short timers, long steps', start: 12_345_678, spans: SPANS, stepMax: 10 * SECOND },
  {
    name: 'far timers, steps of minutes',
    start: 987_654_321_012,
    spans: [...SPANS, ...FAR_SPANS],
    stepMax: 600 * SECOND,
  },
  {
    name: 'far timers, jumps of hours',
    start: 16_777_216 * MS - 3 * SECOND,
    spans: [...SPANS, ...FAR_SPANS],
    stepMax: 9 * HOUR,
  },
  {
    name: 'moments between microseconds',
    start: 4096 * MS - 0.5,
    spans: SPANS,
    stepMax: 5000.75,
    isFractional: true,
  },
]

for (const { name, start, spans, stepMax, isFractional } of CASES) {
  test(`equals a sorted list: ${name}`, () => {
    const COUNT = 60
    const random = new SeededRandom(Math.floor(start % 1e6) + Math.floor(stepMax))
    setUp(start, COUNT)
    let now = start
    const due = new Map<number, number>()
    const popDue = () => {
      for (;;) {
        const timer = wheelPop(WHEEL, now)
        if (timer === 0) break
        const index = (timer - TIMERS) / TIMER_SIZE
        const time = due.get(index)
        assert.ok(time !== undefined, 'a timer that was not set')
        assert.ok(time <= now, `${time - now} µs early`)
        assert.is(view.getFloat64(timer + TIMER_DUE, true), time)
        assert.not.ok(timerIsSet(timer))
        due.delete(index)
      }
      for (const [index, time] of due) {
        assert.ok(time > now, `timer ${index} is ${now - time} µs late`)
        assert.ok(timerIsSet(timerAt(index)))
      }
    }
    for (let step = 0; step < 6_000; step += 1) {
      const index = random.below(COUNT)
      const kind = random.below(10)
      if (kind < 5) {
        const span = random.pick(spans) + (random.chance(0.5) ? random.below(2 * MS) : 0)
        // Now and then in the past: such a timer is due at once.
        const time = now + (random.chance(0.03) ? -span : span) + (isFractional ? 0.3 : 0)
        timerSet(WHEEL, timerAt(index), time)
        due.set(index, time)
      } else if (kind < 7) {
        timerClear(WHEEL, timerAt(index))
        due.delete(index)
      } else {
        const next = wheelNext(WHEEL)
        // As drivers do: to the moment that was asked for, or to any other.
        if (random.chance(0.5) && next !== Number.POSITIVE_INFINITY) now = Math.max(now, next)
        else now += random.fraction() * stepMax
        if (!isFractional) now = Math.ceil(now)
        popDue()
      }
      const earliest = Math.min(...due.values())
      assert.ok(wheelNext(WHEEL) <= earliest, `step ${step}: next is later than the earliest`)
      assert.is(wheelNext(WHEEL) === Number.POSITIVE_INFINITY, due.size === 0)
    }
    now += 40 * HOUR
    popDue()
    assert.is(due.size, 0)
  })
}

test('a driver that only sleeps until `wheelNext` wakes seldom, and at the exact time', () => {
  for (const span of [...SPANS, ...FAR_SPANS]) {
    setUp(5_555, 1)
    timerSet(WHEEL, timerAt(0), 5_555 + span)
    let now = 5_555
    let wakes = 0
    while (wheelPop(WHEEL, now) === 0) {
      now = wheelNext(WHEEL)
      wakes += 1
      assert.ok(now <= 5_555 + span)
    }
    assert.is(now, 5_555 + span)
    // One sorting for each level that the timer falls through, and each round beyond the last.
    assert.ok(wakes <= 10, `${wakes} wakes for ${span} µs`)
  }
})

test('time that stands still or goes back makes nothing ring early and loses nothing', () => {
  setUp(100 * SECOND, 2)
  timerSet(WHEEL, timerAt(0), 101 * SECOND)
  assert.is(wheelPop(WHEEL, 100 * SECOND), 0)
  assert.is(wheelPop(WHEEL, 99 * SECOND), 0)
  timerSet(WHEEL, timerAt(1), 98 * SECOND)
  assert.is(wheelPop(WHEEL, 99 * SECOND), timerAt(1))
  assert.is(wheelPop(WHEEL, 101 * SECOND), timerAt(0))
  assert.is(wheelNext(WHEEL), Number.POSITIVE_INFINITY)
})

test('ten thousand timers cost what ten cost', () => {
  const COUNT = 10_000
  setUp(0, COUNT)
  const random = new SeededRandom(3)
  for (let index = 0; index < COUNT; index += 1) {
    timerSet(WHEEL, timerAt(index), random.below(20 * SECOND))
  }
  let rung = 0
  for (let now = 0; now <= 20 * SECOND; now += 7 * MS) {
    for (let timer = wheelPop(WHEEL, now); timer !== 0; timer = wheelPop(WHEEL, now)) rung += 1
  }
  assert.is(rung, COUNT)
})

test.run()
