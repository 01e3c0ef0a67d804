/** What a link does to packets, the same in both directions. */
export interface LinkProfile {
  readonly rateBitsPerSecond: number
  /** Without queues, both directions together. */
  readonly rttMs: number
  /** What waits for the bottleneck; more is dropped. */
  readonly queueBytes: number
  /** Chance of each packet to be lost. Default 0. */
  readonly loss?: number
  /** Gilbert–Elliott: chance per packet that a burst begins, that it ends, and of loss in it. */
  readonly bursts?: { readonly enter: number; readonly leave: number; readonly loss: number }
  /** The delay varies by as much either way; the order is kept. Default 0. */
  readonly jitterMs?: number
  /** Chance to be held back, so that later packets overtake. */
  readonly reorder?: { readonly chance: number; readonly holdMs: number }
  /** How many times as long it is measured. Default 1. */
  readonly patience?: number
}

const MBIT = 1e6

/** What a link of that rate carries in that time. */
function bytesIn(ms: number, rateBitsPerSecond: number): number {
  return (rateBitsPerSecond * ms) / 8_000
}

const wan50: LinkProfile = {
  rateBitsPerSecond: 100 * MBIT,
  rttMs: 50,
  queueBytes: bytesIn(50, 100 * MBIT),
}

const lte: LinkProfile = {
  rateBitsPerSecond: 20 * MBIT,
  rttMs: 60,
  queueBytes: bytesIn(200, 20 * MBIT),
  jitterMs: 10,
  reorder: { chance: 0.005, holdMs: 10 },
}

const longfat: LinkProfile = {
  rateBitsPerSecond: 500 * MBIT,
  rttMs: 150,
  queueBytes: bytesIn(150, 500 * MBIT),
  patience: 2,
}

/** By name, in the order in which they are measured. */
export const LINK_PROFILES: Readonly<Record<string, LinkProfile>> = {
  lan: { rateBitsPerSecond: 1_000 * MBIT, rttMs: 1, queueBytes: 1_500_000 },
  broadband: {
    rateBitsPerSecond: 100 * MBIT,
    rttMs: 30,
    queueBytes: bytesIn(30, 100 * MBIT),
  },
  wan50,
  'wan50-0.1': { ...wan50, loss: 0.001 },
  'wan50-1': { ...wan50, loss: 0.01 },
  'wan50-5': { ...wan50, loss: 0.05 },
  'wan50-burst': { ...wan50, bursts: { enter: 0.001, leave: 0.1, loss: 0.5 } },
  lte,
  'lte-lossy': { ...lte, loss: 0.005 },
  longfat: { ...longfat, loss: 0.0001 },
  'longfat-clean': longfat,
  bufferbloat: {
    rateBitsPerSecond: 20 * MBIT,
    rttMs: 40,
    queueBytes: bytesIn(1_000, 20 * MBIT),
    patience: 2,
  },
  shallow: { ...wan50, queueBytes: 32_000 },
}
