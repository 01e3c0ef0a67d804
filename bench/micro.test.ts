import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type Contender, MICRO_TINY, measure, ratio, summarise } from './lib/micro-harness.ts'
import { runMicro } from './micro.ts'

test('every contender gives the right result, and every question an answer', async () => {
  const groups = await runMicro(MICRO_TINY)
  const titles = groups.map(({ title }) => title)
  for (const size of [64, 256, 1400]) {
    for (const part of ['CRC32C', 'framing: encode', 'framing: decode']) {
      assert.ok(titles.includes(`${part}, ${size} B`))
    }
  }
  assert.ok(titles.includes('ChaCha20-Poly1305: seal and open, 1200 B'))
  for (const { results } of groups) {
    assert.ok(results.length >= 2)
    for (const result of results) {
      assert.is(result.rounds, MICRO_TINY.rounds)
      assert.ok(result.minNs > 0 && result.minNs <= result.medianNs)
      assert.ok(result.meanNs > 0 && result.samples > 0)
    }
  }
})

test('figures are per operation, and a ratio is one of medians', () => {
  const one = summarise({ name: 'one' }, [40, 10, 30, 20, 50])
  assert.equal(one, { name: 'one', medianNs: 30, minNs: 10, quartilesNs: [20, 40], rounds: 5 })
  const batch = summarise({ name: 'batch', operations: 10 }, [100, 300, 200])
  assert.equal([batch.medianNs, batch.minNs], [20, 10])
  assert.is(ratio(one, batch), 1.5)
})

test('rounds are interleaved and their start rotates', () => {
  const turns: string[] = []
  const contender = (name: string): Contender => ({
    name,
    run(times) {
      turns.push(name)
      let sum = 0
      for (let count = 0; count < times * 1000; count += 1) sum += Math.sqrt(count)
      return sum
    },
  })
  measure([contender('a'), contender('b')], { ...MICRO_TINY, rounds: 4 })
  assert.is(turns.slice(-8).join(''), 'abbaabba')
})

test.run()
