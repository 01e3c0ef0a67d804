import type { Micros } from '../machine.ts'
import { SimulationError } from './errors.ts'
import type { Fate } from './event-log.ts'
import type { JitterShape, LinkParams } from './link.ts'
import type { SeededRandom } from './random.ts'
import type { World, WorldOptions } from './world.ts'

/** Something that a seed decides from beginning to end. */
export interface Scenario {
  /** Unique, lower case: part of the replay command. */
  readonly name: string
  /**
   * Runs to the end and answers what happened; throws when something is wrong. The same seed gives
   * the same result, unless `options.flip` says which draw differs.
   */
  run(seed: number, options?: ScenarioOptions): ScenarioResult
}

export type ScenarioOptions = Pick<WorldOptions, 'log' | 'flip'>

export interface ScenarioResult {
  /** The event-log hash. */
  readonly hash: string
  readonly virtualMicros: Micros
  readonly events: number
  /** Datagrams by fate. */
  readonly counts: Readonly<Record<Fate, number>>
  /** Figures of this scenario; units are in their names. Runs of many seeds print their spread. */
  readonly figures: Readonly<Record<string, number>>
  /**
   * How often each kind of fault struck and each limit was reached: a run of many seeds fails when
   * one of them was met by fewer than 5 % of the seeds. Default: none.
   */
  readonly marks?: Readonly<Record<string, number>>
}

export function resultOf(world: World, figures: Record<string, number>): ScenarioResult {
  const { now, events } = world
  return { hash: world.hash(), virtualMicros: now, events, counts: world.counts(), figures }
}

/** Throws ERR_PUNCHLINE_SIM_CHECK unless the condition holds. */
export function check(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new SimulationError('ERR_PUNCHLINE_SIM_CHECK', message())
}

/** The command that repeats a seed. */
export function replayCommand(scenario: string, seed: number): string {
  return `npm run sim -- --seed ${seed} --scenario ${scenario}`
}

/** From … to, both possible. */
export type Range = readonly [low: number, high: number]

/** Within which bounds `drawLinkParams` draws. */
export interface LinkRanges {
  readonly delayMicros: Range
  /** As a share of the delay drawn. */
  readonly jitterShare: Range
  /** Drawn evenly over its orders of magnitude. */
  readonly rateBitsPerSecond: Range
  /** How long the queue is in time at the rate drawn. */
  readonly queueMicros: Range
  readonly mtuBytes: readonly number[]
  readonly lossRate: Range
  readonly burstEnterRate: Range
  readonly burstLeaveRate: Range
  readonly duplicateRate: Range
  readonly corruptRate: Range
  readonly reorderRate: Range
  readonly reorderHoldMicros: Range
}

/** Bad networks as the acceptance of the transport knows them. */
export const SWARM_RANGES: LinkRanges = Object.freeze({
  delayMicros: [0, 200_000],
  jitterShare: [0, 0.5],
  rateBitsPerSecond: [256_000, 1e9],
  queueMicros: [10_000, 500_000],
  mtuBytes: [1_280, 1_400, 1_500, 65_535],
  lossRate: [0, 0.3],
  burstEnterRate: [0, 0.02],
  burstLeaveRate: [0.1, 0.9],
  duplicateRate: [0, 0.3],
  corruptRate: [0, 1e-3],
  reorderRate: [0, 0.3],
  reorderHoldMicros: [100, 100_000],
} satisfies LinkRanges)

const JITTER_SHAPES: readonly JitterShape[] = ['uniform', 'bell', 'exponential', 'pareto']
/** What ways do to marks of congestion. */
const MARKS = ['kept', 'kept', 'cleared', 'dropped'] as const
/** A queue must hold at least two big packets, or some MTU could never pass. */
const QUEUE_BYTES_MIN = 4_096

/**
 * Draws one direction of a link. Each kind of fault is absent in one of four draws: what hides behind
 * loss shows where there is none. The number of draws is always the same, so that ranges may change
 * without changing what is drawn after them.
 */
export function drawLinkParams(random: SeededRandom, ranges: LinkRanges): LinkParams {
  const from = ([low, high]: Range) => low + (high - low) * random.fraction()
  const seldom = (range: Range) => {
    const isAbsent = random.u32() % 4 === 0
    const value = from(range)
    return isAbsent ? 0 : value
  }
  const delayMicros = Math.round(from(ranges.delayMicros))
  const jitterMicros = Math.round(delayMicros * seldom(ranges.jitterShare))
  const jitterShape = random.pick(JITTER_SHAPES)
  const jitterReorders = random.u32() % 2 === 0
  const isUnlimited = random.u32() % 4 === 0
  const rate = drawMagnitude(random, ranges.rateBitsPerSecond)
  const queueMicros = from(ranges.queueMicros)
  const hasBursts = random.u32() % 2 === 0
  const burstEnterRate = from(ranges.burstEnterRate)
  const queueBytes = Math.max(QUEUE_BYTES_MIN, Math.floor((rate / 8e6) * queueMicros))
  return {
    delayMicros,
    jitterMicros,
    jitterShape,
    jitterReorders,
    rateBitsPerSecond: isUnlimited ? Number.POSITIVE_INFINITY : rate,
    queueBytes,
    queueLength: Number.POSITIVE_INFINITY,
    mtuBytes: random.pick(ranges.mtuBytes),
    lossRate: seldom(ranges.lossRate),
    burstEnterRate: hasBursts ? burstEnterRate : 0,
    burstLeaveRate: from(ranges.burstLeaveRate),
    burstLossRate: 1,
    burstMicrosMax: 1_000_000,
    duplicateRate: seldom(ranges.duplicateRate),
    corruptRate: seldom(ranges.corruptRate),
    corruptBitsMax: 8,
    corruptPassesChecksum: random.u32() % 4 !== 0,
    reorderRate: seldom(ranges.reorderRate),
    reorderHoldMicros: Math.round(from(ranges.reorderHoldMicros)),
    markBytes: random.u32() % 2 === 0 ? queueBytes / 4 : Number.POSITIVE_INFINITY,
    marks: random.pick(MARKS),
    isDown: false,
  }
}

/** Draws a figure so that each doubling within the range is as likely as the next. */
export function drawMagnitude(random: SeededRandom, [low, high]: Range): number {
  let doublings = 0
  for (let scale = low; scale * 2 <= high; scale *= 2) doublings += 1
  let scale = low
  for (let left = random.between(0, doublings); left > 0; left--) scale *= 2
  return Math.min(high, Math.floor(scale * (1 + random.fraction())))
}
