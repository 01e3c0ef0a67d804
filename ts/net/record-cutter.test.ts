import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RecordCutter } from './record-cutter.ts'

function record(payloadSize: number): Buffer {
  const bytes = Buffer.alloc(5 + payloadSize, 0xff)
  bytes.writeUInt16BE(payloadSize, 3)
  return bytes
}

test('no piece has bytes of two records, whatever arrives together', () => {
  const sizes = fc.array(fc.oneof(fc.nat(20), fc.nat(16_640)), { minLength: 1, maxLength: 9 })
  const arrivals = fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 8 })
  const property = fc.property(sizes, arrivals, (payloads, turns) => {
    const bytes = Buffer.concat(payloads.map(record))
    const cutter = new RecordCutter()
    const ends = new Set<number>()
    let position = 0
    for (let turn = 0; position < bytes.length; turn += 1) {
      const end = Math.min(position + (turns[turn % turns.length] ?? 1), bytes.length)
      while (position < end) {
        const size = cutter.cut(bytes.subarray(position, end))
        assert.ok(size >= 1 && size <= end - position)
        position += size
        ends.add(position)
      }
    }
    let boundary = 0
    for (const size of payloads) {
      boundary += 5 + size
      assert.ok(ends.has(boundary))
    }
  })
  fc.assert(property)
})

test('what has come of one record is one piece', () => {
  const cutter = new RecordCutter()
  const bytes = Buffer.concat([record(10), record(0), record(300)])
  assert.is(cutter.cut(bytes.subarray(0, 7)), 7)
  assert.is(cutter.cut(bytes.subarray(7)), 8)
  assert.is(cutter.cut(bytes.subarray(15)), 5)
  assert.is(cutter.cut(bytes.subarray(20)), 305)
})

test.run()
