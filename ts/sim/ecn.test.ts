/** Marks of congestion instead of losses, and ways that take marks away or swallow what is marked. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Bulk } from './bulk.ts'
import type { LinkParams } from './link.ts'

const RATE = 20e6
const LINK = { rateBitsPerSecond: RATE, delayMicros: 20_000, queueBytes: 100_000 }

/** Shares and drops are those after slow start, the rest is of all. */
function run(link: Partial<LinkParams>, options: { hasEcn: boolean; congestion: 'bbr' | 'cubic' }) {
  const bulk = new Bulk({ link: { ...LINK, ...link }, back: LINK, ...options })
  bulk.runUntil(2)
  const { forward } = bulk.pair
  const before = bulk.receivedBytes
  const droppedBefore = forward.count('queue-full')
  bulk.runUntil(7)
  const result = {
    share: ((bulk.receivedBytes - before) * 8) / 5 / RATE,
    marked: forward.markedCount,
    dropped: forward.count('queue-full') - droppedBefore,
    filtered: forward.count('filtered'),
    lost: bulk.sender.counters().packetsLost,
  }
  bulk.close()
  return result
}

test('a queue that marks does not have to drop', () => {
  const congestion = 'cubic'
  const link = { markBytes: 50_000 }
  const without = run(link, { congestion, hasEcn: false })
  const marked = run(link, { congestion, hasEcn: true })
  assert.is(without.marked, 0)
  assert.ok(without.dropped > 0)
  assert.ok(marked.marked > 0)
  assert.is(marked.dropped, 0)
  assert.ok(marked.share > 0.9, `${marked.share} of the rate`)
})

test('bbr heeds many marks', () => {
  const congestion = 'bbr'
  // More than a flow has waiting for long, less than two path volumes.
  const link = { markBytes: 20_000 }
  const heeded = run(link, { congestion, hasEcn: true })
  const cleared = run({ ...link, marks: 'cleared' }, { congestion, hasEcn: true })
  assert.ok(heeded.marked > 0)
  assert.is(cleared.marked, 0)
  assert.ok(heeded.share > 0.85, `${heeded.share} of the rate`)
})

for (const congestion of ['bbr', 'cubic'] as const) {
  test(`${congestion}: who loses its marks on the way goes on without`, () => {
    const { share, marked } = run({ marks: 'cleared', markBytes: 0 }, { congestion, hasEcn: true })
    assert.ok(share > 0.85, `${share} of the rate`)
    assert.is(marked, 0)
  })

  test(`${congestion}: marked packets that are swallowed are sent again without marks`, () => {
    const { share, filtered } = run({ marks: 'dropped' }, { congestion, hasEcn: true })
    assert.ok(filtered > 0)
    assert.ok(filtered < 40, `${filtered} packets swallowed`)
    assert.ok(share > 0.85, `${share} of the rate`)
  })
}

test.run()
