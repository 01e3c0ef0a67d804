/**
 * AES-128-GCM of the addon, by every way that this process can go, against the published vectors and
 * node:crypto. PUNCHLINE_LONG=1 takes a million packets.
 */
import { createCipheriv } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { AES_128_GCM_VECTORS } from '../ts/dev/gcm-vectors.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import { type AesWay, searchAddon } from './addon.ts'
import { missingForNative } from './build/native.mjs'
import { PACKAGE_ROOT } from './package-root.cjs'
import { AesLists, cryptoSeal } from './testing/aes-lists.ts'
import { NativePair } from './testing/native-pair.ts'

const COUNT = process.env['PUNCHLINE_LONG'] === '1' ? 1_000_000 : 5_000
const KEY_SIZE = 16
const NONCE_SIZE = 12
const TAG_SIZE = 16
const SIZE_MAX = 65_535
const HEADER_MAX = 400
/** Bytes around a packet that must stay as they are. */
const GUARD = 128
const GUARD_BYTE = 0xa5

interface Packet {
  readonly key: Uint8Array
  readonly nonce: Uint8Array
  readonly header: Uint8Array
  readonly plain: Uint8Array
}

/** Draws packets; their bytes are pieces of one random text, which is quick. */
class Packets {
  readonly random: SeededRandom
  private readonly text = new Uint8Array(2 * SIZE_MAX)

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    this.random.fill(this.text)
  }

  piece(size: number): Uint8Array {
    const from = this.random.below(this.text.length - size + 1)
    return this.text.subarray(from, from + size)
  }

  packet(size: number, headerSize: number): Packet {
    const [key, nonce] = [this.piece(KEY_SIZE), this.piece(NONCE_SIZE)]
    return { key, nonce, header: this.piece(headerSize), plain: this.piece(size) }
  }

  /** Mostly sizes of packets, some of any size. */
  any(): Packet {
    const { random } = this
    const size = random.below(50) === 0 ? random.below(SIZE_MAX + 1) : random.below(1_600)
    return this.packet(size, random.below(4) === 0 ? random.below(HEADER_MAX) : 14)
  }
}

function reference({ key, nonce, header, plain }: Packet): Buffer {
  const cipher = createCipheriv('aes-128-gcm', key, nonce)
  cipher.setAAD(header)
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}

/** Seals and opens at some address, and sees to what lies around. */
class Bench {
  readonly bytes: Buffer
  private readonly way: AesWay

  constructor(way: AesWay, bytes = Buffer.alloc(SIZE_MAX + TAG_SIZE + 4 * GUARD)) {
    this.way = way
    this.bytes = bytes.fill(GUARD_BYTE)
  }

  /** The payload and its tag, where they lie. */
  lay(bytes: Uint8Array, at: number): Buffer {
    const place = this.bytes.subarray(at, at + bytes.length)
    place.set(bytes)
    return place
  }

  check(packet: Packet, at: number): void {
    const { key, nonce, header, plain } = packet
    const size = plain.length
    const what = `${size} B at ${at}, header ${header.length} B`
    const sealed = reference(packet)
    const place = this.lay(Buffer.concat([plain, Buffer.alloc(TAG_SIZE)]), at)
    assert.ok(this.way.seal(key, nonce, header, place), what)
    if (!place.equals(sealed)) assert.unreachable(`sealed wrongly: ${what}`)
    assert.ok(this.way.open(key, nonce, header, place), `not opened: ${what}`)
    if (!place.subarray(0, size).equals(plain)) assert.unreachable(`opened wrongly: ${what}`)
    if (!place.subarray(size).equals(sealed.subarray(size))) assert.unreachable(`tag: ${what}`)
    place.fill(GUARD_BYTE)
    const around = this.bytes.subarray(Math.max(0, at - GUARD), at + place.length + GUARD)
    assert.ok(
      around.every((byte) => byte === GUARD_BYTE),
      `bytes around: ${what}`,
    )
  }

  opens({ key, nonce, header }: Packet, sealed: Uint8Array): boolean {
    return this.way.open(key, nonce, header, this.lay(sealed, GUARD))
  }
}

const missing = missingForNative()
const addon = missing ? undefined : searchAddon(process.env['PUNCHLINE_NATIVE'], PACKAGE_ROOT).addon

if (addon === undefined) {
  console.log(`skipped: tests of the addon's AES (${missing || 'no addon'})`)
  test('without the addon there is nothing to test', () => {})
} else {
  const ways = Object.entries(addon.aesWays())

  test('the self-test notices a wrong byte, a wrong tag, and a way that opens anything', () => {
    assert.is(addon.aesFaultsMissed(), 0)
  })

  for (const [name, way] of ways) {
    const bench = new Bench(way)

    test(`${name}: gives the published ciphertexts and tags, and opens them`, () => {
      for (const { testCase, key, nonce, header, plain, sealed } of AES_128_GCM_VECTORS) {
        const bytes = Buffer.concat([plain, Buffer.alloc(TAG_SIZE)])
        assert.ok(way.seal(key, nonce, header, bytes))
        assert.is(bytes.toString('hex'), sealed.toString('hex'), `test case ${testCase}`)
        assert.ok(way.open(key, nonce, header, bytes))
        assert.equal(bytes.subarray(0, plain.length), plain)
      }
    })

    test(`${name}: equals node:crypto at all small sizes and around those of groups`, () => {
      const packets = new Packets(1)
      const sizes = Array.from({ length: 301 }, (_, size) => size)
      for (const edge of [512, 768, 1024, 1280, 1456, 2048, 4096, 65_472, 65_520]) {
        for (let off = -17; off <= 17; off++) sizes.push(Math.min(edge + off, SIZE_MAX))
      }
      for (const size of sizes) {
        bench.check(packets.packet(size, size % HEADER_MAX), GUARD + packets.random.below(64))
      }
    })

    test(`${name}: equals node:crypto with headers of all sizes, at all addresses`, () => {
      const packets = new Packets(2)
      for (let header = 0; header <= HEADER_MAX; header++) {
        bench.check(packets.packet(header % 70, header), GUARD)
      }
      for (let at = 0; at < 64; at++) bench.check(packets.packet(350 - at, 14), GUARD + at)
    })

    test(`${name}: equals node:crypto, whatever the packet`, () => {
      const packets = new Packets(3)
      for (let index = 0; index < COUNT; index++) {
        bench.check(packets.any(), GUARD + packets.random.below(64))
      }
    })

    test(`${name}: reads and writes nothing beyond the end of memory`, () => {
      // Behind a WebAssembly memory there are pages that nobody may touch.
      const { buffer } = new WebAssembly.Memory({ initial: 2, maximum: 2 })
      const edge = new Bench(way, Buffer.from(buffer))
      const packets = new Packets(4)
      for (let size = 0; size < 600; size++) {
        edge.check(packets.packet(size, 14), buffer.byteLength - size - TAG_SIZE)
        const header = edge.lay(packets.piece(size), buffer.byteLength - size)
        edge.check({ ...packets.packet(20, 0), header }, 0)
        header.fill(GUARD_BYTE)
      }
    })

    test(`${name}: refuses every flipped bit`, () => {
      const packets = new Packets(5)
      for (const size of [0, 1, 15, 16, 63, 100, 256, 333]) {
        const packet = packets.packet(size, 14)
        const sealed = reference(packet)
        assert.ok(bench.opens(packet, sealed))
        const parts = { ...packet, sealed }
        for (const part of ['key', 'nonce', 'header', 'sealed'] as const) {
          for (let bit = 0; bit < parts[part].length * 8; bit++) {
            const changed = Buffer.from(parts[part])
            changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
            const all = { ...parts, [part]: changed }
            assert.not.ok(bench.opens(all, all.sealed), `${part}, bit ${bit}, of ${size} B`)
          }
        }
      }
    })

    test(`${name}: refuses bytes moved between header and payload, or cut off`, () => {
      const packet = new Packets(6).packet(96, 32)
      const sealed = reference(packet)
      const { header } = packet
      for (const cut of [1, 15, 16, 17]) {
        const moved = Buffer.concat([header, sealed.subarray(0, cut)])
        assert.not.ok(bench.opens({ ...packet, header: moved }, sealed.subarray(cut)))
        assert.not.ok(bench.opens({ ...packet, header: header.subarray(0, -cut) }, sealed))
        assert.not.ok(bench.opens(packet, sealed.subarray(0, -cut)))
        assert.not.ok(bench.opens(packet, Buffer.concat([sealed, Buffer.alloc(cut)])))
      }
    })

    test(`${name}: takes a Uint8Array of the right size only`, () => {
      const { key, nonce, header } = new Packets(7).packet(0, 14)
      const bytes = new Uint8Array(TAG_SIZE)
      for (const run of [way.seal, way.open] as ((...values: unknown[]) => boolean)[]) {
        for (const wrong of [undefined, null, 'text', {}, new Uint16Array(8), new Uint8Array(13)]) {
          assert.throws(() => run(wrong, nonce, header, bytes), TypeError)
          assert.throws(() => run(key, wrong, header, bytes), TypeError)
          assert.throws(() => run(key, nonce, header, wrong), TypeError)
        }
        assert.throws(() => run(key, nonce, 'header', bytes), TypeError)
        assert.throws(() => run(), TypeError)
      }
    })
  }

  test('job lists give what node:crypto gives, with many keys', () => {
    const pair = new NativePair(addon, false)
    try {
      const lists = new AesLists(pair)
      const packets = new Packets(8)
      const keyCount = 100
      const keys = Array.from({ length: keyCount }, (_, index) => {
        const key = Buffer.from(packets.piece(KEY_SIZE))
        const vector = Buffer.from(packets.piece(NONCE_SIZE))
        lists.setKey(index, { key, vector })
        return { key, vector }
      })
      for (let round = 0; round < COUNT / 10; round++) {
        const index = packets.random.below(keyCount)
        const { key, vector } = keys[index] as (typeof keys)[number]
        const number = packets.random.u32() * 2 ** 20 + packets.random.below(2 ** 20)
        const drawn = packets.any()
        const header = Buffer.concat([drawn.header, Buffer.from('ab')])
        const plain = Buffer.from(drawn.plain)
        const size = plain.length
        const expected = cryptoSeal(key, vector, number, header, plain)
        assert.is(lists.run(3, index, number, header, plain, Buffer.alloc(TAG_SIZE)), 1)
        const sealed = lists.payload(size + TAG_SIZE)
        if (!sealed.equals(expected)) assert.unreachable(`round ${round}: ${size} B sealed wrongly`)
        const [body, tag] = [sealed.subarray(0, size), sealed.subarray(size)]
        assert.is(lists.run(4, index, number, header, body, tag), 1)
        if (!lists.payload(size).equals(plain)) assert.unreachable(`round ${round}: opened wrongly`)
        tag[round % TAG_SIZE] = (tag[round % TAG_SIZE] as number) ^ (1 << (round & 7))
        assert.is(lists.run(4, index, number, header, body, tag), 2)
      }
    } finally {
      pair.close()
    }
  })
}

test.run()
