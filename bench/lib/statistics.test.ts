import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { median, quantile, spread } from './statistics.ts'

test('finds the middle of an odd and of an even number of values, in any order', () => {
  assert.is(median([3, 1, 2]), 2)
  assert.is(median([4, 1, 3, 2]), 2.5)
  assert.is(median([7]), 7)
  assert.ok(Number.isNaN(median([])))
})

test('orders numbers as numbers', () => {
  assert.is(median([10, 9, 100]), 10)
  assert.is(quantile([10, 9, 100], 0), 9)
})

test('answers quantiles that are values', () => {
  const values = Float64Array.from({ length: 100 }, (_, i) => 100 - i)
  assert.is(quantile(values, 0.5), 51)
  assert.is(quantile(values, 0.99), 100)
  assert.is(quantile(values, 1), 100)
  assert.is(values[0], 100, 'leaves its input alone')
  assert.ok(Number.isNaN(quantile([], 0.5)))
})

test('tells the spread beside the median', () => {
  const { samples, ...figures } = spread([5, 1, 3])
  assert.equal(figures, { median: 3, min: 1, max: 5 })
  assert.equal(samples, [5, 1, 3])
})

test.run()
