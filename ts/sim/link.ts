import type { Micros } from '../machine.ts'
import type { Datagram } from './datagram.ts'
import { FATE, FATES, type Fate } from './event-log.ts'
import { EVENT, type Fabric, type Station } from './fabric.ts'
import type { SeededRandom } from './random.ts'

/** Where datagrams arrive: a host, or something between hosts that passes them on. */
export interface SimNode {
  /** Takes over a datagram that has just arrived: passes it on or ends its journey. */
  receive(datagram: Datagram): void
}

/** How the delay of single datagrams varies. All have the mean `jitterMicros`. */
export type JitterShape = 'uniform' | 'bell' | 'exponential' | 'pareto'

/** One direction of a link. Sizes are those of the IP packet: payload + 28 (IPv4) or 48 (IPv6). */
export interface LinkParams {
  /** Propagation: what every datagram needs after the bottleneck. Default 0. */
  readonly delayMicros: number
  /** Mean of a random addition to the delay. Default 0. */
  readonly jitterMicros: number
  /** Default 'uniform', which adds 0 … 2 × `jitterMicros`. */
  readonly jitterShape: JitterShape
  /** Whether jitter may let a datagram overtake another one. Default false. */
  readonly jitterReorders: boolean
  /** The bottleneck. Default Infinity: none, and then no queue. */
  readonly rateBitsPerSecond: number
  /** Bytes that wait for the bottleneck; what comes on top is dropped. Default 256 KiB. */
  readonly queueBytes: number
  /** Datagrams that wait for the bottleneck; what comes on top is dropped. Default Infinity. */
  readonly queueLength: number
  /**
   * What finds so many bytes waiting for the bottleneck is marked (RFC 3168) if it comes from somebody
   * who listens to marks. Default Infinity: never.
   */
  readonly markBytes: number
  /** How datagrams lose their marks on the way: all, or themselves. Default 'kept'. */
  readonly marks: 'kept' | 'cleared' | 'dropped'
  /** Bigger packets are dropped without a word. Default 65,535. */
  readonly mtuBytes: number
  /** Independent loss, 0 … 1. Default 0. */
  readonly lossRate: number
  /** Gilbert–Elliott: chance per datagram that a burst of loss begins. Default 0. */
  readonly burstEnterRate: number
  /** Chance per datagram that the burst ends. Default 0.25: bursts of four datagrams. */
  readonly burstLeaveRate: number
  /** Loss inside a burst. Default 1. */
  readonly burstLossRate: number
  /** A burst ends at the latest after so long: little traffic must not make it an outage. Default 1 s. */
  readonly burstMicrosMax: number
  /** Chance of a second copy, which is delayed and corrupted on its own. Default 0. */
  readonly duplicateRate: number
  /** Chance that 1 … `corruptBitsMax` random bits of the payload are inverted. Default 0. */
  readonly corruptRate: number
  /** Default 3. */
  readonly corruptBitsMax: number
  /** Whether the altered datagram arrives (true) or the UDP checksum drops it (false, default). */
  readonly corruptPassesChecksum: boolean
  /** Chance that a datagram is held back by `reorderHoldMicros`, so that later ones pass it. */
  readonly reorderRate: number
  /** Default 10,000. */
  readonly reorderHoldMicros: number
  /** Drops everything. Default false. */
  readonly isDown: boolean
}

/** A perfect link: instant, of any rate, without loss. */
export const DEFAULT_LINK_PARAMS: LinkParams = Object.freeze({
  delayMicros: 0,
  jitterMicros: 0,
  jitterShape: 'uniform',
  jitterReorders: false,
  rateBitsPerSecond: Number.POSITIVE_INFINITY,
  queueBytes: 256 * 1024,
  queueLength: Number.POSITIVE_INFINITY,
  markBytes: Number.POSITIVE_INFINITY,
  marks: 'kept',
  mtuBytes: 65_535,
  lossRate: 0,
  burstEnterRate: 0,
  burstLeaveRate: 0.25,
  burstLossRate: 1,
  burstMicrosMax: 1_000_000,
  duplicateRate: 0,
  corruptRate: 0,
  corruptBitsMax: 3,
  corruptPassesChecksum: false,
  reorderRate: 0,
  reorderHoldMicros: 10_000,
  isDown: false,
})

/** What `heal` sets: delay, rate, queue and MTU stay. */
const HEALED: Partial<LinkParams> = {
  jitterReorders: false,
  lossRate: 0,
  burstEnterRate: 0,
  duplicateRate: 0,
  corruptRate: 0,
  reorderRate: 0,
  isDown: false,
}

const CONGESTION_EXPERIENCED = 3

/** No fate yet: the datagram goes on. */
const PASSES = -1

/** A heavy tail is cut here, or one datagram in a million would be minutes late. */
const PARETO_MAX_MULTIPLE = 100

/**
 * One direction of a link: a drop-tail queue before a bottleneck, then loss, duplication,
 * corruption, delay. Every draw comes from the link's own generator, so that two links never
 * disturb each other.
 */
export class Link implements Station {
  readonly index: number
  readonly name: string
  /** By `FATE`. `sent` is what was offered, `delivered` what came out at the far end. */
  readonly counts = new Float64Array(FATES.length)
  /** Datagrams that it has marked. */
  markedCount = 0
  /** The most bytes that ever waited for the bottleneck. */
  queuePeakBytes = 0
  /**
   * Drops the datagrams for which it answers true; `index` counts those offered, from 0. For unit
   * cases such as "lose the second handshake packet": it must not depend on anything but its
   * arguments, or the run does not repeat.
   */
  dropWhen: ((bytes: Uint8Array, index: number) => boolean) | undefined

  private readonly fabric: Fabric
  private readonly id: number
  private readonly random: SeededRandom
  private readonly far: SimNode
  private current: LinkParams
  private readonly masked = new Set<number>()
  private blackoutCount = 0
  /** Which blackouts count: those begun since the last `heal`. */
  private blackoutEra = 0
  private isInBurst = false
  private burstBeganAt: Micros = 0
  private lastArrivalAt: Micros = 0
  /** What the bottleneck works on. */
  private inService: Datagram | undefined
  /** When it has finished, with fractions: rounding must not change the rate. */
  private serviceEndsAt = 0
  private readonly queue = new DatagramRing()
  private queuedBytes = 0
  private readonly at: (at: Micros, callback: () => void) => void

  /** @internal Worlds make links. */
  constructor(context: {
    fabric: Fabric
    id: number
    name: string
    random: SeededRandom
    far: SimNode
    params: Partial<LinkParams>
    at: (at: Micros, callback: () => void) => void
  }) {
    this.fabric = context.fabric
    this.index = context.fabric.nextStationIndex()
    this.id = context.id
    this.name = context.name
    this.random = context.random
    this.far = context.far
    this.at = context.at
    this.current = resolveLinkParams(context.params, DEFAULT_LINK_PARAMS)
  }

  get params(): LinkParams {
    return this.current
  }

  /** Bytes that wait for the bottleneck now. */
  get waitingBytes(): number {
    return this.queuedBytes
  }

  /** Changes parameters now. What is in the queue feels the new ones, what is on the wire doesn't. */
  set(params: Partial<LinkParams>): void {
    this.current = resolveLinkParams(params, this.current)
  }

  /** Changes parameters at a virtual time. */
  setAt(at: Micros, params: Partial<LinkParams>): void {
    resolveLinkParams(params, this.current) // A mistake shows here, not hours of traffic later.
    this.at(at, () => this.set(params))
  }

  /** Drops everything offered from one virtual time to another. Blackouts may overlap. */
  blackout(from: Micros, to: Micros): void {
    const era = this.blackoutEra
    this.at(from, () => {
      if (era === this.blackoutEra) this.blackoutCount += 1
    })
    this.at(to, () => {
      if (era === this.blackoutEra) this.blackoutCount -= 1
    })
  }

  /**
   * Ends every disturbance now, planned blackouts, masks and `dropWhen` included. Delay, jitter,
   * rate, queue and MTU stay as they are.
   */
  heal(): void {
    this.set(HEALED)
    this.blackoutEra += 1
    this.blackoutCount = 0
    this.isInBurst = false
    this.masked.clear()
    this.dropWhen = undefined
  }

  /** Drops exactly these of the datagrams offered from now on, counted from 0. */
  mask(...indexes: readonly number[]): void {
    const base = this.counts[FATE.sent] as number
    for (const index of indexes) this.masked.add(base + index)
  }

  /** How many datagrams had the given fate on this link. */
  count(fate: Fate): number {
    return this.counts[FATE[fate]] as number
  }

  /** @internal Takes over a datagram at the near end. */
  send(datagram: Datagram): void {
    const index = this.counts[FATE.sent] as number
    this.counts[FATE.sent] = index + 1
    const refusal = this.refusal(datagram, index)
    this.mark(datagram)
    if (refusal !== PASSES) {
      this.fabric.end(refusal, this, datagram)
    } else if (this.inService !== undefined) {
      this.queue.push(datagram)
      this.queuedBytes += wireSize(datagram)
      if (this.queuedBytes > this.queuePeakBytes) this.queuePeakBytes = this.queuedBytes
    } else if (this.current.rateBitsPerSecond === Number.POSITIVE_INFINITY) {
      this.leave(datagram)
    } else {
      this.serve(datagram, this.fabric.now)
    }
  }

  /** @internal The bottleneck has finished with a datagram. */
  handleDeparture(): void {
    const done = this.inService as Datagram
    this.inService = undefined
    const next = this.queue.shift()
    if (next !== undefined) {
      this.queuedBytes -= wireSize(next)
      this.serve(next, this.serviceEndsAt)
    }
    if (this.isDown) this.fabric.end(FATE['link-down'], this, done)
    else this.leave(done)
  }

  private get isDown(): boolean {
    return this.current.isDown || this.blackoutCount > 0
  }

  /** RFC 3168 §5: a queue that fills says so. */
  private mark(datagram: Datagram): void {
    if (this.current.marks === 'cleared') datagram.ecn = 0
    if (datagram.ecn !== 0 && this.queuedBytes >= this.current.markBytes) {
      datagram.ecn = CONGESTION_EXPERIENCED
      this.markedCount += 1
    }
  }

  /** Why a datagram does not even reach the bottleneck. */
  private refusal(datagram: Datagram, index: number): number {
    const { current: params, masked, queue } = this
    const size = wireSize(datagram)
    if (this.isDown) return FATE['link-down']
    if (size > params.mtuBytes) return FATE['too-big']
    if (masked.size > 0 && masked.delete(index)) return FATE.masked
    if (datagram.ecn !== 0 && params.marks === 'dropped') return FATE.filtered
    if (this.dropWhen?.(datagram.bytes, index)) return FATE.masked
    if (this.inService === undefined) return PASSES
    if (queue.length >= params.queueLength) return FATE['queue-full']
    return this.queuedBytes + size > params.queueBytes ? FATE['queue-full'] : PASSES
  }

  private serve(datagram: Datagram, startsAt: number): void {
    this.inService = datagram
    this.serviceEndsAt = startsAt + (wireSize(datagram) * 8e6) / this.current.rateBitsPerSecond
    const at = Math.max(this.fabric.now, Math.ceil(this.serviceEndsAt))
    this.fabric.schedule(at, EVENT.departure, this.id)
  }

  /** Beyond the bottleneck: the wire loses a datagram or makes two of it. */
  private leave(datagram: Datagram): void {
    const { random, fabric } = this
    const loss = this.drawLoss()
    if (loss !== PASSES) {
      fabric.end(loss, this, datagram)
      return
    }
    if (random.chance(this.current.duplicateRate)) {
      const copy = fabric.pool.take(datagram.bytes)
      copy.from = datagram.from
      copy.to = datagram.to
      copy.ecn = datagram.ecn
      fabric.note(FATE.duplicated, this, copy)
      this.travel(copy)
    }
    this.travel(datagram)
  }

  private drawLoss(): number {
    const { random, current: params } = this
    if (params.burstEnterRate > 0) {
      const { now } = this.fabric
      if (this.isInBurst && now - this.burstBeganAt < params.burstMicrosMax) {
        this.isInBurst = !random.chance(params.burstLeaveRate)
      } else {
        this.isInBurst = random.chance(params.burstEnterRate)
        this.burstBeganAt = now
      }
      if (this.isInBurst && random.chance(params.burstLossRate)) return FATE['lost-in-burst']
    }
    return random.chance(params.lossRate) ? FATE.lost : PASSES
  }

  /** The datagram arrives altered or whole, in its turn or not. */
  private travel(datagram: Datagram): void {
    const { random, current: params, fabric } = this
    if (datagram.bytes.length > 0 && random.chance(params.corruptRate)) {
      if (!params.corruptPassesChecksum) {
        fabric.end(FATE['bad-checksum'], this, datagram)
        return
      }
      this.corrupt(datagram.bytes)
      fabric.note(FATE.corrupted, this, datagram)
    }
    let at = fabric.now + params.delayMicros
    if (params.jitterMicros > 0) at += Math.floor(this.drawJitter())
    if (random.chance(params.reorderRate)) {
      at += params.reorderHoldMicros
      fabric.note(FATE['held-back'], this, datagram)
    } else if (!params.jitterReorders) {
      if (at < this.lastArrivalAt) at = this.lastArrivalAt
      this.lastArrivalAt = at
    }
    datagram.link = this
    datagram.next = this.far
    fabric.schedule(at, EVENT.arrival, datagram.index)
  }

  private drawJitter(): number {
    const { random, current: params } = this
    const mean = params.jitterMicros
    switch (params.jitterShape) {
      case 'uniform':
        return 2 * mean * random.fraction()
      case 'bell':
        return random.bell(mean)
      case 'exponential':
        return random.exponential(mean)
      case 'pareto':
        return Math.min(random.pareto(mean) - mean, PARETO_MAX_MULTIPLE * mean)
    }
  }

  private corrupt(bytes: Uint8Array): void {
    const bitCount = this.random.between(1, this.current.corruptBitsMax)
    let first = -1
    for (let index = 0; index < bitCount; index++) {
      let bit = this.random.below(bytes.length * 8)
      // The same bit twice would undo the damage that the counter speaks of.
      if (bit === first) bit = (bit + 1) % (bytes.length * 8)
      if (index === 0) first = bit
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
    }
  }
}

function wireSize(datagram: Datagram): number {
  return datagram.bytes.length + (datagram.to?.ip.headerBytes ?? 0)
}

/** Completes and checks parameters; throws a RangeError that names the wrong one. */
export function resolveLinkParams(change: Partial<LinkParams>, base: LinkParams): LinkParams {
  const params = { ...base, ...change }
  const rates = [
    'lossRate',
    'burstEnterRate',
    'burstLeaveRate',
    'burstLossRate',
    'duplicateRate',
    'corruptRate',
    'reorderRate',
  ] as const
  for (const name of rates) {
    if (!(params[name] >= 0 && params[name] <= 1)) outOfRange(name, params[name], '0 … 1')
  }
  for (const name of ['delayMicros', 'reorderHoldMicros'] as const) {
    const value = params[name]
    if (!Number.isSafeInteger(value) || value < 0) outOfRange(name, value, 'an integer, 0 or more')
  }
  for (const name of [
    'jitterMicros',
    'queueBytes',
    'markBytes',
    'queueLength',
    'burstMicrosMax',
  ] as const) {
    if (!(params[name] >= 0)) outOfRange(name, params[name], '0 or more')
  }
  for (const name of ['rateBitsPerSecond', 'mtuBytes'] as const) {
    if (!(params[name] > 0)) outOfRange(name, params[name], 'above 0')
  }
  if (!Number.isInteger(params.corruptBitsMax) || params.corruptBitsMax < 1) {
    outOfRange('corruptBitsMax', params.corruptBitsMax, 'an integer, 1 or more')
  }
  return Object.freeze(params)
}

function outOfRange(name: string, value: number, range: string): never {
  throw new RangeError(`${name} is ${value}, but must be ${range}`)
}

/** A queue of datagrams that shifts in constant time. */
export class DatagramRing {
  private slots: (Datagram | undefined)[] = new Array(16)
  private head = 0
  length = 0

  push(datagram: Datagram): void {
    if (this.length === this.slots.length) this.grow()
    this.slots[(this.head + this.length) & (this.slots.length - 1)] = datagram
    this.length += 1
  }

  peek(): Datagram | undefined {
    return this.slots[this.head]
  }

  shift(): Datagram | undefined {
    if (this.length === 0) return undefined
    const datagram = this.slots[this.head]
    this.slots[this.head] = undefined
    this.head = (this.head + 1) & (this.slots.length - 1)
    this.length -= 1
    return datagram
  }

  private grow(): void {
    const slots: (Datagram | undefined)[] = new Array(this.slots.length * 2)
    for (let index = 0; index < this.length; index++) {
      slots[index] = this.slots[(this.head + index) & (this.slots.length - 1)]
    }
    this.slots = slots
    this.head = 0
  }
}
