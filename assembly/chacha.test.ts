import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { compiledParts, plainParts } from '../bindings/testing/parts-builds.ts'
import { CHACHA20_VECTORS } from '../ts/dev/rfc8439.ts'

const KEY = 0x100000
const NONCE = 0x100020
const KEYSTREAM = 0x101000
const DATA = 0x102001
const BLOCK_SIZE = 64
const CALL_BLOCKS = 3

for (const { name, bytes, parts } of [...compiledParts(), await plainParts()]) {
  test(`${name}: gives the published keystreams and ciphertexts`, () => {
    for (const { section, key, nonce, counter, plaintext, ciphertext } of CHACHA20_VECTORS) {
      bytes.set(key, KEY)
      bytes.set(nonce, NONCE)
      bytes.set(plaintext, DATA)
      for (let done = 0; done < plaintext.length; done += CALL_BLOCKS * BLOCK_SIZE) {
        parts.chacha20(KEY, NONCE, counter + done / BLOCK_SIZE, CALL_BLOCKS, KEYSTREAM)
        const size = Math.min(plaintext.length - done, CALL_BLOCKS * BLOCK_SIZE)
        parts.xorInto(DATA + done, KEYSTREAM, size)
      }
      const result = Buffer.from(bytes.subarray(DATA, DATA + plaintext.length))
      assert.is(result.toString('hex'), ciphertext.toString('hex'), section)
    }
  })

  test(`${name}: XORs exactly the bytes it is given, at any alignment`, () => {
    const keystream = Buffer.from({ length: 256 }, (_, index) => index + 1)
    bytes.set(keystream, KEYSTREAM)
    for (let size = 0; size <= 256; size += 1) {
      const at = DATA + (size % 17)
      bytes.fill(0x80, at - 1, at + 257)
      parts.xorInto(at, KEYSTREAM, size)
      const expected = keystream.subarray(0, size).map((byte) => byte ^ 0x80)
      assert.equal(Buffer.from(bytes.subarray(at, at + size)), Buffer.from(expected))
      assert.equal([bytes[at - 1], bytes[at + size]], [0x80, 0x80], `${size} bytes`)
    }
  })
}

test.run()
