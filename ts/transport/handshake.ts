/**
 * The handshake's messages: what each side tells the other about itself before streams may flow.
 *
 * One round trip: the initiator's message travels in the initial packet, the responder's in the
 * handshake packet. A message is the number of its security suite, then parameters: id (one byte),
 * value (variable-length integer, docs/protocol.md). Unknown parameters are skipped.
 */

/** Security suites: what protects the packets after the handshake. */
export const SUITE_NONE = 0

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
  [1, 'streamWindowBytes'],
  [2, 'connectionWindowBytes'],
  [3, 'streamsMax'],
  [4, 'packetBytesMax'],
  [5, 'ackDelayMicros'],
  [6, 'burstBytes'],
  [7, 'idleTimeoutMs'],
]

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

/** A message that breaks the format. */
export const MALFORMED = 'malformed'

export interface HandshakeMessage {
  readonly suite: number
  readonly parameters: TransportParameters
}

export function encodeHandshake(message: HandshakeMessage): Uint8Array {
  const bytes: number[] = [message.suite]
  for (const [id, name] of PARAMETERS) {
    bytes.push(id)
    pushVarint(bytes, message.parameters[name])
  }
  return Uint8Array.from(bytes)
}

/** Reads a message; never throws. */
export function parseHandshake(bytes: Uint8Array): HandshakeMessage | typeof MALFORMED {
  const suite = bytes[0]
  if (suite === undefined) return MALFORMED
  const parameters: Record<keyof TransportParameters, number> = { ...ABSENT }
  const seen = new Set<number>()
  let at = 1
  while (at < bytes.length) {
    const id = bytes[at] as number
    const value = readVarint(bytes, at + 1)
    if (value === undefined || seen.has(id)) return MALFORMED
    seen.add(id)
    const known = PARAMETERS.find(([known]) => known === id)
    if (known !== undefined) parameters[known[1]] = value
    at += 1 + (1 << ((bytes[at + 1] as number) & 3))
  }
  return { suite, parameters }
}

/** Two low bits of the first byte say how long it is: 1, 2, 4 or 8 bytes. */
function pushVarint(bytes: number[], value: number): void {
  const kind = value < 2 ** 6 ? 0 : value < 2 ** 14 ? 1 : value < 2 ** 30 ? 2 : 3
  let left = value * 4 + kind
  if (kind === 3) {
    // Above 53 bits in all: low half first.
    const low = (value % 2 ** 30) * 4 + kind
    pushBytes(bytes, low, 4)
    left = Math.floor(value / 2 ** 30)
    pushBytes(bytes, left, 4)
    return
  }
  pushBytes(bytes, left, 1 << kind)
}

function pushBytes(bytes: number[], value: number, size: number): void {
  let left = value
  for (let index = 0; index < size; index++) {
    bytes.push(left % 256)
    left = Math.floor(left / 256)
  }
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
