import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeReadBuffer } from './read-buffer.ts'

const MIB = 1024 * 1024

test('who reads in bulk gives a large block back to the C library, once', () => {
  const { allocUnsafeSlow } = Buffer
  const blocks: { read: number; size: number }[] = []
  let read = 0
  Buffer.allocUnsafeSlow = (size) => {
    blocks.push({ read, size })
    return allocUnsafeSlow(size)
  }
  try {
    for (; read < 200; read += 1) assert.is(makeReadBuffer(MIB).length, MIB)
  } finally {
    Buffer.allocUnsafeSlow = allocUnsafeSlow
  }
  assert.equal(blocks, [{ read: 63, size: 24 * MIB }])
})

test.run()
