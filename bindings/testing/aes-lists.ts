/** AES-128-GCM in job lists, and the same by node:crypto. */
import { createCipheriv } from 'node:crypto'
import * as assert from 'uvu/assert'
import {
  CIPHER_AES,
  JOB_SIZE,
  SLOT_CIPHER,
  SLOT_GENERATION,
  SLOT_IV,
  SLOT_KEY,
  SLOT_SIZE,
  TX_ARENA,
} from '../core.ts'
import type { NativePair } from './native-pair.ts'

/** Key slots and job lists of one job each, at the end of the memory. */
export class AesLists {
  private readonly pair: NativePair
  private readonly slots: number
  private generation = 0

  constructor(pair: NativePair) {
    this.pair = pair
    this.slots = pair.core.u8.length - 65_536
  }

  setKey(index: number, { key, vector }: { key: Buffer; vector: Buffer }): void {
    const { u8, i32 } = this.pair.core
    const at = this.slots + index * SLOT_SIZE
    this.generation += 1
    i32[(at + SLOT_GENERATION) >> 2] = this.generation
    i32[(at + SLOT_CIPHER) >> 2] = CIPHER_AES
    u8.set(key, at + SLOT_KEY)
    u8.set(vector, at + SLOT_IV)
  }

  wipe(index: number): void {
    this.pair.core.u8.fill(0, this.slots + index * SLOT_SIZE, this.slots + (index + 1) * SLOT_SIZE)
  }

  /** Gives the verdict. */
  run(
    operation: number,
    index: number,
    number: number,
    header: Buffer,
    payload: Buffer,
    trailer: Buffer,
    slot = this.slots + index * SLOT_SIZE,
  ): number {
    const { core, hub } = this.pair
    const jobs = this.slots + 32_768
    const payloadAt = TX_ARENA + header.length
    core.u8.set(header, TX_ARENA)
    core.u8.set(payload, payloadAt)
    core.u8.set(trailer, payloadAt + payload.length)
    this.payloadAt = payloadAt
    const [low, high] = [number | 0, Math.floor(number / 2 ** 32)]
    const values = [operation, slot, low, high, TX_ARENA, header.length, payloadAt, payload.length]
    core.i32.set(values, jobs >> 2)
    const verdict = jobs + JOB_SIZE
    const done = hub.runJobs(jobs, 1, verdict)
    assert.is(done, core.u8[verdict] === 0 ? 0 : 1)
    return core.u8[verdict] as number
  }
  private payloadAt = 0

  payload(size: number): Buffer {
    return Buffer.from(this.pair.core.u8.slice(this.payloadAt, this.payloadAt + size))
  }
}

/** What the core's job means, by node:crypto. */
export const cryptoSeal = (
  key: Buffer,
  vector: Buffer,
  number: number,
  header: Buffer,
  plain: Buffer,
): Buffer => {
  const nonce = Buffer.alloc(12)
  nonce[0] = header[1] as number
  nonce.writeUInt32LE(number >>> 0, 4)
  nonce.writeUInt32LE(Math.floor(number / 2 ** 32), 8)
  for (let i = 0; i < 12; i++) nonce[i] = (nonce[i] as number) ^ (vector[i] as number)
  const cipher = createCipheriv('aes-128-gcm', key, nonce)
  cipher.setAAD(header)
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
}
