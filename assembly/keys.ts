/**
 * Keys of a connection. Each direction has a chain: its present link gives the packet key, the
 * initialisation vector and the next link, so that keys change without a word between the sides. The
 * low bit of a packet's header says which of two epochs it belongs to; the receiver follows the
 * first packet that the next key opens, and keeps the old key for what is late.
 */
import { chacha20 } from './chacha'
import { CN_KEYS, CN_PATHS, probeTimeout } from './connection'
import {
  CIPHER_AES,
  CIPHER_NONE,
  INSTANCE,
  OPERATION_CHECK_CRC,
  OPERATION_OPEN_AES,
  OPERATION_OPEN_CHACHA,
  OPERATION_SEAL_AES,
  OPERATION_SEAL_CHACHA,
  OPERATION_SEAL_CRC,
  SCRATCH,
  SLOT_CIPHER,
  SLOT_GENERATION,
  SLOT_IV,
  SLOT_KEY,
  SLOT_SIZE,
} from './layout'
import { give, take } from './pages'
import { PATH_LARGEST_ACKED, PATH_NEXT } from './path'
import { add32, addf64, copy, fill, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { CRC_SIZE, SHORT_EPOCH, TAG_SIZE } from './wire'

/** Slots of this instance that were ever filled. */
const GENERATIONS: i32 = INSTANCE + 3076
const NONCE: ptr = INSTANCE + 3104
/** Room for all that one call of the cipher may write. */
const BLOCKS: ptr = INSTANCE + 3136

/** A link of a chain, and how many bytes of it a host gives for each direction. */
export const LINK_SIZE: i32 = 32

// ── Fields ───────────────────────────────────────────────────────────────────────────────────────

const CIPHER: i32 = 0
const SEND_EPOCH: i32 = 4
const RECEIVE_EPOCH: i32 = 8
/** Packets sealed, first number and start of the present epoch. */
const SEND_COUNT: i32 = 16
const SEND_FIRST: i32 = 24
const SEND_STARTED: i32 = 32
/** Lowest number that the present key has opened. */
const RECEIVE_LOWEST: i32 = 40
/** Until when the last epoch's key opens packets. */
const PREVIOUS_UNTIL: i32 = 48
const FORGED: i32 = 56
const SEND_LINK: i32 = 64
const RECEIVE_LINK: i32 = 96
const SEND_SLOT: i32 = 128
/** Of the last, the present and the next epoch, by its two low bits. */
const RECEIVE_SLOTS: i32 = 192
const KEYS_SIZE: i32 = RECEIVE_SLOTS + 4 * SLOT_SIZE

/** Packets sealed with one key, and how long one is used: RFC 9001 §6.6 allows AES-GCM 2^23. */
const EPOCH_PACKETS: f64 = 4194304.0
const EPOCH_MICROS: f64 = 120000000.0
/** Forged packets after which a connection gives up (RFC 9001 §6.6: 2^36 for ChaCha20-Poly1305). */
const FORGED_MAX: f64 = 68719476736.0
/** How long the last epoch's key is kept, in probe timeouts. */
const PREVIOUS_TIMEOUTS: f64 = 3.0

// ── Chains ───────────────────────────────────────────────────────────────────────────────────────

/**
 * Fills a slot with the key of a chain's link, and replaces the link with the next one: both are
 * the ChaCha20 keystream of the link with a nonce of ones, which no packet has.
 */
function fillSlot(slot: ptr, link: ptr, cipher: i32): void {
  w32(NONCE, -1)
  w32(NONCE + 4, -1)
  w32(NONCE + 8, -1)
  chacha20(link, NONCE, 0, 2, BLOCKS)
  w32(slot + SLOT_GENERATION, add32(GENERATIONS, 1))
  w32(slot + SLOT_CIPHER, cipher)
  copy(slot + SLOT_KEY, BLOCKS, 32)
  copy(slot + SLOT_IV, BLOCKS + 32, 12)
  copy(link, BLOCKS + 64, LINK_SIZE)
  fill(BLOCKS, 256)
}

function receiveSlotOf(keys: ptr, epoch: i32): ptr {
  return keys + RECEIVE_SLOTS + (epoch & 3) * SLOT_SIZE
}

/**
 * Gives a connection its keys: SCRATCH holds the first link for sending, then that for receiving.
 * False when there is no memory, or when it has keys.
 */
export function keysInstall(cn: ptr, cipher: i32, now: f64): bool {
  if (r32(cn + CN_KEYS) !== 0) return false
  const keys: ptr = take(cn, KEYS_SIZE)
  if (keys === 0) return false
  fill(keys, KEYS_SIZE)
  w32(keys + CIPHER, cipher)
  copy(keys + SEND_LINK, SCRATCH, LINK_SIZE)
  copy(keys + RECEIVE_LINK, SCRATCH + LINK_SIZE, LINK_SIZE)
  fill(SCRATCH, 2 * LINK_SIZE)
  wf64(keys + SEND_FIRST, rf64(r32(cn + CN_PATHS) + PATH_NEXT))
  wf64(keys + SEND_STARTED, now)
  fillSlot(keys + SEND_SLOT, keys + SEND_LINK, cipher)
  fillSlot(receiveSlotOf(keys, 0), keys + RECEIVE_LINK, cipher)
  fillSlot(receiveSlotOf(keys, 1), keys + RECEIVE_LINK, cipher)
  w32(cn + CN_KEYS, keys)
  return true
}

export function keysFree(cn: ptr): void {
  const keys: ptr = r32(cn + CN_KEYS)
  if (keys === 0) return
  fill(keys, KEYS_SIZE)
  give(cn, keys, KEYS_SIZE)
  w32(cn + CN_KEYS, 0)
}

/** CIPHER_… of the connection's packets. */
export function cipherOf(cn: ptr): i32 {
  const keys: ptr = r32(cn + CN_KEYS)
  return keys === 0 ? CIPHER_NONE : r32(keys + CIPHER)
}

/** Size of what follows the last frame. */
export function trailerSize(cn: ptr): i32 {
  return r32(cn + CN_KEYS) === 0 ? CRC_SIZE : TAG_SIZE
}

// ── Sending ──────────────────────────────────────────────────────────────────────────────────────

/** Goes on to the next key when this one is worn, and the peer has seen packets that it sealed. */
export function keysRenew(cn: ptr, path: ptr, now: f64): void {
  const keys: ptr = r32(cn + CN_KEYS)
  if (keys === 0) return
  const isWorn: bool =
    rf64(keys + SEND_COUNT) >= EPOCH_PACKETS || now >= rf64(keys + SEND_STARTED) + EPOCH_MICROS
  if (isWorn && rf64(path + PATH_LARGEST_ACKED) >= rf64(keys + SEND_FIRST)) {
    keysAdvance(cn, path, now)
  }
}

/** Seals with the next key from now on. */
export function keysAdvance(cn: ptr, path: ptr, now: f64): void {
  const keys: ptr = r32(cn + CN_KEYS)
  add32(keys + SEND_EPOCH, 1)
  wf64(keys + SEND_COUNT, 0.0)
  wf64(keys + SEND_FIRST, rf64(path + PATH_NEXT))
  wf64(keys + SEND_STARTED, now)
  fillSlot(keys + SEND_SLOT, keys + SEND_LINK, r32(keys + CIPHER))
}

export function sendEpoch(cn: ptr): i32 {
  const keys: ptr = r32(cn + CN_KEYS)
  return keys === 0 ? 0 : r32(keys + SEND_EPOCH)
}

export function sealOperation(cn: ptr): i32 {
  const cipher: i32 = cipherOf(cn)
  if (cipher === CIPHER_NONE) return OPERATION_SEAL_CRC
  return cipher === CIPHER_AES ? OPERATION_SEAL_AES : OPERATION_SEAL_CHACHA
}

/** Slot that seals the next packet, which counts. */
export function sealSlot(cn: ptr): ptr {
  const keys: ptr = r32(cn + CN_KEYS)
  if (keys === 0) return 0
  addf64(keys + SEND_COUNT, 1.0)
  return keys + SEND_SLOT
}

// ── Receiving ────────────────────────────────────────────────────────────────────────────────────

export function openOperation(cn: ptr): i32 {
  const cipher: i32 = cipherOf(cn)
  if (cipher === CIPHER_NONE) return OPERATION_CHECK_CRC
  return cipher === CIPHER_AES ? OPERATION_OPEN_AES : OPERATION_OPEN_CHACHA
}

/** Slot that should open a packet with this first byte. */
export function openSlot(cn: ptr, first: i32, number: f64, now: f64): ptr {
  const keys: ptr = r32(cn + CN_KEYS)
  if (keys === 0) return 0
  const epoch: i32 = r32(keys + RECEIVE_EPOCH)
  if ((first & SHORT_EPOCH) === (epoch & SHORT_EPOCH)) return receiveSlotOf(keys, epoch)
  const isLate: bool = number < rf64(keys + RECEIVE_LOWEST) && now < rf64(keys + PREVIOUS_UNTIL)
  return receiveSlotOf(keys, isLate ? epoch - 1 : epoch + 1)
}

/** A slot has opened a packet: if it is the next epoch's, that is the present one now. */
export function noteOpened(cn: ptr, path: ptr, slot: ptr, number: f64, now: f64): void {
  const keys: ptr = r32(cn + CN_KEYS)
  if (keys === 0) return
  const epoch: i32 = r32(keys + RECEIVE_EPOCH)
  if (slot !== receiveSlotOf(keys, epoch + 1)) {
    if (slot === receiveSlotOf(keys, epoch) && number < rf64(keys + RECEIVE_LOWEST)) {
      wf64(keys + RECEIVE_LOWEST, number)
    }
    return
  }
  w32(keys + RECEIVE_EPOCH, epoch + 1)
  wf64(keys + RECEIVE_LOWEST, number)
  wf64(keys + PREVIOUS_UNTIL, now + probeTimeout(cn, path) * PREVIOUS_TIMEOUTS)
  fillSlot(receiveSlotOf(keys, epoch + 2), keys + RECEIVE_LINK, r32(keys + CIPHER))
}

/** No key opens a packet; true when that has happened too often for the key to be safe. */
export function noteForged(cn: ptr): bool {
  const keys: ptr = r32(cn + CN_KEYS)
  if (keys === 0) return false
  addf64(keys + FORGED, 1.0)
  return rf64(keys + FORGED) > FORGED_MAX
}
