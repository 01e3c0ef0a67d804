/**
 * What the core remembers of a connection's packets, read without its help: tracing costs nothing
 * when nobody traces. Look after every call of the engine, and nothing is missed.
 */
import {
  NO_STREAM,
  PATH_CONTROLLER,
  PATH_DELIVERED,
  PATH_IN_FLIGHT,
  PATH_IN_FLIGHT_COUNT,
  PATH_MODEL,
  PATH_NEXT,
  PATH_PACING_RATE,
  PATH_PROBE_COUNT,
  PATH_RECEIVED,
  PATH_RING,
  PATH_RING_CAPACITY,
  PATH_RTT_LATEST,
  PATH_RTT_MIN,
  PATH_RTT_SMOOTHED,
  PATH_RTT_VARIANCE,
  PATH_WINDOW,
  RECORD_CONTROL,
  RECORD_FIN,
  RECORD_LENGTH,
  RECORD_NEXT,
  RECORD_OFFSET,
  RECORD_STREAM,
  SENT_AT,
  SENT_BYTES,
  SENT_MORE,
  SENT_RECORD,
  SENT_SIZE,
  SENT_STATE,
  STATE_ACKED,
  STATE_IN_FLIGHT,
  STATE_LOST,
  STATE_UNTRACKED,
} from '../assembly/path.ts'
import { RANGE_END, RANGE_NEXT, RANGE_START, RANGES_HEAD } from '../assembly/ranges.ts'
import type { Core, Handle } from './core.ts'

/** What a packet carries of a stream. Which bytes, not the bytes. */
export interface SentPart {
  readonly stream: number
  readonly offset: number
  readonly length: number
  readonly isLast: boolean
}

export interface SentPacket {
  readonly number: number
  readonly atMicros: number
  readonly bytes: number
  /** False: it holds acknowledgements only. */
  readonly asksForAck: boolean
  readonly parts: readonly SentPart[]
}

/** What is told of packets, in the order of their numbers. */
export interface PacketObserver {
  sent(packet: SentPacket): void
  /** Packets of the peer, start ≤ number < end. */
  received(start: number, end: number): void
  acked(number: number): void
  /** It counts as lost; `acked` may follow if it was only late. */
  lost(number: number): void
}

export interface PathMetrics {
  readonly rttLatestMicros: number
  readonly rttSmoothedMicros: number
  readonly rttVarianceMicros: number
  /** Infinity before the first sample. */
  readonly rttMinMicros: number
  readonly windowBytes: number
  readonly inFlightBytes: number
  readonly inFlightPackets: number
  /** Bytes per µs, 0: not paced. */
  readonly pacingRate: number
  readonly deliveredBytes: number
  readonly probeCount: number
  /** Index of CONGESTION_CONTROLLERS, and the first word of its state. */
  readonly controller: number
  readonly controllerState: number
}

/** Looks at the first path of one connection, which must go on for as long as it is looked at. */
export class PacketTrace {
  private readonly core: Core
  private readonly connection: Handle
  /** First number that was not told of yet. */
  private next = 0
  /** States told of, by number, of packets that may still be acknowledged. */
  private readonly states = new Map<number, number>()
  private received: { start: number; end: number }[] = []

  constructor(core: Core, connection: Handle) {
    this.core = core
    this.connection = connection
  }

  /** The identifier that both sides know the connection by. */
  get id(): Uint8Array {
    this.core.exports.connectionIds(this.connection)
    return this.core.scratch(24).slice(16)
  }

  /** Undefined when the connection has no path any more. */
  metrics(): PathMetrics | undefined {
    const path = this.path()
    if (path === 0) return undefined
    return {
      rttLatestMicros: this.number(path + PATH_RTT_LATEST),
      rttSmoothedMicros: this.number(path + PATH_RTT_SMOOTHED),
      rttVarianceMicros: this.number(path + PATH_RTT_VARIANCE),
      rttMinMicros: this.number(path + PATH_RTT_MIN),
      windowBytes: this.number(path + PATH_WINDOW),
      inFlightBytes: this.word(path + PATH_IN_FLIGHT),
      inFlightPackets: this.word(path + PATH_IN_FLIGHT_COUNT),
      pacingRate: this.number(path + PATH_PACING_RATE),
      deliveredBytes: this.number(path + PATH_DELIVERED),
      probeCount: this.word(path + PATH_PROBE_COUNT),
      controller: this.word(path + PATH_CONTROLLER),
      controllerState: this.word(path + PATH_MODEL),
    }
  }

  /** Tells what has happened to packets since the last call. */
  observe(observer: PacketObserver): void {
    const path = this.path()
    if (path === 0) return
    this.observeReceived(path, observer)
    this.observeSent(path, observer)
    this.observeFates(path, observer)
  }

  private observeReceived(path: number, observer: PacketObserver): void {
    const ranges: { start: number; end: number }[] = []
    let node = this.word(path + PATH_RECEIVED + RANGES_HEAD)
    let known = 0
    while (node !== 0) {
      const start = this.number(node + RANGE_START)
      const end = this.number(node + RANGE_END)
      ranges.push({ start, end })
      // What is in this range and in none of those before.
      let from = start
      for (; known < this.received.length; known++) {
        const before = this.received[known] as { start: number; end: number }
        if (before.start >= end) break
        if (before.start > from) observer.received(from, before.start)
        from = Math.max(from, before.end)
        if (before.end > end) break
      }
      if (from < end) observer.received(from, end)
      node = this.word(node + RANGE_NEXT)
    }
    this.received = ranges
  }

  private observeSent(path: number, observer: PacketObserver): void {
    const end = this.number(path + PATH_NEXT)
    for (; this.next < end; this.next++) {
      const entry = this.entry(path, this.next)
      const state = this.core.bytes[entry + SENT_STATE] as number
      const asksForAck = state !== STATE_UNTRACKED
      observer.sent({
        number: this.next,
        atMicros: this.number(entry + SENT_AT),
        bytes: this.word(entry + SENT_BYTES),
        asksForAck,
        parts: this.parts(entry),
      })
      if (asksForAck) this.states.set(this.next, STATE_IN_FLIGHT)
    }
  }

  private parts(entry: number): SentPart[] {
    const parts: SentPart[] = []
    const first = entry + SENT_RECORD
    let record = first
    while (record !== 0) {
      const stream = this.word(record + RECORD_STREAM)
      const length = this.word(record + RECORD_LENGTH)
      if (stream !== NO_STREAM && this.word(record + RECORD_CONTROL) === 0) {
        const offset = this.number(record + RECORD_OFFSET)
        const isLast = (length & RECORD_FIN) !== 0
        parts.push({ stream, offset, length: length & ~RECORD_FIN, isLast })
      }
      record = this.word(record === first ? entry + SENT_MORE : record + RECORD_NEXT)
    }
    return parts
  }

  private observeFates(path: number, observer: PacketObserver): void {
    const heldFrom = this.number(path + PATH_NEXT) - this.word(path + PATH_RING_CAPACITY)
    for (const [number, before] of this.states) {
      if (number < heldFrom) {
        this.states.delete(number)
        continue
      }
      const state = this.core.bytes[this.entry(path, number) + SENT_STATE] as number
      if (state === before) continue
      if (state === STATE_LOST) observer.lost(number)
      this.states.set(number, state)
      if (state !== STATE_ACKED) continue
      observer.acked(number)
      this.states.delete(number)
    }
  }

  private path(): number {
    return this.core.exports.connectionPath(this.connection)
  }

  private entry(path: number, number: number): number {
    const index = number & (this.word(path + PATH_RING_CAPACITY) - 1)
    return this.word(path + PATH_RING) + index * SENT_SIZE
  }

  private word(at: number): number {
    return this.core.i32[at >> 2] as number
  }

  private number(at: number): number {
    return this.core.f64[at >> 3] as number
  }
}
