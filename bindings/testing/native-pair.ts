/** Bare native sockets with the descriptors that a core would write, for tests of the addon. */
import { constants } from 'node:os'
import type { NativeAddon, NativeSocketOptions } from '../addon.ts'
import {
  ADDRESS_WORDS,
  Core,
  DESC_ADDRESS,
  DESC_LENGTH,
  DESC_LOCAL_ADDRESS,
  DESC_POINTER,
  DESC_PORT,
  DESC_SEGMENT,
  DESC_SIZE,
  DESC_SOCKET,
  DESC_VERDICTS,
  RX_DESC,
  TX_ARENA,
} from '../core.ts'
import { NativeHub, type NativeRefusal, type NativeSocket } from '../native-hub.ts'

export const { EADDRINUSE, EAGAIN, ECONNREFUSED, EINVAL, EIO, EMSGSIZE, ENOBUFS } = constants.errno

const DESC_OFFLOAD = 60
const WAIT_MS = 10_000

/** A run of datagrams, copied out of the arena when it was told. */
export interface Run {
  readonly bytes: Buffer
  readonly segment: number
  readonly socketIndex: number
  readonly from: Int32Array
  readonly local: Buffer
  readonly ecn: number
  /** One byte per datagram, or undefined. */
  readonly verdicts: Uint8Array | undefined
}

/** Where IPv4 and IPv6 loopback are, as in a descriptor. */
export function loopback(family: 4 | 6, port = 0): Int32Array {
  const words = new Int32Array(ADDRESS_WORDS)
  const bytes = new Uint8Array(words.buffer)
  if (family === 4) bytes.set([0xff, 0xff, 127, 0, 0, 1], 10)
  else bytes[15] = 1
  words[4] = port
  return words
}

export const portOf = (socket: NativeSocket) => (socket.address[4] as number) & 0xffff

/** Fails when `condition` does not come true in time. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const limit = AbortSignal.timeout(WAIT_MS)
  while (!condition()) {
    if (limit.aborted) throw new Error(`timed out: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** A hub over a small core, which keeps what its sockets are told. */
export class NativePair {
  readonly core = Core.create({ memoryBytes: 4 * 1024 * 1024 })
  readonly hub: NativeHub
  readonly addon: NativeAddon
  deadlines = 0
  prepares = 0
  settles = 0
  private readonly isOnRing: boolean
  private laid = 0

  constructor(addon: NativeAddon, isOnRing: boolean) {
    this.addon = addon
    this.isOnRing = isOnRing
    this.hub = new NativeHub(addon, this.core, {
      deadline: () => {
        this.deadlines += 1
      },
      prepare: () => {
        this.prepares += 1
        this.core.receivedDone()
        this.hub.setBusy(false)
      },
      settle: () => {
        this.settles += 1
      },
    })
    if (isOnRing) {
      const { available, reason } = this.hub.openRing()
      if (!available) throw new Error(reason)
    }
  }

  open(options: Partial<NativeSocketOptions> = {}, address?: Int32Array): TestSocket {
    return new TestSocket(this, options, address, this.isOnRing)
  }

  /** Lays datagrams of `segment` bytes into the train arena and describes them as one run. */
  lay(bytes: Uint8Array, segment: number, to: Int32Array, more: LayOptions = {}): void {
    const desc = this.core.sendDescriptor(this.laid)
    const words = this.core.i32
    words.fill(0, desc, desc + (DESC_SIZE >> 2))
    const pointer = more.pointer ?? TX_ARENA + this.arenaUsed
    if (more.pointer === undefined) this.core.u8.set(bytes, pointer)
    words[desc + (DESC_POINTER >> 2)] = pointer
    words[desc + (DESC_LENGTH >> 2)] = more.length ?? bytes.length
    words[desc + (DESC_SEGMENT >> 2)] = segment
    words.set(to, desc + (DESC_ADDRESS >> 2))
    words[desc + (DESC_PORT >> 2)] = (to[4] as number) | ((more.ecn ?? 0) << 16)
    if (more.sealsCrc) words[desc + (DESC_OFFLOAD >> 2)] = 1
    if (more.local !== undefined) this.core.u8.set(more.local, desc * 4 + DESC_LOCAL_ADDRESS)
    this.laid += 1
    this.arenaUsed += (bytes.length + 63) & ~63
  }
  private arenaUsed = 0

  /** How many descriptors were laid; the next ones start anew. */
  take(): number {
    const { laid } = this
    this.laid = 0
    this.arenaUsed = 0
    return laid
  }

  read(count: number): Run[] {
    const { i32, bytes } = this.core
    return Array.from({ length: count }, (_, index) => {
      const at = (RX_DESC + index * DESC_SIZE) >> 2
      const pointer = i32[at + (DESC_POINTER >> 2)] as number
      const length = i32[at + (DESC_LENGTH >> 2)] as number
      const segment = i32[at + (DESC_SEGMENT >> 2)] as number
      const verdicts = i32[at + (DESC_VERDICTS >> 2)] as number
      const datagrams = segment === 0 ? 1 : Math.ceil(length / segment)
      return {
        bytes: Buffer.from(bytes.subarray(pointer, pointer + length)),
        segment,
        socketIndex: i32[at + (DESC_SOCKET >> 2)] as number,
        from: i32.slice(at + (DESC_ADDRESS >> 2), at + (DESC_ADDRESS >> 2) + ADDRESS_WORDS),
        local: Buffer.from(
          bytes.subarray(at * 4 + DESC_LOCAL_ADDRESS, at * 4 + DESC_LOCAL_ADDRESS + 16),
        ),
        ecn: ((i32[at + (DESC_PORT >> 2)] as number) >> 16) & 3,
        verdicts: verdicts === 0 ? undefined : this.core.u8.slice(verdicts, verdicts + datagrams),
      }
    })
  }

  close(): void {
    this.hub.close()
  }
}

export interface LayOptions {
  readonly pointer?: number
  readonly length?: number
  readonly ecn?: number
  readonly sealsCrc?: boolean
  readonly local?: Uint8Array
}

export class TestSocket {
  readonly socket: NativeSocket
  readonly runs: Run[] = []
  readonly refusals: NativeRefusal[] = []
  writables = 0
  failures: number[] = []
  /** Called after what was told was kept. */
  onReceived: (count: number) => void = () => {}
  private readonly pair: NativePair

  constructor(
    pair: NativePair,
    options: Partial<NativeSocketOptions>,
    address: Int32Array | undefined,
    isOnRing: boolean,
  ) {
    this.pair = pair
    const family = options.family ?? 4
    const opened = pair.hub.openSocket(
      address ?? loopback(family),
      {
        family,
        segmentation: true,
        receiveOffload: true,
        receiveBufferBytes: 4 * 1024 * 1024,
        ring: isOnRing,
        ...options,
      },
      {
        received: (count) => {
          this.runs.push(...pair.read(count))
          this.onReceived(count)
        },
        writable: () => {
          this.writables += 1
        },
        refused: (refusals) => this.refusals.push(...refusals),
        failed: (error) => this.failures.push(error),
      },
    )
    if ('error' in opened) throw new SocketFault(opened.error, opened.syscall)
    this.socket = opened
  }

  get port(): number {
    return portOf(this.socket)
  }

  /** Sends what was laid. */
  flush(): { readonly isBlocked: boolean; readonly hasRefusals: boolean } {
    return this.socket.flush(this.pair.take())
  }

  /** All datagrams received, cut where the runs say. */
  datagrams(): Buffer[] {
    return this.runs.flatMap(({ bytes, segment }) => {
      const size = segment === 0 ? Math.max(bytes.length, 1) : segment
      const count = Math.max(1, Math.ceil(bytes.length / size))
      return Array.from({ length: count }, (_, index) =>
        bytes.subarray(index * size, (index + 1) * size),
      )
    })
  }
}

/** Opening failed in a system call. */
export class SocketFault extends Error {
  readonly errno: number
  readonly syscall: string

  constructor(errno: number, syscall: string) {
    super(`${syscall} ${errno}`)
    this.errno = errno
    this.syscall = syscall
  }
}

/** Bytes that differ from datagram to datagram. */
export function pattern(size: number, seed: number): Buffer {
  const bytes = Buffer.alloc(size)
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1
  for (let at = 0; at < size; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    bytes[at] = state >>> 24
  }
  return bytes
}
