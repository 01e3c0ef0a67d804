/**
 * ChaCha20-Poly1305 of RFC 8439 §2.8, in place: what protects packets. Shared source.
 *
 * A packet's length decides how long this takes; its bytes, the key and whether the tag is right up
 * to some byte do not. Nothing of a key or keystream stays in memory after a call.
 */
import { CHACHA_BLOCK_SIZE, CHACHA_BLOCKS_MAX, chacha20, xorInto } from './chacha'
import { POLY_STATE_SIZE, polyFinish, polyPadded, polyStart } from './poly1305'
import { fill, mini, type ptr, r32, w32 } from './prelude'

export const AEAD_KEY_SIZE: i32 = 32
export const AEAD_NONCE_SIZE: i32 = 12
export const AEAD_TAG_SIZE: i32 = 16

/** Working memory, between the tables of CRC32C; all zeros between calls. */
export const AEAD_SCRATCH: i32 = 0x24100
export const AEAD_SCRATCH_SIZE: i32 = 0x170

const KEYSTREAM: ptr = AEAD_SCRATCH
const KEYSTREAM_SIZE: i32 = CHACHA_BLOCKS_MAX * CHACHA_BLOCK_SIZE
const POLY: ptr = KEYSTREAM + KEYSTREAM_SIZE
const LENGTHS: ptr = POLY + POLY_STATE_SIZE
const TAG: ptr = LENGTHS + 16

/**
 * Enciphers the payload in place and writes the tag, 16 bytes, right behind it. A nonce must never
 * serve twice under one key.
 */
export function seal(
  key: ptr,
  nonce: ptr,
  header: ptr,
  headerSize: i32,
  payload: ptr,
  payloadSize: i32,
): void {
  start(key, nonce, payloadSize)
  cipher(key, nonce, payload, payloadSize)
  authenticate(header, headerSize, payload, payloadSize, payload + payloadSize)
  fill(AEAD_SCRATCH, AEAD_SCRATCH_SIZE)
}

/**
 * Checks the tag behind the payload, whose size is given without it. Deciphers in place when it is
 * right; else answers false and leaves everything as it is.
 */
export function open(
  key: ptr,
  nonce: ptr,
  header: ptr,
  headerSize: i32,
  payload: ptr,
  payloadSize: i32,
): bool {
  start(key, nonce, payloadSize)
  authenticate(header, headerSize, payload, payloadSize, TAG)
  const isRight: bool = equalTags(TAG, payload + payloadSize)
  if (isRight) cipher(key, nonce, payload, payloadSize)
  fill(AEAD_SCRATCH, AEAD_SCRATCH_SIZE)
  return isRight
}

/** Gives the first blocks of keystream and takes the authenticator's key from block 0 (§2.6). */
function start(key: ptr, nonce: ptr, payloadSize: i32): void {
  chacha20(key, nonce, 0, mini(CHACHA_BLOCKS_MAX, 1 + blockCount(payloadSize)), KEYSTREAM)
  polyStart(POLY, KEYSTREAM)
}

/** XORs the keystream from block 1 on. The first blocks are there since `start`. */
function cipher(key: ptr, nonce: ptr, payload: ptr, payloadSize: i32): void {
  let counter: i32 = CHACHA_BLOCKS_MAX
  let done: i32 = mini(payloadSize, KEYSTREAM_SIZE - CHACHA_BLOCK_SIZE)
  xorInto(payload, KEYSTREAM + CHACHA_BLOCK_SIZE, done)
  while (done < payloadSize) {
    const size: i32 = mini(payloadSize - done, KEYSTREAM_SIZE)
    chacha20(key, nonce, counter, blockCount(size), KEYSTREAM)
    xorInto(payload + done, KEYSTREAM, size)
    done = done + size
    counter = counter + CHACHA_BLOCKS_MAX
  }
}

function authenticate(
  header: ptr,
  headerSize: i32,
  ciphertext: ptr,
  ciphertextSize: i32,
  tag: ptr,
): void {
  polyPadded(POLY, header, headerSize)
  polyPadded(POLY, ciphertext, ciphertextSize)
  // Both lengths as 64-bit numbers; the upper halves are 0 already.
  w32(LENGTHS, headerSize)
  w32(LENGTHS + 8, ciphertextSize)
  polyPadded(POLY, LENGTHS, 16)
  polyFinish(POLY, tag)
}

/** Compares without telling by its time how much is equal. */
function equalTags(a: ptr, b: ptr): bool {
  let difference: i32 = 0
  for (let at: i32 = 0; at < AEAD_TAG_SIZE; at = at + 4) {
    difference = difference | (r32(a + at) ^ r32(b + at))
  }
  return difference === 0
}

function blockCount(size: i32): i32 {
  return (size + CHACHA_BLOCK_SIZE - 1) >> 6
}
