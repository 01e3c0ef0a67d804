import { createCipheriv } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { builtCores } from '../bindings/build/test-builds.ts'
import { instantiateCore } from '../bindings/control.ts'
import type { CoreExports } from '../bindings/core.ts'
import { usePlainMemory } from '../bindings/plain.ts'
import { AEAD_VECTORS } from '../ts/dev/rfc8439.ts'
import { SeededRandom } from '../ts/sim/random.ts'

type Aead = Pick<CoreExports, 'aeadSeal'> & {
  aeadOpen(...values: Parameters<CoreExports['aeadOpen']>): number | boolean
}

const KEY = 0x100000
const NONCE = 0x100020
const HEADER = 0x100100
const PAYLOAD = 0x102000
const TAG_SIZE = 16
const MEMORY_PAGES = 64
/** Where the core's layout begins. */
const FIXED_MEMORY = 0x20000

/** Compared with node:crypto, for builds that ship; the slow ones get a tenth. */
const COUNT = process.env['PUNCHLINE_LONG'] === '1' ? 1_000_000 : 4_000

interface Packet {
  readonly key: Uint8Array
  readonly nonce: Uint8Array
  readonly header: Uint8Array
  readonly plaintext: Uint8Array
}

/** One build, and its memory with the packet in it. */
class Bench {
  readonly name: string
  readonly bytes: Uint8Array
  private readonly core: Aead

  constructor(name: string, buffer: ArrayBuffer, core: Aead) {
    this.name = name
    this.bytes = new Uint8Array(buffer)
    this.core = core
  }

  load({ key, nonce, header }: Packet, payload: Uint8Array, at = PAYLOAD): void {
    this.bytes.set(key, KEY)
    this.bytes.set(nonce, NONCE)
    this.bytes.set(header, HEADER)
    this.bytes.set(payload, at)
  }

  /** Gives ciphertext and tag. */
  seal(packet: Packet, at = PAYLOAD): Buffer {
    this.load(packet, packet.plaintext, at)
    const size = packet.plaintext.length
    this.core.aeadSeal(KEY, NONCE, HEADER, packet.header.length, at, size)
    return this.read(size + TAG_SIZE, at)
  }

  /** Opens what lies in memory. */
  open(headerSize: number, size: number, at = PAYLOAD): boolean {
    return Boolean(this.core.aeadOpen(KEY, NONCE, HEADER, headerSize, at, size))
  }

  read(size: number, at = PAYLOAD): Buffer {
    return Buffer.from(this.bytes.subarray(at, at + size))
  }

  /** All that lies below the packet: where the core keeps what is not a packet. */
  fixedMemory(): Buffer {
    return Buffer.from(this.bytes.slice(FIXED_MEMORY, KEY))
  }
}

function compiled(): Bench[] {
  return builtCores().map(({ name, bytes }) => {
    const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES })
    return new Bench(name, memory.buffer, instantiateCore(bytes, memory).exports as unknown as Aead)
  })
}

async function plainTypeScript(): Promise<Bench> {
  const memory = new ArrayBuffer(MEMORY_PAGES * 65_536)
  usePlainMemory(memory)
  const { seal, open } = await import('./aead.ts')
  return new Bench('TypeScript', memory, { aeadSeal: seal, aeadOpen: open })
}

function reference({ key, nonce, header, plaintext }: Packet): Buffer {
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: TAG_SIZE })
  cipher.setAAD(header, { plaintextLength: plaintext.length })
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** Mostly packets of all sizes, some longer, some empty. */
function randomPacket(random: SeededRandom): Packet {
  const draw = (size: number) => {
    const bytes = new Uint8Array(size)
    random.fill(bytes)
    return bytes
  }
  const size = random.below(10) === 0 ? random.below(9_000) : random.below(1_473)
  return {
    key: draw(32),
    nonce: draw(12),
    header: draw(random.below(41)),
    plaintext: draw(random.below(50) === 0 ? 0 : size),
  }
}

for (const bench of [...compiled(), await plainTypeScript()]) {
  const { name, bytes } = bench

  test(`${name}: gives the published ciphertexts and opens them`, () => {
    for (const { section, ciphertext, tag, ...packet } of AEAD_VECTORS) {
      const expected = Buffer.concat([ciphertext, tag])
      assert.is(bench.seal(packet).toString('hex'), expected.toString('hex'), section)
      assert.ok(bench.open(packet.header.length, packet.plaintext.length), section)
      assert.equal(bench.read(packet.plaintext.length), packet.plaintext, section)
    }
  })

  test(`${name}: equals node:crypto, whatever the packet, and touches nothing around it`, () => {
    const random = new SeededRandom(1)
    const count = name === 'simd' || name === 'plain' ? COUNT : COUNT / 10
    for (let index = 0; index < count; index += 1) {
      const packet = randomPacket(random)
      const size = packet.plaintext.length
      const at = PAYLOAD + random.below(16)
      bytes[at - 1] = 0xa5
      bytes[at + size + TAG_SIZE] = 0x5a
      const sealed = bench.seal(packet, at)
      if (!sealed.equals(reference(packet))) assert.unreachable(`packet ${index} sealed wrongly`)
      const isOpen = bench.open(packet.header.length, size, at)
      if (!isOpen || !bench.read(size, at).equals(packet.plaintext)) {
        assert.unreachable(`packet ${index} not opened`)
      }
      assert.ok(bytes[at - 1] === 0xa5 && bytes[at + size + TAG_SIZE] === 0x5a)
    }
  })

  test(`${name}: refuses every flipped bit and leaves the packet as it came`, () => {
    const random = new SeededRandom(2)
    for (const size of [0, 1, 15, 16, 100, 128, 333]) {
      const packet = { ...randomPacket(random), plaintext: Buffer.alloc(size, 0x42) }
      const headerSize = packet.header.length
      const sealed = bench.seal(packet)
      const places = [
        [KEY, 32],
        [NONCE, 12],
        [HEADER, headerSize],
        [PAYLOAD, size + TAG_SIZE],
      ] as const
      for (const [from, length] of places) {
        for (let bit = 0; bit < length * 8; bit += 1) {
          const at = from + (bit >> 3)
          bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7))
          const before = bench.read(size + TAG_SIZE)
          assert.not.ok(bench.open(headerSize, size), `bit ${bit} from ${from}`)
          assert.equal(bench.read(size + TAG_SIZE), before)
          bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7))
        }
      }
      assert.equal(bench.read(size + TAG_SIZE), sealed)
      assert.ok(bench.open(headerSize, size))
    }
  })

  test(`${name}: refuses other sizes: bytes moved between header and payload, or cut off`, () => {
    const packet = { ...randomPacket(new SeededRandom(3)), header: Buffer.alloc(16, 7) }
    const size = packet.plaintext.length
    bench.seal(packet)
    for (const [header, payload] of [
      [15, size],
      [0, size],
      [17, size],
      [16, size - 1],
      [16, size + 1],
      [16, 0],
    ] as const) {
      assert.not.ok(bench.open(header, payload), `${header} and ${payload}`)
    }
    assert.ok(bench.open(16, size))
  })

  test(`${name}: leaves nothing of key or keystream behind, whether it opens or not`, () => {
    bytes.fill(0, FIXED_MEMORY, KEY)
    const clean = bench.fixedMemory()
    for (const size of [0, 1, 128, 129, 1200, 2432, 2433, 9000]) {
      const packet = { ...randomPacket(new SeededRandom(4)), plaintext: Buffer.alloc(size, 1) }
      bench.seal(packet)
      assert.ok(bench.fixedMemory().equals(clean), `sealing ${size} B`)
      bytes[KEY] = (bytes[KEY] as number) ^ 1
      assert.not.ok(bench.open(packet.header.length, size))
      assert.ok(bench.fixedMemory().equals(clean), `refusing ${size} B`)
      bytes[KEY] = (bytes[KEY] as number) ^ 1
      assert.ok(bench.open(packet.header.length, size))
      assert.ok(bench.fixedMemory().equals(clean), `opening ${size} B`)
    }
  })
}

test.run()
