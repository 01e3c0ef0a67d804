/** One cell of the goodput table: one connection over one link, in virtual time. */
import { Bulk } from '../../ts/sim/bulk.ts'
import type { CongestionController } from '../../ts/transport/index.ts'

export interface GoodputCell {
  readonly congestion: CongestionController
  readonly rttMs: number
  readonly lossPercent: number
  readonly rateMbits: number
}

const CONTROLLERS: readonly CongestionController[] = ['bbr', 'cubic']
const RTTS_MS = [1, 10, 50, 150, 600]
const LOSSES_PERCENT = [0, 0.01, 0.1, 1, 5]
const RATES_MBITS = [5, 20, 100, 500]

export const GOODPUT_CELLS: readonly GoodputCell[] = CONTROLLERS.flatMap((congestion) =>
  RTTS_MS.flatMap((rttMs) =>
    LOSSES_PERCENT.flatMap((lossPercent) =>
      RATES_MBITS.map((rateMbits) => ({ congestion, rttMs, lossPercent, rateMbits })),
    ),
  ),
)

/** IPv4 and UDP headers, which count on the link. */
const HEADER_BYTES = 28
const PACKET_BYTES = 1_200
/** Of a full packet in the middle of a long stream: short header, stream frame, checksum. */
const OVERHEAD_BYTES = 28
/** User bytes of what the link carries. */
export const PAYLOAD_SHARE = (PACKET_BYTES - OVERHEAD_BYTES) / (PACKET_BYTES + HEADER_BYTES)

const QUEUE_PACKETS_MIN = 32
const MIB = 1024 * 1024
const MEMORY_MAX = 1024 * MIB

/** One path volume: what a link of that rate and round trip holds. */
export function volumeBytes(rateMbits: number, rttMs: number): number {
  return (rateMbits * rttMs * 1000) / 8
}

/**
 * Memory of each side: a receiver keeps six path volumes while one packet is lost five times in a
 * row, a stream's window is 3/16 of what the endpoint has; at least the default.
 */
export function memoryBytes(cell: GoodputCell): number {
  let bytes = 32 * MIB
  while (bytes < 32 * volumeBytes(cell.rateMbits, cell.rttMs)) bytes *= 2
  return Math.min(bytes, MEMORY_MAX)
}

/** Names a cell the way the table does. */
export function cellName({ congestion, rttMs, lossPercent, rateMbits }: GoodputCell): string {
  return [
    congestion.padEnd(5),
    `${rttMs} ms`.padStart(6),
    `${lossPercent} %`.padStart(6),
    `${rateMbits} Mbit/s`.padStart(10),
  ].join('  ')
}

/** Measures a cell; gives the rest of its line. */
export function measureGoodput(cell: GoodputCell): string {
  const { congestion, rttMs, lossPercent, rateMbits } = cell
  const memory = memoryBytes(cell)
  const volume = volumeBytes(rateMbits, rttMs)
  const bulk = new Bulk({
    congestion,
    link: {
      rateBitsPerSecond: rateMbits * 1e6,
      delayMicros: rttMs * 500,
      lossRate: lossPercent / 100,
      queueBytes: Math.max(volume, QUEUE_PACKETS_MIN * (PACKET_BYTES + HEADER_BYTES)),
    },
    memoryBytes: Math.min(2 * memory, MEMORY_MAX),
    endpoint: { memoryBytes: memory, packetBytesMax: PACKET_BYTES },
  })
  const [from, to] = rttMs >= 600 ? [30, 120] : [20, 60]
  bulk.runUntil(from)
  const before = bulk.receivedBytes
  bulk.runUntil(to)
  const megabits = ((bulk.receivedBytes - before) * 8) / (to - from) / 1e6
  const possible = rateMbits * PAYLOAD_SHARE * (1 - lossPercent / 100)
  const { forward } = bulk.pair
  const { packetsRetransmitted, packetsSpurious } = bulk.counters()
  const sent = forward.count('sent')
  bulk.close()
  return [
    `${megabits.toFixed(3)} Mbit/s`.padStart(14),
    percent(megabits / possible, 1).padStart(8),
    percent(forward.count('queue-full') / sent, 2).padStart(9),
    percent(packetsRetransmitted / sent, 2).padStart(9),
    `${packetsSpurious}`.padStart(8),
  ].join('')
}

function percent(share: number, digits: number): string {
  return `${(share * 100).toFixed(digits)} %`
}
