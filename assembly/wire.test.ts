import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { usePlainMemory } from '../bindings/plain.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import { SCRATCH } from './layout.ts'
import {
  expandNumber,
  LONG_SIZE,
  readVarint,
  SHORT_SIZE,
  TYPE_INITIAL,
  VARINT_MAX,
  varintSize,
  varintSizeAt,
  writeLongHeader,
  writeShortHeader,
  writeVarint,
} from './wire.ts'

const memory = new ArrayBuffer(1 << 20)
const bytes = new Uint8Array(memory)
usePlainMemory(memory, { hasAssertions: true })

function written(write: (p: number) => number): number[] {
  bytes.fill(0xee, SCRATCH, SCRATCH + 64)
  const end = write(SCRATCH)
  assert.is(bytes[end], 0xee, 'wrote beyond its end')
  return [...bytes.subarray(SCRATCH, end)]
}

function read(encoded: readonly number[]): number {
  bytes.set(encoded, SCRATCH)
  assert.is(varintSizeAt(SCRATCH), encoded.length)
  return readVarint(SCRATCH)
}

test('integers are written as the specification shows', () => {
  const vectors: readonly (readonly [value: number, encoded: readonly number[]])[] = [
    [0, [0x00]],
    [1, [0x04]],
    [63, [0xfc]],
    [64, [0x01, 0x01]],
    [16_383, [0xfd, 0xff]],
    [16_384, [0x02, 0x00, 0x01, 0x00]],
    [2 ** 30 - 1, [0xfe, 0xff, 0xff, 0xff]],
    [2 ** 30, [0x03, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00]],
    [2 ** 53 - 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x00]],
  ]
  for (const [value, encoded] of vectors) {
    assert.equal(
      written((p) => writeVarint(p, value)),
      encoded,
      String(value),
    )
    assert.is(varintSize(value), encoded.length)
    assert.is(read(encoded), value)
  }
})

test('every integer comes back, around all sizes and anywhere', () => {
  const random = new SeededRandom(5)
  const check = (value: number) => {
    const encoded = written((p) => writeVarint(p, value))
    assert.is(encoded.length, varintSize(value))
    assert.is(read(encoded), value)
  }
  for (let bit = 0; bit <= 53; bit += 1) {
    for (let off = -3; off <= 3; off += 1) {
      const value = 2 ** bit + off
      if (value >= 0 && value <= VARINT_MAX) check(value)
    }
  }
  for (let round = 0; round < 20_000; round += 1) {
    check(Math.floor(random.fraction() * 2 ** random.between(1, 53)))
  }
})

test('longer forms than needed are read; what is above 2^53 − 1 is not', () => {
  assert.is(read([0x05, 0x00]), 1)
  assert.is(read([0x06, 0x00, 0x00, 0x00]), 1)
  assert.is(read([0x07, 0, 0, 0, 0, 0, 0, 0]), 1)
  assert.is(read([0x03, 0, 0, 0, 0, 0, 0x80, 0]), -1)
  assert.is(read([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), -1)
  assert.is(read([0x03, 0, 0, 0, 0, 0, 0, 0x80]), -1)
})

/** RFC 9000 §A.3 in whole numbers: the candidate nearest to what is expected. */
function nearest(low: number, expected: number): number {
  const window = 2 ** 32
  const base = Math.floor(expected / window) * window + low
  const candidates = [base - window, base, base + window].filter((number) => number >= 0)
  return candidates.reduce((best, number) =>
    Math.abs(number - expected) < Math.abs(best - expected) ? number : best,
  )
}

test('truncated packet numbers are completed to the nearest', () => {
  const random = new SeededRandom(6)
  const expectedOnes = [0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 5, 2 ** 33, 2 ** 45 + 77]
  for (const expected of expectedOnes) {
    for (const off of [0, 1, 2, 1000, 2 ** 20, 2 ** 31 - 1]) {
      for (const number of [expected + off, expected - off]) {
        if (number < 0) continue
        assert.is(expandNumber(number | 0, expected), number, `${number} near ${expected}`)
      }
    }
  }
  for (let round = 0; round < 20_000; round += 1) {
    const expected = Math.floor(random.fraction() * 2 ** random.between(1, 50))
    const low = random.u32()
    const number = expandNumber(low | 0, expected)
    assert.is(number % 2 ** 32, low)
    assert.ok(number >= 0)
    // At a distance of exactly half the window both are equally near.
    if (Math.abs(number - expected) !== 2 ** 31) assert.is(number, nearest(low, expected))
  }
})

test('headers lie where the specification says', () => {
  const short = written((p) => {
    writeShortHeader(p, 3, 7, 0x04030201, 0x08070605, 2 ** 32 + 0x0a0b0c0d)
    return p + SHORT_SIZE
  })
  assert.equal(short, [0xc1, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0x0d, 0x0c, 0x0b, 0x0a])
  const long = written((p) => {
    writeLongHeader(p, TYPE_INITIAL, 1, 2, 3, -1, 0x1234)
    return p + LONG_SIZE
  })
  assert.equal(
    long,
    [
      ...[0xe0, 0, 1, 0, 0, 0, 2, 0, 0, 0],
      ...[0x01, 0x00, 0x4c, 0x50],
      ...[3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x34, 0x12],
    ],
    'the version is PL and a number',
  )
})

test.run()
