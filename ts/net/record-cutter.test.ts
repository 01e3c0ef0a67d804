import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RecordCutter } from './record-cutter.ts'

const HANDSHAKE = 22
const APPLICATION_DATA = 23

function record(payloadSize: number, type = APPLICATION_DATA): Buffer {
  const bytes = Buffer.alloc(5 + payloadSize, 0xff)
  bytes[0] = type
  bytes.writeUInt16BE(payloadSize, 3)
  return bytes
}

test('after two of data no piece has bytes of two records, whatever arrives together', () => {
  const sizes = fc.array(fc.oneof(fc.nat(20), fc.nat(16_640)), { minLength: 1, maxLength: 9 })
  const arrivals = fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 8 })
  const property = fc.property(sizes, arrivals, (payloads, turns) => {
    const bytes = Buffer.concat(payloads.map((size) => record(size)))
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
    for (const [index, size] of payloads.entries()) {
      boundary += 5 + size
      assert.ok(index === 0 || ends.has(boundary))
    }
  })
  fc.assert(property)
})

test('what has come of one record is one piece, but not before two records of data', () => {
  const cutter = new RecordCutter()
  const early = Buffer.concat([record(300, HANDSHAKE), record(1, 20), record(64), record(100)])
  const bytes = Buffer.concat([early, record(10), record(0), record(300)])
  let offset = 0
  const next = (end?: number) => {
    const size = cutter.cut(bytes.subarray(offset, end))
    offset += size
    return size
  }
  assert.is(next(), early.length)
  assert.is(next(early.length + 7), 7)
  assert.equal([next(), next(), next()], [8, 5, 305])
})

test.run()
