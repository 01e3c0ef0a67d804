import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { compiledParts, plainParts } from '../bindings/testing/parts-builds.ts'
import { SIPHASH_VECTORS } from '../ts/dev/siphash-vectors.ts'

const KEY = 0x100000
const OUT = 0x100020
const DATA = 0x100041

for (const { name, bytes, parts } of [...compiledParts(), await plainParts()]) {
  const hash = (size: number) => {
    parts.sipHash(KEY, DATA, size, OUT)
    return Buffer.from(bytes.subarray(OUT, OUT + 8)).toString('hex')
  }
  const count = (_: unknown, index: number) => index
  bytes.set(Array.from({ length: 16 }, count), KEY)
  bytes.set(Array.from({ length: 256 }, count), DATA)

  test(`${name}: gives the published hashes`, () => {
    assert.is(SIPHASH_VECTORS.length, 64)
    for (const [size, expected] of SIPHASH_VECTORS.entries()) {
      assert.is(hash(size), expected, `${size} bytes`)
    }
  })

  test(`${name}: every flipped bit of key and data shows, and no byte behind the data does`, () => {
    const size = 45
    const intact = hash(size)
    for (const [from, to] of [
      [KEY, KEY + 16],
      [DATA, DATA + size],
    ] as const) {
      for (let bit = 0; bit < (to - from) * 8; bit += 1) {
        const at = from + (bit >> 3)
        bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7))
        assert.is.not(hash(size), intact)
        bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7))
      }
    }
    bytes.fill(0xff, DATA + size, DATA + 64)
    assert.is(hash(size), intact)
    bytes.set(Array.from({ length: 256 }, count), DATA)
  })
}

test.run()
