import { generateKeyPairSync, type KeyObject, randomFillSync } from 'node:crypto'
import type { KeyPair, Random } from '../machine.ts'

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
    x25519KeyPair: drawKeyPair,
  }
}

/**
 * The public half is asked for with the key. `export` afterwards would hold the key's lock while it
 * makes strings; a garbage collection then may find what made the key, which ends by taking the same
 * lock: the process stands still for good, on Node 20 once in some thousand keys.
 */
function drawKeyPair(): KeyPair {
  const { privateKey, publicKey } = generate('x25519', { publicKeyEncoding: { format: 'jwk' } })
  return { privateKey, publicKey: Uint8Array.from(Buffer.from(publicKey.x, 'base64url')) }
}

/** As it is documented; its types do not know that one half alone may be encoded, or as JWK. */
const generate = generateKeyPairSync as unknown as (
  type: 'x25519',
  options: { readonly publicKeyEncoding: { readonly format: 'jwk' } },
) => { readonly privateKey: KeyObject; readonly publicKey: { readonly x: string } }
