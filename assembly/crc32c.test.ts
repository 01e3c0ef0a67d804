import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { builtCores } from '../bindings/build/test-builds.ts'
import { instantiateCore } from '../bindings/control.ts'
import { usePlainMemory } from '../bindings/plain.ts'
import {
  CRC32C_VECTORS,
  crc32cCases,
  crc32cReference,
  fillTestBytes,
} from '../ts/dev/crc32c-reference.ts'

interface Crc32c {
  crc32cInit(): void
  crc32c(pointer: number, length: number): number
  crc32cUpdate(crc: number, pointer: number, length: number): number
}

/** Anywhere above the tables; the core is not used for anything else here. */
const DATA = 0x100000
const MEMORY_PAGES = 64

const compiled = builtCores().map(({ name, bytes }) => {
  const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES })
  const { exports } = instantiateCore(bytes, memory)
  return { name, buffer: memory.buffer, core: exports as unknown as Crc32c }
})

async function plainTypeScript() {
  const buffer = new ArrayBuffer(MEMORY_PAGES * 65_536)
  usePlainMemory(buffer)
  return { name: 'TypeScript', buffer, core: (await import('./crc32c.ts')) as Crc32c }
}

for (const { name, buffer, core } of [...compiled, await plainTypeScript()]) {
  core.crc32cInit()
  const { crc32c, crc32cUpdate: update } = core
  const data = new Uint8Array(buffer, DATA, 65_536)

  test(`${name}: gives the published check values`, () => {
    for (const [vector, expected] of CRC32C_VECTORS) {
      data.set(vector)
      assert.is(crc32c(DATA, vector.length) >>> 0, expected)
    }
  })

  test(`${name}: equals the bytewise reference at all lengths and alignments`, () => {
    fillTestBytes(data, 3)
    for (const { length, offset } of crc32cCases()) {
      const expected = crc32cReference(data.subarray(offset, offset + length))
      assert.is(crc32c(DATA + offset, length) >>> 0, expected, `${length} bytes at ${offset}`)
    }
  })

  test(`${name}: continues over pieces`, () => {
    fillTestBytes(data, 4)
    for (const [first, second] of [
      [0, 0],
      [0, 1400],
      [1, 175],
      [176, 176],
      [1400, 3],
    ] as const) {
      const crc = update(crc32c(DATA, first), DATA + first, second)
      assert.is(crc >>> 0, crc32cReference(data.subarray(0, first + second)))
    }
  })

  test(`${name}: every flipped bit of a packet shows`, () => {
    fillTestBytes(data, 5)
    const intact = crc32c(DATA, 1400)
    for (let bit = 0; bit < 1400 * 8; bit += 1) {
      const at = bit >> 3
      data[at] = (data[at] ?? 0) ^ (1 << (bit & 7))
      assert.is.not(crc32c(DATA, 1400), intact, `bit ${bit}`)
      data[at] = (data[at] ?? 0) ^ (1 << (bit & 7))
    }
  })
}

test.run()
