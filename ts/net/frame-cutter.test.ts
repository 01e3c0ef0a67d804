import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FrameCutter } from './frame-cutter.ts'

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const DATA = 0
const HEADERS = 1
const RST_STREAM = 3
const GOAWAY = 7

/** What it carries looks like the beginning of a frame that ends something. */
function frame(type: number, payloadSize: number): Buffer {
  const bytes = Buffer.alloc(9 + payloadSize, RST_STREAM)
  bytes.writeUIntBE(payloadSize, 0, 3)
  bytes[3] = type
  return bytes
}

/** Where the pieces end when so many bytes come at once. */
function cut(bytes: Buffer, arrivals: readonly number[]): number[] {
  const cutter = new FrameCutter()
  const ends: number[] = []
  let position = 0
  for (let turn = 0; position < bytes.length; turn += 1) {
    const arrived = position + (arrivals[turn % arrivals.length] ?? 1)
    const end = Math.min(arrived, bytes.length)
    while (position < end) {
      const size = cutter.cut(bytes.subarray(position, end))
      assert.ok(size >= 1 && size <= end - position)
      position += size
      ends.push(position)
    }
  }
  return ends
}

test('no piece goes on into a frame that ends something, whatever arrives together', () => {
  const type = fc.constantFrom(DATA, HEADERS, RST_STREAM, GOAWAY)
  const frames = fc.array(fc.tuple(type, fc.oneof(fc.nat(20), fc.nat(70_000))), { maxLength: 9 })
  const arrivals = fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 8 })
  const property = fc.property(fc.boolean(), frames, arrivals, (isServer, drawn, turns) => {
    const parts = [isServer ? preface : frame(4, 0), ...drawn.map((each) => frame(...each))]
    const ends = [0, ...cut(Buffer.concat(parts), turns)]
    let start = 0
    for (const part of parts) {
      // The piece in which its type comes may have begun with it, at the earliest.
      const piece = ends.findLast((end) => end <= start + 3) as number
      const isEnd = part !== preface && (part[3] === RST_STREAM || part[3] === GOAWAY)
      assert.ok(!isEnd || piece >= start)
      start += part.length
    }
  })
  fc.assert(property)
})

test('frames stay together but for the first, and for those that end something', () => {
  const frames = [frame(4, 6), frame(HEADERS, 5), frame(DATA, 70_000), frame(RST_STREAM, 4)]
  const bytes = Buffer.concat([preface, ...frames, frame(HEADERS, 7), frame(GOAWAY, 8)])
  const settings = 24 + 15
  const reset = settings + 14 + 70_009
  assert.equal(cut(bytes, [1_000_000]), [settings, reset, reset + 13 + 16, bytes.length])
})

test.run()
