import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makePattern, PATTERN_PERIOD_BYTES, PatternCheck, SAMPLE_EVERY_BYTES } from './pattern.ts'

const SIZE_BYTES = 1_000_000
const chunkSizes = [1, 1_472, 65_536, 7, 65_535, 200_000]

/** Makes the first bytes of the stream as a sender does: write by write. */
function makeStream(): Buffer {
  const writeSize = 65_536
  const pattern = makePattern(writeSize)
  const writes: Buffer[] = []
  for (let at = 0; at < SIZE_BYTES; at += writeSize) {
    const phase = at % PATTERN_PERIOD_BYTES
    writes.push(pattern.subarray(phase, phase + writeSize))
  }
  return Buffer.concat(writes).subarray(0, SIZE_BYTES)
}

function receive(stream: Buffer): PatternCheck {
  const check = new PatternCheck()
  for (let at = 0, i = 0; at < stream.length; i += 1) {
    const size = chunkSizes[i % chunkSizes.length] ?? 1
    check.take(stream.subarray(at, at + size))
    at += size
  }
  return check
}

test('accepts the stream however it is cut into chunks', () => {
  const check = receive(makeStream())
  assert.is(check.bytesReceived, SIZE_BYTES)
  assert.is(check.checks, Math.ceil(SIZE_BYTES / SAMPLE_EVERY_BYTES))
  assert.is(check.mismatches, 0)
})

const faults: [name: string, spoil: (stream: Buffer) => Buffer][] = [
  ['lost', (stream) => Buffer.concat([stream.subarray(0, 5_000), stream.subarray(5_001)])],
  ['doubled', (stream) => Buffer.concat([stream.subarray(0, 5_001), stream.subarray(5_000)])],
  [
    'moved',
    (stream) =>
      Buffer.concat([
        stream.subarray(1_472, 2_944),
        stream.subarray(0, 1_472),
        stream.subarray(2_944),
      ]),
  ],
  ['all wrong', (stream) => Buffer.from(stream.map((byte) => byte ^ 0x40))],
]
for (const [name, spoil] of faults) {
  test(`notices what was ${name}`, () => {
    assert.ok(receive(spoil(makeStream())).mismatches > 0)
  })
}

test.run()
