/** CRC32C one byte at a time, straight from the definition: what every fast way is compared with. */

/** The generator polynomial, bits reversed (RFC 3720 §12.1). */
const POLYNOMIAL = 0x82f63b78

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  return crc
})

/** Gives the CRC32C (0 … 2^32 − 1) of `bytes`, continuing from `seed`. */
export function crc32cReference(bytes: Uint8Array, seed = 0): number {
  let state = ~seed
  for (const byte of bytes) state = (state >>> 8) ^ (TABLE[(state ^ byte) & 255] ?? 0)
  return ~state >>> 0
}

/** A published vector (RFC 3720 §B.4 and the usual check value): text or bytes, and its CRC32C. */
export const CRC32C_VECTORS: readonly (readonly [Uint8Array, number])[] = [
  [Buffer.from('123456789'), 0xe3069283],
  [new Uint8Array(32), 0x8a9136aa],
  [new Uint8Array(32).fill(0xff), 0x62a8ab43],
  [Uint8Array.from({ length: 32 }, (_, index) => index), 0x46dd794e],
  [Uint8Array.from({ length: 32 }, (_, index) => 31 - index), 0x113fdb5c],
]

/** Fills with bytes that look random and are the same in every run. */
export function fillTestBytes(bytes: Uint8Array, seed: number): void {
  let state = seed | 0
  for (let index = 0; index < bytes.length; index += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    bytes[index] = state >>> 24
  }
}

/** Lengths and start offsets worth comparing: all short ones, and a spread of long ones. */
export function* crc32cCases(): Generator<{ length: number; offset: number }> {
  for (let length = 0; length <= 420; length += 1) yield { length, offset: (length * 7) % 16 }
  let state = 1
  for (let count = 0; count < 1200; count += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    yield { length: (state >>> 8) % 5001, offset: (state >>> 4) % 16 }
  }
  // Around whole blocks of long messages.
  for (let length = 8_860; length <= 8_900; length += 1) yield { length, offset: length % 16 }
  for (const length of [17_071, 17_072, 25_300, 65_491]) yield { length, offset: length % 16 }
}
