/** The same work in the fastest JavaScript we know: what the compiled core is measured against. */

/** The generator polynomial, bits reversed (RFC 3720 §12.1). */
const POLYNOMIAL = 0x82f63b78

/** Table k, of 256 words, holds the CRC of a byte followed by k zero bytes. One flat array. */
const TABLES = new Int32Array(4096)
for (let byte = 0; byte < 256; byte += 1) {
  let crc = byte
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  TABLES[byte] = crc
}
for (let entry = 256; entry < 4096; entry += 1) {
  const shorter = TABLES[entry - 256] as number
  TABLES[entry] = (shorter >>> 8) ^ (TABLES[shorter & 255] as number)
}

/**
 * CRC32C of `length` bytes by slicing-16 over words: the best of the JavaScript ways measured. Its
 * start must be a multiple of four; reading words at other places would need a DataView.
 */
export function crc32cSlicing16(
  words: Int32Array,
  bytes: Uint8Array,
  start: number,
  length: number,
): number {
  const t = TABLES
  let crc = -1
  let at = start
  const end = start + length
  for (; at + 16 <= end; at += 16) {
    const word = at >> 2
    const a = (words[word] as number) ^ crc
    const b = words[word + 1] as number
    const c = words[word + 2] as number
    const d = words[word + 3] as number
    crc =
      (t[3840 + (a & 255)] as number) ^
      (t[3584 + ((a >>> 8) & 255)] as number) ^
      (t[3328 + ((a >>> 16) & 255)] as number) ^
      (t[3072 + (a >>> 24)] as number) ^
      (t[2816 + (b & 255)] as number) ^
      (t[2560 + ((b >>> 8) & 255)] as number) ^
      (t[2304 + ((b >>> 16) & 255)] as number) ^
      (t[2048 + (b >>> 24)] as number) ^
      (t[1792 + (c & 255)] as number) ^
      (t[1536 + ((c >>> 8) & 255)] as number) ^
      (t[1280 + ((c >>> 16) & 255)] as number) ^
      (t[1024 + (c >>> 24)] as number) ^
      (t[768 + (d & 255)] as number) ^
      (t[512 + ((d >>> 8) & 255)] as number) ^
      (t[256 + ((d >>> 16) & 255)] as number) ^
      (t[d >>> 24] as number)
  }
  for (; at < end; at += 1) {
    crc = (crc >>> 8) ^ (t[(crc ^ (bytes[at] as number)) & 255] as number)
  }
  return ~crc
}

const CID_LOW = 0x12345678
const CID_HIGH = 0x0badcafe
const STREAM = 5

/** Packet framing as in `bench/assembly/framing.ts`, byte for byte, over one ArrayBuffer. */
export class JavaScriptFraming {
  private readonly view: DataView
  private readonly bytes: Uint8Array

  constructor(buffer: ArrayBuffer) {
    this.view = new DataView(buffer)
    this.bytes = new Uint8Array(buffer)
  }

  encodePackets(count: number, size: number, from: number, to: number, first: number): number {
    const { view, bytes } = this
    let p = to
    let source = from
    for (let index = 0; index < count; index += 1) {
      const number = first + index
      view.setUint8(p, 0xc0)
      view.setUint8(p + 1, 0)
      view.setInt32(p + 2, CID_LOW, true)
      view.setInt32(p + 6, CID_HIGH, true)
      view.setInt32(p + 10, number | 0, true)
      view.setUint8(p + 14, 0x0a)
      p = writeVarint(view, p + 15, STREAM)
      p = writeVarint(view, p, number * size)
      p = writeVarint(view, p, size)
      bytes.copyWithin(p, source, source + size)
      p += size
      source += size
    }
    return p
  }

  decodePackets(from: number, end: number, expected: number): number {
    const { view } = this
    let p = from
    let next = expected
    let sum = 0
    while (p < end) {
      if (p + 18 > end || view.getUint8(p) !== 0xc0) return -1
      if (view.getInt32(p + 2, true) !== CID_LOW || view.getInt32(p + 6, true) !== CID_HIGH)
        return -1
      const low = view.getInt32(p + 10, true)
      const nearest = next + ((low - (next | 0)) | 0)
      const number = nearest < 0 ? nearest + 4294967296 : nearest
      if (view.getUint8(p + 14) !== 0x0a) return -1
      p += 15
      const streamSize = 1 << (view.getUint8(p) & 3)
      if (p + streamSize > end) return -1
      const stream = readVarint(view, p)
      p += streamSize
      const offsetSize = p < end ? 1 << (view.getUint8(p) & 3) : 1
      if (p + offsetSize > end) return -1
      const offset = readVarint(view, p)
      p += offsetSize
      const lengthSize = p < end ? 1 << (view.getUint8(p) & 3) : 1
      if (p + lengthSize > end) return -1
      const length = readVarint(view, p)
      p += lengthSize
      if (stream !== STREAM || offset < 0 || length < 0 || length > end - p) return -1
      p += length
      sum += number + offset + length
      next = number + 1
    }
    return sum
  }
}

function writeVarint(view: DataView, p: number, value: number): number {
  if (value < 64) {
    view.setUint8(p, value << 2)
    return p + 1
  }
  if (value < 16384) {
    view.setUint16(p, (value << 2) | 1, true)
    return p + 2
  }
  if (value < 1073741824) {
    view.setUint32(p, (value << 2) | 2, true)
    return p + 4
  }
  const high = Math.floor(value / 1073741824)
  view.setUint32(p, ((value - high * 1073741824) << 2) | 3, true)
  view.setUint32(p + 4, high, true)
  return p + 8
}

function readVarint(view: DataView, p: number): number {
  const kind = view.getUint8(p) & 3
  if (kind === 0) return view.getUint8(p) >> 2
  if (kind === 1) return view.getUint16(p, true) >> 2
  if (kind === 2) return view.getUint32(p, true) >>> 2
  const high = view.getUint32(p + 4, true)
  if (high > 0x7fffff) return -1
  return high * 1073741824 + (view.getUint32(p, true) >>> 2)
}
