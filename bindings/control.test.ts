import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { builtCores } from './build/test-builds.ts'
import { instantiateCore } from './control.ts'
import { converters } from './generated/as-bind.cjs'
import { coreBytes, preferredBuild } from './wasm-build.ts'

const fixedMemory = (pages: number) => new WebAssembly.Memory({ initial: pages, maximum: pages })

for (const { name, bytes } of builtCores()) {
  test(`${name}: strings and arrays cross the boundary`, () => {
    const { control } = instantiateCore(bytes, fixedMemory(64))
    const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
    assert.is(control.coreVersion(), (JSON.parse(manifest) as { version: string }).version)
    const expected = [
      ...(name.startsWith('simd') ? ['simd'] : []),
      ...(name.endsWith('debug') ? ['assertions'] : []),
    ]
    assert.equal(control.coreFeatures(), expected)
  })

  test(`${name}: control calls leave nothing behind and never grow the memory`, () => {
    const memory = fixedMemory(64)
    const { control, exports } = instantiateCore(bytes, memory)
    const allocate = exports['__new'] as (sizeBytes: number, classId: number) => number
    const first = allocate(16, 1)
    for (let call = 0; call < 10_000; call += 1) control.coreFeatures()
    assert.is(allocate(16, 1), first)
    assert.is(memory.buffer.byteLength, 64 * 65_536)
  })

  test(`${name}: a full control heap throws and is usable afterwards`, () => {
    const memory = fixedMemory(64)
    const { control, exports } = instantiateCore(bytes, memory)
    const allocate = exports['__new'] as (sizeBytes: number, classId: number) => number
    for (const sizeBytes of [0x20000, 0x7fff_ffff, -1, -20]) {
      assert.throws(() => allocate(sizeBytes, 1), /control heap exhausted/)
    }
    assert.throws(() => {
      for (;;) allocate(1000, 1)
    }, /control heap exhausted/)
    const layout = new Uint8Array(memory.buffer, 0x20000, 0x10000)
    assert.ok(layout.every((byte) => byte === 0))
    assert.equal(control.coreFeatures(), control.coreFeatures())
  })
}

test('a module fits any memory from the smallest to the largest', () => {
  for (const { bytes } of builtCores()) {
    for (const pages of [32, 1024, 16_384]) instantiateCore(bytes, fixedMemory(pages))
  }
})

test('the embedded builds are the built ones, and one of them is chosen', () => {
  for (const { name, bytes } of builtCores().slice(0, 2)) {
    assert.equal(Buffer.from(coreBytes(name === 'simd' ? 'simd' : 'plain')), bytes)
  }
  assert.is(preferredBuild({ PUNCHLINE_SIMD: '0' }), 'plain')
  assert.is(preferredBuild({}), 'simd')
})

test('converters carry strings and arrays both ways', () => {
  const { exports, memory } = rawCore()
  const bound = { exports: { memory, __new: exports['__new'] as never }, getTypeId: () => 4 }
  const roundTrip = (typeName: string, value: unknown) => {
    const converter = [...converters].find(([key]) =>
      typeof key === 'string' ? key === typeName : key.test(typeName),
    )?.[1]
    assert.ok(converter)
    return converter.ascToJs(bound, converter.jsToAsc(bound, value, typeName), typeName)
  }
  for (const value of ['', 'plain', 'žluťoučký 🐎 \u0000 end', null]) {
    assert.is(roundTrip('~lib/string/String', value), value)
  }
  assert.equal(roundTrip('~lib/array/Array<i32>', [-1, 0, 2 ** 31 - 1]), [-1, 0, 2 ** 31 - 1])
  assert.equal(roundTrip('~lib/array/Array<u32>', [2 ** 32 - 1]), [2 ** 32 - 1])
  assert.equal(roundTrip('~lib/array/Array<f64>', [0.5, 2 ** 53]), [0.5, 2 ** 53])
  const texts = ['a', '', null, 'ü']
  assert.equal(roundTrip('~lib/array/Array<~lib/string/String>', texts), texts)
  assert.throws(() => roundTrip('~lib/array/Array<i64>', [1]), /no converter/)
})

function rawCore() {
  const memory = fixedMemory(64)
  return { memory, exports: instantiateCore(coreBytes('plain'), memory).exports }
}

test.run()
