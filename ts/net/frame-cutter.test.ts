import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FrameCutter } from './frame-cutter.ts'

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

function frame(payloadSize: number): Buffer {
  const bytes = Buffer.alloc(9 + payloadSize, 0x50)
  bytes.writeUIntBE(payloadSize, 0, 3)
  return bytes
}

/** Reads through a cutter, of what has come no more than `arrivals` say each time. */
function cut(bytes: Buffer, arrivals: readonly number[]): number[] {
  const cutter = new FrameCutter()
  const ends: number[] = []
  let position = 0
  for (let turn = 0; position < bytes.length; turn += 1) {
    const arrived = arrivals[turn % arrivals.length] ?? 1
    const size = Math.min(cutter.sizeMax, arrived)
    assert.ok(cutter.sizeMax >= 1 && cutter.sizeMax <= 65_536)
    cutter.follow(bytes.subarray(position, position + size))
    position = Math.min(position + size, bytes.length)
    ends.push(position)
  }
  return ends
}

test('no piece has bytes of two frames, whatever arrives together', () => {
  const sizes = fc.array(fc.oneof(fc.nat(20), fc.nat(70_000)), { minLength: 1, maxLength: 8 })
  const arrivals = fc.array(fc.integer({ min: 1, max: 100_000 }), { minLength: 1, maxLength: 8 })
  const property = fc.property(fc.boolean(), sizes, arrivals, (isServer, payloads, turns) => {
    const parts = [...(isServer ? [preface] : []), ...payloads.map(frame)]
    const ends = new Set(cut(Buffer.concat(parts), turns))
    let boundary = 0
    for (const part of parts) {
      boundary += part.length
      assert.ok(ends.has(boundary))
    }
  })
  fc.assert(property)
})

test('a frame that has come as a whole is cut into its header and its payload', () => {
  const bytes = Buffer.concat([preface, frame(0), frame(5), frame(70_000)])
  assert.equal(cut(bytes, [1_000_000]), [9, 24, 33, 42, 47, 56, 56 + 65_536, 56 + 70_000])
})

test.run()
