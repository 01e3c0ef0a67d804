import type { Micros } from '../machine.ts'
import { AddressBook, formatAddress } from './address.ts'
import { type Datagram, DatagramPool } from './datagram.ts'
import { EventHash, FATES } from './event-log.ts'
import { EventQueue } from './event-queue.ts'

/** The kinds of event in the queue. A payload is `index * EVENT_KINDS + kind`. */
export const EVENT = {
  /** A datagram reaches the end of a link. */
  arrival: 0,
  /** A link's bottleneck has finished with a datagram. */
  departure: 1,
  /** The deadline of an engine. */
  deadline: 2,
  /** An engine has datagrams to take or was changed by its application. */
  wake: 3,
  /** A callback given to `World.at`. */
  call: 4,
} as const
export const EVENT_KINDS = 8

/** Whatever datagrams pass through: a link or a host. Its counts are indexed by `FATE`. */
export interface Station {
  readonly index: number
  readonly name: string
  readonly counts: Float64Array
}

/** What links and hosts share: the clock, the queue, the datagrams, the log. */
export class Fabric {
  now: Micros = 0
  readonly queue = new EventQueue()
  readonly addresses = new AddressBook()
  readonly pool: DatagramPool
  readonly hash = new EventHash()
  readonly log: ((line: string) => void) | undefined
  private stationCount = 0

  constructor(datagramsInFlightMax: number, log: ((line: string) => void) | undefined) {
    this.pool = new DatagramPool(datagramsInFlightMax)
    this.log = log
  }

  nextStationIndex(): number {
    return this.stationCount++
  }

  /** Adds an event and answers its sequence number. */
  schedule(at: Micros, kind: number, index: number): number {
    return this.queue.push(at, index * EVENT_KINDS + kind)
  }

  /** Counts and logs something that happened to a datagram which goes on. */
  note(fate: number, station: Station, datagram: Datagram): void {
    station.counts[fate] = (station.counts[fate] as number) + 1
    const hash = this.hash
    hash.fold(this.now)
    hash.foldWord((station.index << 8) | fate)
    hash.foldWord(datagram.bytes.length)
    if (this.log !== undefined) this.log(this.format(fate, station, datagram))
  }

  /** Counts and logs the end of a datagram's journey, contents included, and releases it. */
  end(fate: number, station: Station, datagram: Datagram): void {
    this.note(fate, station, datagram)
    this.hash.foldWords(datagram.words, datagram.words.length)
    this.pool.release(datagram)
  }

  private format(fate: number, station: Station, datagram: Datagram): string {
    const { from, to, bytes } = datagram
    const route = `${from ? formatAddress(from) : '?'} -> ${to ? formatAddress(to) : '?'}`
    return `${formatTime(this.now)}  ${station.name}  ${FATES[fate]}  ${route}  ${bytes.length} B`
  }
}

/** Writes microseconds as seconds, aligned. */
export function formatTime(at: Micros): string {
  return (at / 1e6).toFixed(6).padStart(14)
}
