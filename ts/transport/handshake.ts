/**
 * The handshake's messages: what each side tells the other about itself before streams may flow.
 *
 * One round trip: the initiator's message travels in the initial packet, the responder's in the
 * handshake packet; some suites have a third. A message begins with the number of its suite; what
 * follows are parameters, within a Noise message if the suite has one (docs/protocol.md). A
 * parameter is an id (one byte) and a value: a variable-length integer, for ids from 64 on a string
 * of bytes with its length before it. Unknown parameters are skipped.
 */
import {
  PARAMETER_ACK_DELAY,
  PARAMETER_BURST_BYTES,
  PARAMETER_CIPHER,
  PARAMETER_CONNECTION_ID,
  PARAMETER_CONNECTION_WINDOW,
  PARAMETER_IDLE_TIMEOUT,
  PARAMETER_PACKET_BYTES_MAX,
  PARAMETER_RECORD,
  PARAMETER_RESET_TOKEN,
  PARAMETER_STREAM_WINDOW,
  PARAMETER_STREAMS_MAX,
} from '../../bindings/core.ts'

/** Suites: which handshake, and what protects packets after it. */
export const SUITE_NONE = 0
export const SUITE_XX = 1
export const SUITE_IK = 2
export const SUITE_XX_PSK = 3
export const SUITE_IK_PSK = 4

/** What one side tells the other. Byte counts, milliseconds and microseconds as the names say. */
export interface TransportParameters {
  readonly streamWindowBytes: number
  readonly connectionWindowBytes: number
  readonly streamsMax: number
  readonly packetBytesMax: number
  readonly ackDelayMicros: number
  readonly burstBytes: number
  readonly idleTimeoutMs: number
}

const PARAMETERS: readonly (readonly [id: number, name: keyof TransportParameters])[] = [
  [PARAMETER_STREAM_WINDOW, 'streamWindowBytes'],
  [PARAMETER_CONNECTION_WINDOW, 'connectionWindowBytes'],
  [PARAMETER_STREAMS_MAX, 'streamsMax'],
  [PARAMETER_PACKET_BYTES_MAX, 'packetBytesMax'],
  [PARAMETER_ACK_DELAY, 'ackDelayMicros'],
  [PARAMETER_BURST_BYTES, 'burstBytes'],
  [PARAMETER_IDLE_TIMEOUT, 'idleTimeoutMs'],
]

const STRINGS = [
  [PARAMETER_RESET_TOKEN, 'resetToken'],
  [PARAMETER_RECORD, 'record'],
  [PARAMETER_CIPHER, 'cipher'],
  [PARAMETER_CONNECTION_ID, 'connectionId'],
] as const

/** What one side tells the other beside numbers. */
export interface HandshakeStrings {
  /** What a RESET of this side brings along, 16 bytes. */
  readonly resetToken?: Uint8Array
  /** Who this side is (`identity.ts`). */
  readonly record?: Uint8Array
  /** One byte: the cipher that the responder has chosen. */
  readonly cipher?: Uint8Array
  /** The responder's connection id, 8 bytes: the header that says it is not authenticated. */
  readonly connectionId?: Uint8Array
}

/** What counts for a parameter that the peer leaves out. */
const ABSENT: TransportParameters = {
  streamWindowBytes: 0,
  connectionWindowBytes: 0,
  streamsMax: 0,
  packetBytesMax: 1200,
  ackDelayMicros: 25_000,
  burstBytes: 65_536,
  idleTimeoutMs: 30_000,
}

/** Bytes of a parameter's id and number. */
const HEAD_SIZE_MAX = 9

/** Ids from here on are of strings. */
const STRINGS_FROM = 0x40

/** A message that breaks the format. */
export const MALFORMED = 'malformed'

export interface HandshakePayload {
  readonly parameters: TransportParameters
  readonly strings: HandshakeStrings
}

export function encodePayload(
  parameters: TransportParameters | undefined,
  strings: HandshakeStrings = {},
): Uint8Array {
  let sizeMax = HEAD_SIZE_MAX * (PARAMETERS.length + STRINGS.length)
  for (const [, name] of STRINGS) sizeMax += strings[name]?.length ?? 0
  const bytes = new Uint8Array(sizeMax)
  let at = 0
  for (const [id, name] of parameters === undefined ? [] : PARAMETERS) {
    bytes[at] = id
    at = writeVarint(bytes, at + 1, (parameters as TransportParameters)[name])
  }
  for (const [id, name] of STRINGS) {
    const value = strings[name]
    if (value === undefined) continue
    bytes[at] = id
    at = writeVarint(bytes, at + 1, value.length)
    bytes.set(value, at)
    at += value.length
  }
  return bytes.slice(0, at)
}

/** Reads parameters; never throws. */
export function parsePayload(bytes: Uint8Array): HandshakePayload | typeof MALFORMED {
  const parameters: Record<keyof TransportParameters, number> = { ...ABSENT }
  const strings: Record<string, Uint8Array> = {}
  const seen = new Set<number>()
  let at = 0
  while (at < bytes.length) {
    const id = bytes[at] as number
    const value = readVarint(bytes, at + 1)
    if (value === undefined || seen.has(id)) return MALFORMED
    seen.add(id)
    at += 1 + (1 << ((bytes[at + 1] as number) & 3))
    if (id < STRINGS_FROM) {
      const known = PARAMETERS.find(([known]) => known === id)
      if (known !== undefined) parameters[known[1]] = value
      continue
    }
    if (value > bytes.length - at) return MALFORMED
    const known = STRINGS.find(([known]) => known === id)
    if (known !== undefined) strings[known[1]] = bytes.slice(at, at + value)
    at += value
  }
  return { parameters, strings }
}

/** Two low bits of the first byte say how long it is: 1, 2, 4 or 8 bytes. Gives where it ends. */
function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  const kind = value < 2 ** 6 ? 0 : value < 2 ** 14 ? 1 : value < 2 ** 30 ? 2 : 3
  if (kind === 3) {
    // Above 53 bits in all: low half first.
    const low = (value % 2 ** 30) * 4 + kind
    const end = writeBytes(bytes, at, low, 4)
    return writeBytes(bytes, end, Math.floor(value / 2 ** 30), 4)
  }
  return writeBytes(bytes, at, value * 4 + kind, 1 << kind)
}

function writeBytes(bytes: Uint8Array, at: number, value: number, size: number): number {
  let left = value
  for (let index = at; index < at + size; index++) {
    bytes[index] = left % 256
    left = Math.floor(left / 256)
  }
  return at + size
}

function readVarint(bytes: Uint8Array, at: number): number | undefined {
  const first = bytes[at]
  if (first === undefined) return undefined
  const size = 1 << (first & 3)
  if (at + size > bytes.length) return undefined
  let value = 0
  for (let index = size - 1; index >= 0; index--) {
    const byte = bytes[at + index] as number
    value = value * 256 + (index === 0 ? byte - (byte & 3) : byte)
    if (value > Number.MAX_SAFE_INTEGER * 4) return undefined
  }
  const result = value / 4
  return Number.isSafeInteger(result) ? result : undefined
}
