import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { compiledParts, plainParts } from '../bindings/testing/parts-builds.ts'
import { fillTestBytes } from '../ts/dev/crc32c-reference.ts'
import { POLY1305_VECTORS } from '../ts/dev/rfc8439.ts'

const STATE = 0x100000
const KEY = 0x100100
const TAG = 0x100200
const MESSAGE = 0x101000
const ROUNDS = process.env['PUNCHLINE_LONG'] === '1' ? 20_000 : 500

/** Poly1305 as RFC 8439 §2.5.1 defines it, in numbers without a limit. */
function reference(key: Uint8Array, message: Uint8Array): Buffer {
  const p = (1n << 130n) - 5n
  const r = number(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let at = 0; at < message.length; at += 16) {
    const block = message.subarray(at, at + 16)
    sum = ((sum + number(block) + (1n << BigInt(8 * block.length))) * r) % p
  }
  const tag = BigInt.asUintN(128, sum + number(key.subarray(16, 32)))
  return Buffer.from(tag.toString(16).padStart(32, '0'), 'hex').reverse()
}

const number = (bytes: Uint8Array) =>
  bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n)

/** Messages at whose edges carries run: bytes of all ones, of zeros, or of neither. */
function* keysAndMessages(): Generator<[Uint8Array, Uint8Array]> {
  const noise = new Uint8Array(ROUNDS + 1024)
  fillTestBytes(noise, 7)
  for (let round = 0; round < ROUNDS; round += 1) {
    const kind = (at: number) => (noise[round + at] as number) & 3
    const make = (size: number, at: number) => {
      if (kind(at) === 0) return new Uint8Array(size).fill(0xff)
      const bytes = noise.slice(round, round + size)
      // Whole words of ones and zeros in between, where a limb overflows or is empty.
      if (kind(at) === 1)
        for (let i = 0; i < size; i += 4) bytes.fill((i & 4) === 0 ? 0 : 0xff, i, i + 4)
      return bytes
    }
    yield [make(32, 1), make(round % 331, 2)]
  }
}

for (const { name, bytes, parts } of [...compiledParts(), await plainParts()]) {
  const tagOf = (key: Uint8Array, message: Uint8Array) => {
    bytes.set(key, KEY)
    bytes.set(message, MESSAGE)
    parts.poly1305(STATE, KEY, MESSAGE, message.length, TAG)
    return Buffer.from(bytes.subarray(TAG, TAG + 16)).toString('hex')
  }

  test(`${name}: gives the published tags, also where carries run furthest`, () => {
    for (const { section, key, message, tag } of POLY1305_VECTORS) {
      assert.is(tagOf(key, message), tag.toString('hex'), section)
    }
  })

  test(`${name}: equals the definition at all sizes`, () => {
    for (const [key, message] of keysAndMessages()) {
      assert.is(tagOf(key, message), reference(key, message).toString('hex'))
    }
  })
}

test.run()
