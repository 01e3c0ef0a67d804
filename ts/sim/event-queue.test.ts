import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EventQueue } from './event-queue.ts'
import { SeededRandom } from './random.ts'

test('takes events in order of time, and of push when times are equal', () => {
  const queue = new EventQueue(1)
  for (const [payload, time] of [5, 3, 5, 3, 1, 5].entries()) queue.push(time, payload)
  const taken: [number, number][] = []
  while (queue.pop()) taken.push([queue.time, queue.payload])
  assert.equal(taken, [
    [1, 4],
    [3, 1],
    [3, 3],
    [5, 0],
    [5, 2],
    [5, 5],
  ])
})

test('agrees with a sorted list over random pushes and pops', () => {
  const random = new SeededRandom(1)
  const queue = new EventQueue(4)
  let expected: { time: number; sequence: number; payload: number }[] = []
  let now = 0
  for (let step = 0; step < 20_000; step++) {
    if (random.below(5) < 3) {
      const time = now + random.below(50)
      const payload = random.u32() | 0
      expected.push({ time, sequence: queue.push(time, payload), payload })
    } else {
      expected.sort((a, b) => a.time - b.time || a.sequence - b.sequence)
      const [next, ...rest] = expected
      assert.is(queue.peekTime(), next?.time ?? Number.POSITIVE_INFINITY)
      assert.is(queue.pop(), next !== undefined)
      if (next === undefined) continue
      expected = rest
      now = queue.time
      const { time, sequence, payload } = queue
      assert.equal({ time, sequence, payload }, next)
    }
    assert.is(queue.size, expected.length)
  }
})

test('an empty queue answers no event and no time', () => {
  const queue = new EventQueue()
  assert.not.ok(queue.pop())
  assert.is(queue.peekTime(), Number.POSITIVE_INFINITY)
})

test.run()
