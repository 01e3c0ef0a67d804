/** Packet protection for the micro benchmark: the core's against `node:crypto`, call by call. */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { Core, type CoreBuild, RX_ARENA, SCRATCH } from '../../bindings/core.ts'
import { fillTestBytes } from '../../ts/dev/crc32c-reference.ts'
import type { Contender } from './micro-harness.ts'

/** As many packets as one drain brings, each with a place and a nonce of its own. */
const BATCH = 32
const STRIDE = 2048
const KEY_SIZE = 32
const NONCE_SIZE = 12
const NUMBER_AT = 4
/** What a short header with its path takes, about. */
const HEADER_SIZE = 16
const TAG_SIZE = 16

const KEY_AT = SCRATCH
const NONCE_AT = SCRATCH + KEY_SIZE

/** Seals and opens a batch of packets; the sealed batch of both ways must be the same. */
export function aeadContenders(payloadSize: number): Contender[] {
  const parties = [
    new CoreAead('core, SIMD', 'simd', payloadSize),
    new NodeAead(payloadSize),
    new CoreAead('core without SIMD', 'plain', payloadSize),
  ]
  const [first, ...others] = parties.map((party) => party.sealedOnce())
  if (!others.every((sealed) => first?.equals(sealed))) throw new Error('AEAD: wrong ciphertext')
  return parties.map((party) => ({
    name: party.name,
    operations: BATCH,
    run(times) {
      let opened = 0
      for (let batch = 0; batch < times; batch += 1) {
        party.seal(batch)
        opened += party.open(batch)
      }
      if (opened !== times * BATCH) throw new Error(`${party.name}: a packet did not open`)
      return opened
    },
  }))
}

interface Aead {
  readonly name: string
  /** Seals all packets of a batch in place; numbers begin at `batch`. */
  seal(batch: number): void
  /** Opens them in place and gives how many were right. */
  open(batch: number): number
  /** What sealing batch 0 makes of the test bytes. */
  sealedOnce(): Buffer
}

class CoreAead implements Aead {
  readonly name: string
  private readonly core: Core
  private readonly size: number

  constructor(name: string, build: CoreBuild, size: number) {
    this.name = name
    this.size = size
    this.core = Core.create({ build })
    this.core.u8.set(testBytes(KEY_SIZE), KEY_AT)
    this.core.u8.set(testBytes(BATCH * STRIDE), RX_ARENA)
  }

  seal(batch: number): void {
    const { i32, exports: core } = this.core
    for (let index = 0; index < BATCH; index += 1) {
      const header = RX_ARENA + index * STRIDE
      i32[(NONCE_AT + NUMBER_AT) >> 2] = batch + index
      core.aeadSeal(KEY_AT, NONCE_AT, header, HEADER_SIZE, header + HEADER_SIZE, this.size)
    }
  }

  open(batch: number): number {
    const { i32, exports: core } = this.core
    let opened = 0
    for (let index = 0; index < BATCH; index += 1) {
      const header = RX_ARENA + index * STRIDE
      i32[(NONCE_AT + NUMBER_AT) >> 2] = batch + index
      opened += core.aeadOpen(
        KEY_AT,
        NONCE_AT,
        header,
        HEADER_SIZE,
        header + HEADER_SIZE,
        this.size,
      )
    }
    return opened
  }

  sealedOnce(): Buffer {
    this.seal(0)
    const sealed = Buffer.from(this.core.u8.slice(RX_ARENA, RX_ARENA + BATCH * STRIDE))
    this.open(0)
    return sealed
  }
}

class NodeAead implements Aead {
  readonly name = 'node:crypto, one call per packet'
  private readonly key = testBytes(KEY_SIZE)
  private readonly nonce = Buffer.alloc(NONCE_SIZE)
  private readonly bytes = testBytes(BATCH * STRIDE)
  /** Views made once: what a program that knows its buffers would do. */
  private readonly packets

  constructor(size: number) {
    this.packets = Array.from({ length: BATCH }, (_, index) => {
      const packet = this.bytes.subarray(index * STRIDE)
      const end = HEADER_SIZE + size
      return {
        header: packet.subarray(0, HEADER_SIZE),
        payload: packet.subarray(HEADER_SIZE, end),
        tag: packet.subarray(end, end + TAG_SIZE),
      }
    })
  }

  seal(batch: number): void {
    for (const [index, { header, payload, tag }] of this.packets.entries()) {
      this.nonce.writeInt32LE(batch + index, NUMBER_AT)
      const options = { authTagLength: TAG_SIZE }
      const cipher = createCipheriv('chacha20-poly1305', this.key, this.nonce, options)
      cipher.setAAD(header, { plaintextLength: payload.length })
      payload.set(cipher.update(payload))
      cipher.final()
      tag.set(cipher.getAuthTag())
    }
  }

  open(batch: number): number {
    let opened = 0
    for (const [index, { header, payload, tag }] of this.packets.entries()) {
      this.nonce.writeInt32LE(batch + index, NUMBER_AT)
      const options = { authTagLength: TAG_SIZE }
      const decipher = createDecipheriv('chacha20-poly1305', this.key, this.nonce, options)
      decipher.setAAD(header, { plaintextLength: payload.length })
      decipher.setAuthTag(tag)
      payload.set(decipher.update(payload))
      // It throws when the tag is wrong.
      decipher.final()
      opened += 1
    }
    return opened
  }

  sealedOnce(): Buffer {
    this.seal(0)
    const sealed = Buffer.from(this.bytes)
    this.open(0)
    return sealed
  }
}

function testBytes(size: number): Buffer {
  const bytes = Buffer.alloc(size)
  fillTestBytes(bytes, 3)
  return bytes
}
