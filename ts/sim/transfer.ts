import type { Micros } from '../machine.ts'
import type { HarnessStream, StreamHandlers } from './harness.ts'
import type { SeededRandom } from './random.ts'
import { check } from './scenario.ts'
import type { World } from './world.ts'

/** Bytes that one side of a stream sends: every position has its own value, nothing repeats. */
export class BytePattern {
  private readonly key: number

  constructor(key: number) {
    this.key = key | 0
  }

  fill(target: Uint8Array, offset: number): void {
    let index = 0
    // Whole words where the position allows, single bytes at both ends.
    while (index < target.length) {
      const position = offset + index
      let word = this.word(position >>> 2) >>> ((position & 3) * 8)
      for (let byte = position & 3; byte < 4 && index < target.length; byte++, index++) {
        target[index] = word
        word >>>= 8
      }
    }
  }

  /** The first index at which `bytes` differ, or -1. */
  findDifference(bytes: Uint8Array, offset: number): number {
    let index = 0
    while (index < bytes.length) {
      const position = offset + index
      let word = this.word(position >>> 2) >>> ((position & 3) * 8)
      for (let byte = position & 3; byte < 4 && index < bytes.length; byte++, index++) {
        if (bytes[index] !== (word & 0xff)) return index
        word >>>= 8
      }
    }
    return -1
  }

  private word(index: number): number {
    let mixed = Math.imul(index ^ this.key, 0x85ebca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0xc2b2ae35)
    return mixed ^ (mixed >>> 13)
  }
}

const CHUNK_BYTES_MAX = 16 * 1024
/** For what is in hand within one call: there are thousands of transfers. */
const CHUNK = new Uint8Array(CHUNK_BYTES_MAX)

export interface TransferOptions {
  readonly world: World
  /** For messages and reports: who does this. */
  readonly name: string
  readonly sendBytes: number
  readonly receiveBytes: number
  readonly sendPattern: BytePattern
  readonly receivePattern: BytePattern
  /** Chunk sizes and pauses of this side. */
  readonly random: SeededRandom
  /** A reader that waits up to so long before it reads: the flow control has to work. 0: never. */
  readonly readDelayMicrosMax: number
}

/**
 * One side of a stream: writes its pattern in chunks of random size, reads the peer's, and checks
 * every byte at its place as it arrives.
 */
export class Transfer implements StreamHandlers {
  sentBytes = 0
  receivedBytes = 0
  /** The peer's end arrived after its last byte. */
  hasEnded = false
  /** How often the stream took less than it was given. */
  blockedCount = 0
  /** Called once, when every byte and the end was written and read. */
  onDone: () => void = () => {}
  /** When bytes or the end arrived for the first time since `watch`. */
  resumedAt: Micros | undefined

  private readonly options: TransferOptions
  private stream: HarnessStream | undefined
  private readDelayMicrosMax: number
  private isReadPlanned = false
  private isFinished = false

  constructor(options: TransferOptions) {
    this.options = options
    this.readDelayMicrosMax = options.readDelayMicrosMax
  }

  /** The stream exists: begin to write. */
  begin(stream: HarnessStream): void {
    this.stream = stream
    this.write()
  }

  get name(): string {
    return this.options.name
  }

  /** Every byte and the end was written and read. */
  get isDone(): boolean {
    return this.isFinished && this.hasEnded
  }

  /** Reads what waits and from now on all that comes at once, and begins to watch `resumedAt`. */
  watch(): void {
    this.readDelayMicrosMax = 0
    this.read()
    this.resumedAt = undefined
  }

  /** The stream is gone, and nobody may touch it any more. */
  abandon(): void {
    this.stream = undefined
  }

  readable(): void {
    if (this.isReadPlanned) return
    const { random, world } = this.options
    if (this.readDelayMicrosMax === 0) {
      this.read()
      return
    }
    this.isReadPlanned = true
    world.after(random.below(this.readDelayMicrosMax), () => {
      this.isReadPlanned = false
      this.read()
    })
  }

  writable(): void {
    this.write()
  }

  failed(reason: string): void {
    check(false, () => `${this.options.name}: the stream failed: ${reason}`)
  }

  private write(): void {
    const { stream, options } = this
    if (stream === undefined || this.isFinished) return
    while (this.sentBytes < options.sendBytes) {
      const left = options.sendBytes - this.sentBytes
      const size = Math.min(options.random.between(1, CHUNK_BYTES_MAX), left)
      const bytes = CHUNK.subarray(0, size)
      options.sendPattern.fill(bytes, this.sentBytes)
      const accepted = stream.write(bytes)
      this.sentBytes += accepted
      if (accepted < size) {
        this.blockedCount += 1
        return
      }
    }
    this.isFinished = true
    stream.finish()
    if (this.hasEnded) this.onDone()
  }

  private read(): void {
    const { stream, options } = this
    if (stream === undefined) return
    const target = CHUNK
    for (let count = stream.readInto(target); count > 0; count = stream.readInto(target)) {
      const difference = options.receivePattern.findDifference(
        target.subarray(0, count),
        this.receivedBytes,
      )
      check(
        difference === -1,
        () => `${options.name}: wrong byte at offset ${this.receivedBytes + difference}`,
      )
      check(!this.hasEnded, () => `${options.name}: ${count} bytes after the end`)
      this.receivedBytes += count
      check(
        this.receivedBytes <= options.receiveBytes,
        () => `${options.name}: ${this.receivedBytes} bytes of ${options.receiveBytes}`,
      )
      this.resumedAt ??= options.world.now
      options.world.report(options.name, this.receivedBytes)
    }
    if (!stream.ended || this.hasEnded) return
    check(
      this.receivedBytes === options.receiveBytes,
      () => `${options.name}: the end came after ${this.receivedBytes} of ${options.receiveBytes}`,
    )
    this.hasEnded = true
    this.resumedAt ??= options.world.now
    options.world.report(`${options.name} ended`)
    if (this.isFinished) this.onDone()
  }
}
