import { generateKeyPairSync, randomFillSync } from 'node:crypto'
import type { Random } from '../machine.ts'

const POOL_WORDS = 1024

/** Cryptographic chance, drawn from the system in portions: one call of the system per 4 KiB. */
export function systemRandom(): Random {
  const pool = new Uint32Array(POOL_WORDS)
  let used = POOL_WORDS
  return {
    u32() {
      if (used === POOL_WORDS) {
        randomFillSync(pool)
        used = 0
      }
      const value = pool[used] as number
      // What was given out must not be found in memory later.
      pool[used] = 0
      used += 1
      return value
    },
    fill(bytes) {
      randomFillSync(bytes)
    },
    x25519Key: () => generateKeyPairSync('x25519').privateKey,
  }
}
