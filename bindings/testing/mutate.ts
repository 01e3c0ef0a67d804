/**
 * Changes datagrams as an attacker who knows the format would: frames are taken apart, changed,
 * repeated, reordered or made up, and the checksum is made to fit again in most cases.
 */
import {
  CRC_SIZE,
  FIRST_LONG,
  FRAME_ACCEPT,
  FRAME_ACK,
  FRAME_ACK_PATH,
  FRAME_CLOSE,
  FRAME_DATA_BLOCKED,
  FRAME_MAX_DATA,
  FRAME_MAX_STREAM_DATA,
  FRAME_MAX_STREAMS,
  FRAME_OPEN,
  FRAME_PADDING,
  FRAME_PING,
  FRAME_REFUSE,
  FRAME_RESET,
  FRAME_STOP,
  FRAME_STREAM,
  FRAME_STREAM_DATA_BLOCKED,
  LONG_SIZE,
  SHORT_NUMBER,
  SHORT_SIZE,
  STREAM_FIN_BIT,
  STREAM_LENGTH_BIT,
} from '../../assembly/wire.ts'
import { crc32cReference } from '../../ts/dev/crc32c-reference.ts'

/** The part of a seeded generator that is used here. */
export interface Chance {
  u32(): number
  below(count: number): number
  between(low: number, high: number): number
  chance(probability: number): boolean
  pick<Choice>(choices: readonly Choice[]): Choice
}

export interface Frame {
  type: number
  /** The integers in order; of a STREAM frame its number and offset. */
  integers: number[]
  /** Of STREAM frames. */
  data?: Uint8Array
}

/** Integers of each type of frame; the others have a form of their own. */
const INTEGER_COUNTS: ReadonlyMap<number, number> = new Map([
  [FRAME_PADDING, 0],
  [FRAME_PING, 0],
  [FRAME_RESET, 3],
  [FRAME_STOP, 2],
  [FRAME_MAX_DATA, 1],
  [FRAME_MAX_STREAM_DATA, 2],
  [FRAME_MAX_STREAMS, 1],
  [FRAME_DATA_BLOCKED, 1],
  [FRAME_STREAM_DATA_BLOCKED, 2],
  [FRAME_OPEN, 2],
  [FRAME_ACCEPT, 1],
  [FRAME_REFUSE, 2],
  [FRAME_CLOSE, 1],
])
const STREAM_TYPES = [0, 1, 2, 3].map((bits) => FRAME_STREAM | bits)
const TYPES = [...INTEGER_COUNTS.keys(), ...STREAM_TYPES, FRAME_ACK, FRAME_ACK_PATH]

/** Around every size of an integer, and around the limits of what is believed. */
const BOUNDARIES = [
  0,
  1,
  2,
  63,
  64,
  255,
  256,
  4095,
  4096,
  16_383,
  16_384,
  65_535,
  65_536,
  2 ** 29 - 1,
  2 ** 30 - 1,
  2 ** 30,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32,
  2 ** 53 - 1,
]

// ── Integers ─────────────────────────────────────────────────────────────────────────────────────

/** Writes an integer, up to 2^62: also those that no reader may take. */
export function encodeInteger(value: number, sizeMin = 1): number[] {
  const shortest = value < 2 ** 6 ? 1 : value < 2 ** 14 ? 2 : value < 2 ** 30 ? 4 : 8
  const size = Math.max(shortest, sizeMin)
  let bits = (BigInt(value) << 2n) | BigInt([1, 2, 4, 8].indexOf(size))
  const bytes: number[] = []
  for (let index = 0; index < size; index += 1) {
    bytes.push(Number(bits & 0xffn))
    bits >>= 8n
  }
  return bytes
}

class Reader {
  readonly bytes: Uint8Array
  at: number
  readonly end: number

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes
    this.at = at
    this.end = end
  }

  /** @throws RangeError at the end: what is read was not made by us. */
  integer(): number {
    const size = 1 << ((this.bytes[this.at] ?? 0) & 3)
    if (this.at + size > this.end) throw new RangeError('truncated')
    let bits = 0n
    for (let index = size - 1; index >= 0; index -= 1) {
      bits = (bits << 8n) | BigInt(this.bytes[this.at + index] ?? 0)
    }
    this.at += size
    return Number(bits >> 2n)
  }
}

// ── Frames ───────────────────────────────────────────────────────────────────────────────────────

/** Frames of a packet with a short header, or undefined when they are not well-formed. */
export function parseFrames(packet: Uint8Array): Frame[] | undefined {
  const reader = new Reader(packet, SHORT_SIZE, packet.length - CRC_SIZE)
  const frames: Frame[] = []
  try {
    while (reader.at < reader.end) frames.push(parseFrame(reader))
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
  return frames
}

function parseFrame(reader: Reader): Frame {
  const type = reader.bytes[reader.at] ?? 0
  reader.at += 1
  if (STREAM_TYPES.includes(type)) {
    const integers = [reader.integer(), reader.integer()]
    const size = (type & STREAM_LENGTH_BIT) !== 0 ? reader.integer() : reader.end - reader.at
    if (reader.at + size > reader.end) throw new RangeError('truncated')
    const data = reader.bytes.slice(reader.at, reader.at + size)
    reader.at += size
    return { type, integers, data }
  }
  if (type === FRAME_ACK || type === FRAME_ACK_PATH) {
    const head = type === FRAME_ACK_PATH ? [reader.integer()] : []
    const fixed = [reader.integer(), reader.integer(), reader.integer(), reader.integer()]
    const further = Math.min((fixed[2] ?? 0) * 2, 600)
    return { type, integers: [...head, ...fixed, ...take(further, () => reader.integer())] }
  }
  const count = INTEGER_COUNTS.get(type)
  if (count === undefined) throw new RangeError('unknown type')
  return { type, integers: take(count, () => reader.integer()) }
}

const take = <Value>(count: number, draw: () => Value): Value[] =>
  Array.from({ length: count }, draw)

export function encodeFrame(frame: Frame): number[] {
  const integers = frame.integers.flatMap((value) => encodeInteger(value))
  if (frame.data === undefined) return [frame.type, ...integers]
  const length = (frame.type & STREAM_LENGTH_BIT) !== 0 ? encodeInteger(frame.data.length) : []
  return [frame.type, ...integers, ...length, ...frame.data]
}

/** Puts frames behind the header of `packet`; the checksum fits. */
export function withFrames(packet: Uint8Array, frames: readonly Frame[]): Uint8Array {
  const body = frames.flatMap(encodeFrame).slice(0, 65_000)
  return seal(Uint8Array.from([...packet.subarray(0, SHORT_SIZE), ...body, 0, 0, 0, 0]))
}

/** A packet of the same sender with the next number after `packet`, or another. */
export function forge(packet: Uint8Array, frames: readonly Frame[], numberAhead = 1): Uint8Array {
  const forged = Uint8Array.from(packet)
  const view = new DataView(forged.buffer)
  view.setUint32(SHORT_NUMBER, (view.getUint32(SHORT_NUMBER, true) + numberAhead) >>> 0, true)
  return withFrames(forged, frames)
}

/** Makes the last four bytes the checksum of all before them. */
export function seal(packet: Uint8Array): Uint8Array {
  const end = packet.length - CRC_SIZE
  if (end < 0) return packet
  const view = new DataView(packet.buffer, packet.byteOffset)
  view.setUint32(end, crc32cReference(packet.subarray(0, end)), true)
  return packet
}

/** Pads the last frame's lack of a length: a STREAM frame without one must stand last. */
export const streamFrame = (
  number: number,
  offset: number,
  data: Uint8Array,
  isFin = false,
): Frame => ({
  type: FRAME_STREAM | STREAM_LENGTH_BIT | (isFin ? STREAM_FIN_BIT : 0),
  integers: [number, offset],
  data,
})

// ── Mutation ─────────────────────────────────────────────────────────────────────────────────────

function drawInteger(random: Chance, near: number): number {
  const kind = random.below(10)
  if (kind < 4) return Math.max(0, near + random.between(-3, 3))
  if (kind < 7) return random.pick(BOUNDARIES)
  if (kind < 8) return Math.min(2 ** 61, near * 2 ** random.below(20))
  return random.below(kind === 8 ? 64 : 2 ** 32)
}

function drawFrame(random: Chance, known: readonly Frame[]): Frame {
  const type = random.pick(TYPES)
  // Numbers of streams, offsets and limits that are in use reach further than any others.
  const seen = known.flatMap(({ integers }) => integers)
  const integer = () =>
    seen.length > 0 && random.chance(0.6) ? random.pick(seen) : drawInteger(random, 10)
  if (STREAM_TYPES.includes(type)) {
    const data = Uint8Array.from(take(random.pick([0, 1, 10, 300]), () => random.u32() & 0xff))
    return { type, integers: [integer(), integer()], data }
  }
  if (type === FRAME_ACK || type === FRAME_ACK_PATH) {
    const further = random.pick([0, 0, 1, 2, 30, 256, 257])
    const gaps = take(further * 2, () => random.below(4))
    const head = type === FRAME_ACK_PATH ? [random.pick([0, 0, 0, 1, 7, 8, 255, 256])] : []
    return { type, integers: [...head, integer(), random.below(1e6), further, integer(), ...gaps] }
  }
  return { type, integers: take(INTEGER_COUNTS.get(type) ?? 0, integer) }
}

/** Frames as an attacker would change them. */
export function mutateFrames(random: Chance, frames: Frame[]): Frame[] {
  const changed = frames.map(({ type, integers, data }) => ({
    type,
    integers: [...integers],
    ...(data === undefined ? {} : { data }),
  }))
  for (let count = random.between(1, 3); count > 0; count -= 1) {
    const index = random.below(Math.max(changed.length, 1))
    const frame = changed[index]
    const kind = random.below(8)
    if (kind === 0 || frame === undefined) changed.splice(index, 0, drawFrame(random, frames))
    else if (kind === 1) changed.splice(index, 1)
    else if (kind === 2) changed.push(frame)
    else if (kind === 3) changed.reverse()
    else if (kind === 4) frame.type = random.chance(0.8) ? random.pick(TYPES) : random.below(256)
    else if (frame.integers.length > 0) {
      const at = random.below(frame.integers.length)
      frame.integers[at] = drawInteger(random, frame.integers[at] ?? 0)
    } else changed.push(drawFrame(random, frames))
  }
  if (random.chance(0.02)) {
    // Many of a kind: what costs the receiver more than the sender.
    const frame = drawFrame(random, frames)
    for (let count = random.between(10, 400); count > 0; count -= 1) changed.push(frame)
  }
  return changed
}

function mutateBytes(random: Chance, bytes: Uint8Array): Uint8Array {
  const kind = random.below(5)
  if (kind === 0) return bytes.slice(0, random.below(bytes.length + 1))
  const changed = kind === 1 ? new Uint8Array(bytes.length + random.between(1, 40)) : bytes.slice()
  changed.set(bytes)
  if (changed.length === 0) return changed
  const isHeader = random.chance(0.5)
  for (let count = random.between(1, 4); count > 0; count -= 1) {
    const at = random.below(isHeader ? Math.min(changed.length, LONG_SIZE) : changed.length)
    changed[at] = kind === 2 ? random.u32() : (changed[at] ?? 0) ^ (1 << random.below(8))
  }
  return changed
}

/** A changed copy. Its checksum fits in nine of ten cases, so that what lies behind it is reached. */
export function mutate(random: Chance, bytes: Uint8Array): Uint8Array {
  const isShort = bytes.length > SHORT_SIZE + CRC_SIZE && ((bytes[0] ?? 0) & FIRST_LONG) === 0
  const frames = isShort && random.chance(0.75) ? parseFrames(bytes) : undefined
  let changed: Uint8Array
  if (frames === undefined) changed = mutateBytes(random, bytes)
  else {
    changed = withFrames(bytes, mutateFrames(random, frames))
    // A number that was not used yet, or the packet counts as a repetition.
    if (random.chance(0.9)) {
      const ahead = random.chance(0.95) ? random.between(0, 5) : random.u32()
      const view = new DataView(changed.buffer)
      const number = view.getUint32(SHORT_NUMBER, true)
      view.setUint32(SHORT_NUMBER, (number + ahead) >>> 0, true)
    }
  }
  return random.chance(0.9) ? seal(changed) : changed
}
