import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeReadBuffer } from './read-buffer.ts'

const MIB = 1024 * 1024

test('who reads in bulk gives a large block back to the C library, once', () => {
  const blocks: number[] = []
  for (let read = 0; read < 200; read += 1) {
    const before = process.memoryUsage().arrayBuffers
    assert.is(makeReadBuffer(MIB).length, MIB)
    if (process.memoryUsage().arrayBuffers - before > 20 * MIB) blocks.push(read)
  }
  assert.equal(blocks, [63])
})

test.run()
