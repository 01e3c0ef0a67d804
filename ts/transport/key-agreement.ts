/** X25519 (RFC 7748) on `node:crypto`, with keys as the 32 bytes that travel. */
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto'

export const X25519_KEY_SIZE = 32

/** RFC 8410 §7, §4: everything in front of the 32 bytes of a key in DER. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex')
const PUBLIC_PREFIX = Buffer.from('302a300506032b656e032100', 'hex')

/** A key pair; the private half stays inside `node:crypto`. */
export interface KeyPair {
  readonly privateKey: KeyObject
  readonly publicKey: Uint8Array
}

/** Makes the key pair of 32 private bytes. They remain the caller's, to be wiped. */
export function x25519KeyPair(privateBytes: Uint8Array): KeyPair {
  if (privateBytes.length !== X25519_KEY_SIZE) throw new RangeError('an X25519 key has 32 bytes')
  const der = Buffer.concat([PRIVATE_PREFIX, privateBytes])
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  const publicDer = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return { privateKey, publicKey: Uint8Array.from(publicDer.subarray(PUBLIC_PREFIX.length)) }
}

/**
 * Gives the shared secret, 32 bytes.
 * @throws when the public key is one of the few whose secret is all zeros: OpenSSL refuses them.
 */
export function x25519(privateKey: KeyObject, publicBytes: Uint8Array): Buffer {
  const key = Buffer.concat([PUBLIC_PREFIX, publicBytes])
  const publicKey = createPublicKey({ key, format: 'der', type: 'spki' })
  return diffieHellman({ privateKey, publicKey })
}
