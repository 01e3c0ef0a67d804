import type { SimAddress } from './address.ts'
import { SimulationError } from './errors.ts'
import type { Link, SimNode } from './link.ts'

/** One datagram on its way. Records are pooled: whoever ends its journey releases it. */
export interface Datagram {
  /** Its place in the pool: what events carry. */
  readonly index: number
  /** Exactly the payload. */
  readonly bytes: Uint8Array
  /** The same memory in words, padded with zeros: for the event-log hash. */
  readonly words: Int32Array
  from: SimAddress | undefined
  to: SimAddress | undefined
  /** The link that it travels, none on its way inside a host. */
  link: Link | undefined
  /** Where it arrives next. */
  next: SimNode | undefined
  /** The two bits of explicit congestion notification (RFC 3168). */
  ecn: number
  /** Which of the receiving engine's sockets it came in on. */
  socketIndex: number
}

/** Free memory above this goes back to the garbage collector. */
const FREE_BYTES_MAX = 64 * 1024 * 1024
/** What a record costs beside its payload, roughly. */
const RECORD_BYTES = 400

/**
 * Datagram records with memory of exact size: no view is ever cut, and once traffic has found its
 * rhythm nothing is allocated.
 */
export class DatagramPool {
  private readonly records: (Datagram | undefined)[] = []
  private readonly freeIndexes: number[] = []
  private readonly freeBySize = new Map<number, Datagram[]>()
  private freeBytes = 0
  private readonly inUseMax: number
  /** Datagrams on their way, in queues or in receive buffers. */
  inUse = 0

  constructor(inUseMax: number) {
    this.inUseMax = inUseMax
  }

  /** Makes a datagram with a copy of `bytes`. */
  take(bytes: Uint8Array): Datagram {
    if (this.inUse >= this.inUseMax) {
      throw new SimulationError(
        'ERR_PUNCHLINE_SIM_LIMIT',
        `more than ${this.inUseMax} datagrams in flight: is a queue without a bound?`,
      )
    }
    this.inUse += 1
    const free = this.freeBySize.get(bytes.length)?.pop()
    if (free !== undefined) this.freeBytes -= bytes.length + RECORD_BYTES
    const datagram = free ?? this.make(bytes.length)
    datagram.bytes.set(bytes)
    return datagram
  }

  at(index: number): Datagram {
    return this.records[index] as Datagram
  }

  release(datagram: Datagram): void {
    this.inUse -= 1
    datagram.link = undefined
    datagram.next = undefined
    const size = datagram.bytes.length
    if (this.freeBytes + size + RECORD_BYTES > FREE_BYTES_MAX) {
      this.records[datagram.index] = undefined
      this.freeIndexes.push(datagram.index)
      return
    }
    this.freeBytes += size + RECORD_BYTES
    const free = this.freeBySize.get(size)
    if (free === undefined) this.freeBySize.set(size, [datagram])
    else free.push(datagram)
  }

  private make(size: number): Datagram {
    const memory = new ArrayBuffer((size + 3) & ~3)
    const index = this.freeIndexes.pop() ?? this.records.length
    const datagram: Datagram = {
      index,
      bytes: new Uint8Array(memory, 0, size),
      words: new Int32Array(memory),
      from: undefined,
      to: undefined,
      link: undefined,
      next: undefined,
      ecn: 0,
      socketIndex: 0,
    }
    this.records[index] = datagram
    return datagram
  }
}
