/**
 * The core as the transport sees it: raw exports, views, and the few places where bytes cross.
 *
 * One instance serves all endpoints of a thread. Its memory has one fixed size, so the views stay
 * valid for good. Hot exports are called raw: 4–6 ns a call.
 */
import {
  ADDRESS_SIZE,
  DESC_ADDRESS,
  DESC_COUNT,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_PORT,
  DESC_SEGMENT,
  DESC_SIZE,
  DESC_SOCKET,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  PARAMS,
  RX_ARENA,
  RX_ARENA_SIZE,
  RX_DESC,
  SCRATCH,
  SCRATCH_SIZE,
  TX_DESC,
} from '../assembly/layout.ts'
import { type Control, instantiateCore } from './control.ts'
import { type CoreBuild, coreBytes, preferredBuild } from './wasm-build.ts'

export * from '../assembly/layout.ts'
export type { CoreBuild } from './wasm-build.ts'

/** Address of an endpoint, connection or stream in the core's memory; 0 is none. */
export type Handle = number

/** The exports of the core, as `assembly/index.ts` documents them. Pointers are byte addresses. */
export interface CoreExports {
  instanceInit(memoryBytes: number): number
  endpointCreate(now: number): Handle
  endpointDestroy(endpoint: Handle): void
  endpointListen(endpoint: Handle, isListening: number): void
  endpointCounters(endpoint: Handle): number
  endpointGauges(endpoint: Handle): void
  endpointOffload(endpoint: Handle, isOffloaded: number): void
  endpointMark(endpoint: Handle, hasMarks: number): void
  endpointResetToken(endpoint: Handle, low: number, high: number): void
  ingest(endpoint: Handle, now: number, count: number): number
  ingestMore(endpoint: Handle, now: number): number
  ingestBegin(endpoint: Handle, count: number, lends: number): void
  ingestJobs(endpoint: Handle, now: number): number
  ingestApply(endpoint: Handle, now: number): void
  ingestTaken(endpoint: Handle): number
  settle(): void
  jobs(): number
  jobsFinish(): void
  flush(endpoint: Handle, now: number): number
  timeout(endpoint: Handle, now: number): void
  nextTimeout(endpoint: Handle): number
  events(endpoint: Handle): number
  setTag(handle: Handle, tag: number): void
  connectionOpen(
    endpoint: Handle,
    now: number,
    socketIndex: number,
    packetBytes: number,
    localLow: number,
    localHigh: number,
    originalLow: number,
    originalHigh: number,
    messageLength: number,
  ): Handle
  connectionMessage(connection: Handle): number
  connectionAnswer(
    connection: Handle,
    localLow: number,
    localHigh: number,
    packetBytes: number,
    messageLength: number,
  ): number
  connectionProtect(connection: Handle, now: number, cipher: number): number
  connectionPeerToken(connection: Handle): void
  connectionEstablish(connection: Handle, now: number, messageLength: number): number
  connectionRefuse(connection: Handle, code: number): void
  connectionIds(connection: Handle): void
  connectionPath(connection: Handle): number
  connectionClose(connection: Handle, now: number, code: number): void
  connectionLose(connection: Handle, code: number): void
  connectionRelease(connection: Handle): void
  connectionKeepAlive(connection: Handle, micros: number): void
  connectionPin(connection: Handle, isPinned: number): void
  connectionPacketMax(connection: Handle, bytes: number): void
  connectionSocket(connection: Handle, now: number, socketIndex: number): void
  connectionAddress(connection: Handle): void
  connectionFigures(connection: Handle): void
  streamOpen(connection: Handle, port: number): Handle
  streamAccept(stream: Handle): void
  streamRefuse(stream: Handle, code: number): void
  streamReserve(stream: Handle, want: number): number
  streamCommit(stream: Handle, size: number): void
  streamFinish(stream: Handle): void
  streamPriority(stream: Handle, priority: number): void
  streamReadable(stream: Handle): number
  streamPeek(stream: Handle): number
  streamConsume(stream: Handle, size: number): void
  streamEnded(stream: Handle): number
  streamNumber(stream: Handle): number
  streamAbort(stream: Handle, code: number): void
  streamRelease(stream: Handle): void
  crc32c(pointer: number, length: number): number
  aeadSeal(
    key: number,
    nonce: number,
    header: number,
    headerSize: number,
    payload: number,
    payloadSize: number,
  ): void
  aeadOpen(
    key: number,
    nonce: number,
    header: number,
    headerSize: number,
    payload: number,
    payloadSize: number,
  ): number
}

export interface CoreOptions {
  /**
   * Size of the instance's memory, 4 MiB … 1 GiB; default 64 MiB. Committed lazily by the system.
   * All connections' unacknowledged and unread bytes must fit: long fat paths need more.
   */
  readonly memoryBytes?: number
  /** Which build; default: SIMD where the engine has it, unless PUNCHLINE_SIMD=0. */
  readonly build?: CoreBuild
}

export const MEMORY_BYTES_DEFAULT = 64 * 1024 * 1024

const PAGE_BYTES = 65536
const PARAM_INDEX = PARAMS >> 3

/** An instance of the core with views over its memory. */
export class Core {
  /** Replaced by `guard`: never keep them. */
  exports: CoreExports
  readonly u8: Uint8Array
  readonly i32: Int32Array
  readonly f64: Float64Array
  /** All of the memory as a Buffer, for `copy`. */
  readonly bytes: Buffer
  /** Compiled or not, and with what: for statistics. */
  readonly build: string
  /** Strings to and from the core; absent when it runs as plain TypeScript. */
  readonly control: Control | undefined
  /** Next free byte of the receive arena, and receive descriptors in use. */
  private received = 0
  private receivedBytes = 0
  /** How much of the receive arena `receive` may use; the rest belongs to a native hub. */
  private receiveArenaBytes = RX_ARENA_SIZE

  /** @throws RangeError when `memory` has a size the core can't work with. */
  constructor(raw: CoreExports, memory: ArrayBuffer, build: string, control?: Control) {
    this.exports = raw
    this.u8 = new Uint8Array(memory)
    this.i32 = new Int32Array(memory)
    this.f64 = new Float64Array(memory)
    this.bytes = Buffer.from(memory)
    this.build = build
    this.control = control
    if (raw.instanceInit(memory.byteLength) === 0) {
      throw new RangeError(
        `memoryBytes must be ${MEMORY_BYTES_MIN} … ${MEMORY_BYTES_MAX}, not ${memory.byteLength}`,
      )
    }
  }

  /**
   * Instantiates the compiled core.
   * @throws RangeError when `memoryBytes` is out of range.
   */
  static create(options: CoreOptions = {}): Core {
    const size = options.memoryBytes ?? MEMORY_BYTES_DEFAULT
    if (!Number.isInteger(size) || size < MEMORY_BYTES_MIN || size > MEMORY_BYTES_MAX) {
      throw new RangeError(`memoryBytes must be ${MEMORY_BYTES_MIN} … ${MEMORY_BYTES_MAX}`)
    }
    const build = options.build ?? preferredBuild()
    const pages = Math.ceil(size / PAGE_BYTES)
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
    const instance = instantiateCore(coreBytes(build), memory)
    const raw = instance.exports as unknown as CoreExports
    return new Core(raw, memory.buffer, build, instance.control)
  }

  /**
   * From now on a trap, which leaves the memory in no known state, is told once and not thrown: all
   * calls answer 0 then, and there is never a deadline. Costs about a nanosecond a call.
   */
  guard(onTrap: (error: Error) => void): void {
    const raw = this.exports as unknown as Record<string, (...values: number[]) => number>
    const dead = (name: string) => () => (name === 'nextTimeout' ? Number.POSITIVE_INFINITY : 0)
    const trapped = (name: string, error: unknown) => {
      if (!(error instanceof WebAssembly.RuntimeError)) throw error
      const names = Object.keys(raw)
      this.exports = Object.fromEntries(names.map((each) => [each, dead(each)])) as never
      onTrap(error)
      return dead(name)()
    }
    const guarded = Object.keys(raw).map((name) => {
      const call = raw[name] as (...values: number[]) => number
      if (typeof call !== 'function') return [name, call]
      // As many parameters as any export takes: a rest parameter would make an array for each call.
      const guardedCall = (
        a: number,
        b: number,
        c: number,
        d: number,
        e: number,
        f: number,
        g: number,
        h: number,
        i: number,
      ) => {
        try {
          return call(a, b, c, d, e, f, g, h, i)
        } catch (error) {
          return trapped(name, error)
        }
      }
      return [name, guardedCall]
    })
    this.exports = Object.fromEntries(guarded) as CoreExports
  }

  // ── Numbers that cross ─────────────────────────────────────────────────────────────────────────

  param(index: number): number {
    return this.f64[PARAM_INDEX + index] as number
  }

  setParam(index: number, value: number): void {
    this.f64[PARAM_INDEX + index] = value
  }

  /** Lays a handshake message, or keys, where the next call finds them. */
  setScratch(bytes: Uint8Array): void {
    if (bytes.length > SCRATCH_SIZE) throw new RangeError('handshake message too long')
    this.u8.set(bytes, SCRATCH)
  }

  /** A copy of what the last call left there. */
  scratch(size: number): Uint8Array {
    return this.u8.slice(SCRATCH, SCRATCH + size)
  }

  // ── Datagrams in ───────────────────────────────────────────────────────────────────────────────

  /** Receive descriptors filled and not yet taken. */
  get receivedCount(): number {
    return this.received
  }

  /**
   * Copies one datagram behind those already there; false when the arena or the table is full.
   * `address` is the part DESC_ADDRESS … DESC_SCOPE of a descriptor, as six words. `ecn`: the two bits
   * of its IP header.
   */
  receive(bytes: Uint8Array, socketIndex: number, address: Int32Array, ecn = 0): boolean {
    const at = this.receivedBytes
    if (this.received === DESC_COUNT || at + bytes.length > this.receiveArenaBytes) {
      return false
    }
    if (this.received === 0) this.exports.settle()
    const pointer = RX_ARENA + at
    this.u8.set(bytes, pointer)
    const desc = (RX_DESC + this.received * DESC_SIZE) >> 2
    const words = this.i32
    words[desc + (DESC_POINTER >> 2)] = pointer
    words[desc + (DESC_LENGTH >> 2)] = bytes.length
    words[desc + (DESC_SEGMENT >> 2)] = 0
    words[desc + (DESC_SOCKET >> 2)] = socketIndex
    // Not `set`: six words are not worth its start.
    for (let word = 0; word < ADDRESS_WORDS; word++) {
      words[desc + (DESC_ADDRESS >> 2) + word] = address[word] as number
    }
    if (ecn !== 0) words[desc + (DESC_PORT >> 2)] = (address[PORT_WORD] as number) | (ecn << 16)
    this.received += 1
    this.receivedBytes = (at + bytes.length + 15) & ~15
    return true
  }

  /** @internal Leaves the arena from `bytes` on to somebody else. */
  limitReceive(bytes: number): void {
    this.receiveArenaBytes = bytes
  }

  /**
   * Forgets all receive descriptors: the arena is free again. Streams may have left something there,
   * which `receive` copies first.
   */
  receivedDone(): void {
    this.received = 0
    this.receivedBytes = 0
  }

  // ── Datagrams out ──────────────────────────────────────────────────────────────────────────────

  /** Word index of a send descriptor: add `DESC_… >> 2` to reach a field. */
  sendDescriptor(index: number): number {
    return (TX_DESC + index * DESC_SIZE) >> 2
  }
}

const PORT_WORD = (DESC_PORT - DESC_ADDRESS) >> 2
/** Words of an address, see `DESC_ADDRESS`. */
export const ADDRESS_WORDS = ADDRESS_SIZE >> 2
