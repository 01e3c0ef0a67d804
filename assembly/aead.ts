/**
 * ChaCha20-Poly1305 of RFC 8439 §2.8, in place: what protects packets. Shared source.
 *
 * A packet's length decides how long this takes; its bytes, the key and whether the tag is right up
 * to some byte do not. Nothing of a key or keystream stays in memory after a call.
 */
import { CHACHA_BLOCK_SIZE, CHACHA_BLOCKS_MAX, chacha20, xorInto } from './chacha'
import { POLY_H, POLY_R, POLY_STATE_SIZE, polyFinish, polyPadded, polyStart } from './poly1305'
import { fill, mini, type ptr, r32, w32 } from './prelude'
import { ABSORB_MAX, streamAndAbsorb } from './simd/chacha-poly1305'

export const AEAD_KEY_SIZE: i32 = 32
export const AEAD_NONCE_SIZE: i32 = 12
export const AEAD_TAG_SIZE: i32 = 16

/** Working memory, between the tables of CRC32C and behind them; all zeros between calls. */
export const AEAD_STATE: i32 = 0x24100
export const AEAD_STATE_SIZE: i32 = 0x70
export const AEAD_STREAM: i32 = 0x24600
export const AEAD_STREAM_SIZE: i32 = 0x9c0

const POLY: ptr = AEAD_STATE
const LENGTHS: ptr = POLY + POLY_STATE_SIZE
const TAG: ptr = LENGTHS + 16
/** Keystream from block 0 on, as much of it as a packet of the usual size needs. */
const STREAM: ptr = AEAD_STREAM
/** What one call of the cipher gives, and what the first leaves after the authenticator's key. */
const PIECE_SIZE: i32 = CHACHA_BLOCKS_MAX * CHACHA_BLOCK_SIZE
const FIRST_SIZE: i32 = PIECE_SIZE - CHACHA_BLOCK_SIZE

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
  start(key, nonce, header, headerSize, payloadSize)
  let done: i32 = mini(payloadSize, FIRST_SIZE)
  xorInto(payload, STREAM + CHACHA_BLOCK_SIZE, done)
  let absorbed: i32 = 0
  for (let counter: i32 = CHACHA_BLOCKS_MAX; done < payloadSize; counter += CHACHA_BLOCKS_MAX) {
    const size: i32 = mini(payloadSize - done, PIECE_SIZE)
    absorbed += piece(key, nonce, counter, size, STREAM, payload + absorbed, done - absorbed)
    xorInto(payload + done, STREAM, size)
    done += size
  }
  finish(headerSize, payload, payloadSize, absorbed, payload + payloadSize)
  wipe(PIECE_SIZE)
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
  start(key, nonce, header, headerSize, payloadSize)
  // Making keystream for a packet that may be forged costs nothing while its tag is computed.
  let made: i32 = FIRST_SIZE
  let counter: i32 = CHACHA_BLOCKS_MAX
  let absorbed: i32 = 0
  while (made < payloadSize && CHACHA_BLOCK_SIZE + made + PIECE_SIZE <= AEAD_STREAM_SIZE) {
    const to: ptr = STREAM + CHACHA_BLOCK_SIZE + made
    const size: i32 = mini(payloadSize - made, PIECE_SIZE)
    absorbed += piece(key, nonce, counter, size, to, payload + absorbed, payloadSize - absorbed)
    made += PIECE_SIZE
    counter += CHACHA_BLOCKS_MAX
  }
  finish(headerSize, payload, payloadSize, absorbed, TAG)
  const isRight: bool = equalTags(TAG, payload + payloadSize)
  if (isRight) {
    let done: i32 = mini(payloadSize, made)
    xorInto(payload, STREAM + CHACHA_BLOCK_SIZE, done)
    for (; done < payloadSize; done += PIECE_SIZE) {
      chacha20(key, nonce, counter, CHACHA_BLOCKS_MAX, STREAM)
      xorInto(payload + done, STREAM, mini(payloadSize - done, PIECE_SIZE))
      counter += CHACHA_BLOCKS_MAX
    }
  }
  wipe(CHACHA_BLOCK_SIZE + made)
  return isRight
}

/** Makes the first piece of keystream; block 0 keys the authenticator (§2.6), the header follows. */
function start(key: ptr, nonce: ptr, header: ptr, headerSize: i32, payloadSize: i32): void {
  chacha20(key, nonce, 0, mini(CHACHA_BLOCKS_MAX, 1 + blockCount(payloadSize)), STREAM)
  polyStart(POLY, STREAM)
  polyPadded(POLY, header, headerSize)
}

/**
 * Makes keystream for up to PIECE_SIZE bytes. Builds with SIMD absorb some of the ciphertext at `p`
 * meanwhile; the answer is how many bytes of it.
 */
function piece(
  key: ptr,
  nonce: ptr,
  counter: i32,
  size: i32,
  to: ptr,
  p: ptr,
  available: i32,
): i32 {
  if (ASC_FEATURE_SIMD) {
    const count: i32 = mini(available >> 4, ABSORB_MAX)
    streamAndAbsorb(key, nonce, counter, to, POLY + POLY_H, POLY + POLY_R, p, count)
    return count << 4
  }
  chacha20(key, nonce, counter, blockCount(size), to)
  return 0
}

/** Absorbs what is left of the ciphertext, and both sizes, and writes the tag. */
function finish(headerSize: i32, ciphertext: ptr, size: i32, absorbed: i32, tag: ptr): void {
  polyPadded(POLY, ciphertext + absorbed, size - absorbed)
  // Numbers of 64 bits; the upper halves are 0 already.
  w32(LENGTHS, headerSize)
  w32(LENGTHS + 8, size)
  polyPadded(POLY, LENGTHS, 16)
  polyFinish(POLY, tag)
}

function wipe(streamSize: i32): void {
  fill(AEAD_STATE, AEAD_STATE_SIZE)
  fill(STREAM, streamSize)
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
