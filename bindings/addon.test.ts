import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { release, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  CRC32C_VECTORS,
  crc32cCases,
  crc32cReference,
  fillTestBytes,
} from '../ts/dev/crc32c-reference.ts'
import { addonStatus, loadAddon, searchAddon } from './addon.ts'
import { missingForNative } from './build/native.mjs'
import { PACKAGE_ROOT } from './package-root.cjs'

const root = mkdtempSync(join(tmpdir(), 'punchline-addon-'))
test.after(() => rmSync(root, { recursive: true }))

const LOCAL = join(root, 'build/native/Release/punchline.node')

test('a switched-off or absent addon is a reason, not an error', () => {
  assert.equal(searchAddon('0', PACKAGE_ROOT).status.refused[0]?.reason, 'PUNCHLINE_NATIVE=0')
  const { addon, status } = searchAddon(undefined, root)
  assert.is(addon, undefined)
  assert.is(status.path, undefined)
  assert.equal(
    status.refused.map(({ reason }) => reason),
    ['no such file', 'no such file'],
  )
  assert.is(status.refused[0]?.path, LOCAL)
  assert.match(status.refused[1]?.path ?? '', new RegExp(`${process.platform}-${process.arch}`))
})

test('a file that is no addon is refused with its reason', () => {
  mkdirSync(dirname(LOCAL), { recursive: true })
  writeFileSync(LOCAL, 'not a shared object')
  const { addon, status } = searchAddon(undefined, root)
  assert.is(addon, undefined)
  assert.ok((status.refused[0]?.reason.length ?? 0) > 0)
  assert.is.not(status.refused[0]?.reason, 'no such file')
})

test('a named file is the only candidate', () => {
  const { status } = searchAddon(join(root, 'elsewhere.node'), PACKAGE_ROOT)
  assert.equal(status.refused, [{ path: join(root, 'elsewhere.node'), reason: 'no such file' }])
})

const missing = missingForNative()
const addon = missing ? undefined : searchAddon(undefined, PACKAGE_ROOT).addon

if (missing) {
  console.log(`skipped: tests of the native addon (${missing})`)
} else {
  test('the addon built here is loaded', () => {
    assert.ok(addon, JSON.stringify(addonStatus()))
    if (process.env['PUNCHLINE_NATIVE'] === undefined) assert.ok(loadAddon())
  })

  test('the local build comes before the prebuilt one, which serves where there is none', () => {
    const built = searchAddon(undefined, PACKAGE_ROOT).status.path ?? ''
    rmSync(LOCAL, { force: true })
    mkdirSync(join(root, 'prebuilds'), { recursive: true })
    const prebuilt = searchAddon(undefined, root).status.refused[1]?.path ?? ''
    mkdirSync(dirname(prebuilt), { recursive: true })
    copyFileSync(built, prebuilt)
    const { addon: second, status } = searchAddon(undefined, root)
    assert.is(status.path, prebuilt)
    assert.equal(status.refused, [{ path: LOCAL, reason: 'no such file' }])
    assert.is(second?.crc32c(Buffer.from('123456789')), 0xe3069283)
    // One that does not fit is passed over.
    mkdirSync(dirname(LOCAL), { recursive: true })
    writeFileSync(LOCAL, 'not a shared object')
    assert.is(searchAddon(undefined, root).status.path, prebuilt)
    rmSync(LOCAL)
    copyFileSync(built, LOCAL)
    assert.equal(searchAddon(undefined, root).status, { path: LOCAL, refused: [] })
    assert.is(searchAddon(prebuilt, root).status.path, prebuilt, 'a named one comes first')
  })
}

if (addon) {
  test('reports what the machine offers', () => {
    const report = addon.describe()
    assert.is(report.kernel, release())
    for (const attempt of [report.ioUring, report.udpSegmentation, report.udpReceiveOffload]) {
      assert.is(attempt.available, attempt.reason === 'ok')
    }
    assert.equal(addon.describe(false).ioUring, { available: false, reason: 'not probed' })
    for (const feature of Object.values(report.cpu)) assert.type(feature, 'boolean')
    const { cpu } = report
    const inHardware = (cpu.sse42 && cpu.pclmul) || cpu.armCrc
    assert.is(report.crc32c === 'slicing-8', !inHardware)
    const ways = Object.keys(addon.crc32cWays)
    assert.is(ways[0], report.crc32c)
    assert.is(ways.at(-1), 'slicing-8')
    assert.is(ways.includes('avx512+vpclmulqdq'), cpu.avx512f && cpu.vpclmulqdq && cpu.sse42)
    const aesWays = Object.keys(addon.aesWays())
    assert.is(report.aes128Gcm.available, report.aes128Gcm.reason === 'ok')
    assert.is(report.aes128Gcm.way, aesWays[0])
    const hasWide = cpu.avx512bw && cpu.vaes && cpu.vpclmulqdq && cpu.aes && cpu.pclmul
    assert.is(aesWays.includes('avx512+vaes'), hasWide)
  })

  for (const [name, crc32c] of Object.entries({ chosen: addon.crc32c, ...addon.crc32cWays })) {
    test(`${name} gives the published check values`, () => {
      for (const [vector, expected] of CRC32C_VECTORS) assert.is(crc32c(vector), expected)
    })

    test(`${name} equals the bytewise reference at all lengths and alignments`, () => {
      const data = new Uint8Array(65_536)
      fillTestBytes(data, 6)
      for (const { length, offset } of crc32cCases()) {
        const piece = data.subarray(offset, offset + length)
        const expected = crc32cReference(piece)
        assert.is(crc32c(piece), expected, `${length} bytes at ${offset}`)
        const cut = length >> 1
        assert.is(crc32c(piece.subarray(cut), crc32c(piece.subarray(0, cut))), expected)
      }
    })

    test(`${name} takes a Uint8Array and a number only`, () => {
      const untyped = crc32c as (...values: unknown[]) => number
      for (const wrong of [
        undefined,
        null,
        'text',
        5,
        {},
        new Uint16Array(4),
        new ArrayBuffer(4),
      ]) {
        assert.throws(() => untyped(wrong), TypeError)
      }
      assert.throws(() => untyped(new Uint8Array(4), 'seed'), TypeError)
      assert.is(crc32c(Buffer.from('123456789')), 0xe3069283)
      const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
      assert.is(crc32c(new Uint8Array(memory.buffer, 0, 32)), 0x8a9136aa)
    })
  }
}

test.run()
