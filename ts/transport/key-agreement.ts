/** X25519 (RFC 7748) on `node:crypto`, with keys as the 32 bytes that travel. */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto'
import type { KeyPair } from '../machine.ts'

export const X25519_KEY_SIZE = 32

/** RFC 8410 §7: everything in front of the 32 bytes of a private key in DER. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** Makes the key pair of 32 private bytes. They remain the caller's, to be wiped. */
export function x25519KeyPair(privateBytes: Uint8Array): KeyPair {
  if (privateBytes.length !== X25519_KEY_SIZE) throw new RangeError('an X25519 key has 32 bytes')
  const der = Buffer.concat([PRIVATE_PREFIX, privateBytes])
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' })
  return { privateKey, publicKey: Uint8Array.from(Buffer.from(x, 'base64url')) }
}

/**
 * Gives the shared secret, 32 bytes.
 * @throws when the public key is one of the few whose secret is all zeros: OpenSSL refuses them.
 */
export function x25519(privateKey: KeyObject, remote: Uint8Array): Buffer {
  // JWK (RFC 8037): OpenSSL 3.0 takes ten times as long for a key in DER.
  const x = Buffer.from(remote).toString('base64url')
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' })
  return diffieHellman({ privateKey, publicKey })
}
