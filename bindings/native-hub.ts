/**
 * The native tiers as `ts/io` sees them: a hub per core, sockets on it. Datagrams cross in the
 * core's memory; calls carry numbers (`native/README.md`).
 */
import type {
  Attempt,
  NativeAddon,
  NativeHubFigures,
  NativeSocketFigures,
  NativeSocketOptions,
} from './addon.ts'
import {
  ADDRESS_WORDS,
  type Core,
  DESC_COUNT,
  RX_ARENA,
  RX_ARENA_SIZE,
  RX_DESC,
  TX_ARENA,
  TX_ARENA_SIZE,
  TX_DESC,
} from './core.ts'

// What the callback is told, as `Event` in native/hub.h.
const EVENT_RECEIVED = 1
const EVENT_WRITABLE = 2
const EVENT_REFUSED = 3
const EVENT_DEADLINE = 4
const EVENT_PREPARE = 5
const EVENT_FAILED = 6
const EVENT_SETTLE = 7

const BUSY_WORD = 0
const INSIDE_WORD = 1
const SETTLE_WORD = 2

const FLUSH_BLOCKED = 1
const FLUSH_REFUSED = 2

/** What the network, or the route to it, said about datagrams to an address. */
export interface NativeRefusal {
  /** errno, positive. */
  readonly error: number
  /** For EMSGSIZE: bytes that the way carries, headers included; 0: not known. */
  readonly info: number
  /** As in a descriptor. */
  readonly address: Int32Array
}

export interface NativeSocketOwner {
  /**
   * The first `count` receive descriptors are for this socket, and valid during this call; what they
   * point to stays as it is until `settle`.
   */
  received(count: number): void
  /** What was set aside has left. */
  writable(): void
  refused(refusals: readonly NativeRefusal[]): void
  /** The socket is of no use any more; errno, positive. */
  failed(error: number): void
}

export interface NativeHubOwner {
  /** The deadline has come. */
  deadline(): void
  /** Receive descriptors that were filled by `Core.receive` must be taken now. */
  prepare(): void
  /** The program has done what it does about `received`, or about what `settleLater` was called in. */
  settle(): void
}

/** A socket could not be opened. */
export interface NativeSocketFault {
  /** errno, positive. */
  readonly error: number
  readonly syscall: string
}

export class NativeHub {
  private readonly addon: NativeAddon
  private readonly id: number
  private readonly words: Int32Array
  private readonly owner: NativeHubOwner
  private readonly sockets = new Map<number, NativeSocket>()
  private readonly refusals: { readonly at: number; readonly words: number }
  /** The addon holds it, and the memory, only while sockets are open: in between, this does. */
  private readonly callback: (event: number, socket: number, count: number) => void
  private readonly memory: Uint8Array

  /** @throws Error when the addon can't serve this core. */
  constructor(addon: NativeAddon, core: Core, owner: NativeHubOwner) {
    if (addon.shared === undefined) throw new Error('the addon does not know this libuv')
    const { words, refusalsAt, refusalWords } = addon.shared
    this.addon = addon
    this.owner = owner
    this.words = new Int32Array(words)
    this.refusals = { at: refusalsAt, words: refusalWords }
    const layout = Int32Array.of(
      RX_DESC,
      TX_DESC,
      DESC_COUNT,
      RX_ARENA,
      RX_ARENA_SIZE,
      TX_ARENA,
      TX_ARENA_SIZE,
    )
    this.callback = (event, socket, count) => this.handle(event, socket, count)
    this.memory = core.u8
    const { id, packedBytes } = addon.openHub(this, this.memory, layout, this.words, this.callback)
    this.id = id
    core.limitReceive(packedBytes)
  }

  /** Says whether `Core.receive` has filled descriptors that nobody has taken. */
  setBusy(isBusy: boolean): void {
    this.words[BUSY_WORD] = isBusy ? 1 : 0
  }

  /**
   * Asks for `settle` as soon as the program has done what it does about the event that is being
   * told; false when there is none.
   */
  settleLater(): boolean {
    if (this.words[INSIDE_WORD] === 0) return false
    this.words[SETTLE_WORD] = 1
    return true
  }

  openRing(): Attempt {
    return this.addon.openRing(this.id)
  }

  /** Binds at once. */
  openSocket(
    address: Int32Array,
    options: NativeSocketOptions,
    owner: NativeSocketOwner,
  ): NativeSocket | NativeSocketFault {
    const { error, syscall, id, ...opened } = this.addon.openSocket(this.id, address, options)
    if (error !== 0 || id === undefined) return { error, syscall }
    const socket = new NativeSocket(this.addon, id, owner, opened, () => this.sockets.delete(id))
    this.sockets.set(id, socket)
    return socket
  }

  /** Rings once after that many microseconds; negative: not at all. */
  setDeadline(micros: number): void {
    this.addon.setDeadline(this.id, micros)
  }

  /** For how long after a datagram the next one is looked for without the event loop; 0: never. */
  setBusyPoll(micros: number): void {
    this.addon.setBusyPoll(this.id, micros)
  }

  /** Runs `count` jobs that lie at `jobs` in the core's memory; gives how many were done. */
  runJobs(jobs: number, count: number, verdicts: number): number {
    return this.addon.runJobs(this.id, jobs, count, verdicts)
  }

  figures(): NativeHubFigures | undefined {
    return this.addon.hubFigures(this.id)
  }

  /** Closes all sockets, too. */
  close(): void {
    this.addon.closeHub(this.id)
    this.sockets.clear()
  }

  /** @internal The refusals that the addon has just written to the shared words. */
  readRefusals(count: number): NativeRefusal[] {
    return Array.from({ length: Math.max(count, 0) }, (_, index) => {
      const at = this.refusals.at + index * this.refusals.words
      return {
        error: this.words[at] as number,
        info: this.words[at + 1] as number,
        address: this.words.slice(at + 2, at + 2 + ADDRESS_WORDS),
      }
    })
  }

  private handle(event: number, id: number, count: number): void {
    if (event === EVENT_SETTLE) this.owner.settle()
    else if (event === EVENT_DEADLINE) this.owner.deadline()
    else if (event === EVENT_PREPARE) this.owner.prepare()
    else {
      const socket = this.sockets.get(id)
      if (socket === undefined) return
      if (event === EVENT_RECEIVED) {
        this.words[SETTLE_WORD] = 1
        socket.owner.received(count)
      } else if (event === EVENT_WRITABLE) socket.owner.writable()
      else if (event === EVENT_REFUSED) socket.owner.refused(this.readRefusals(count))
      else if (event === EVENT_FAILED) socket.owner.failed(count)
    }
  }
}

/** A bound UDP socket of the kernel. */
export class NativeSocket {
  readonly owner: NativeSocketOwner
  /** Address it is bound to, as in a descriptor. */
  readonly address: Int32Array
  /** Whether io_uring receives for it; else the poll set does. */
  readonly isOnRing: boolean
  /** As the system reports them: on Linux twice what can be used. */
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  private readonly addon: NativeAddon
  private id: number
  private readonly forget: () => void
  private lastFigures: NativeSocketFigures | undefined

  /** @internal Sockets come from `NativeHub.openSocket`. */
  constructor(
    addon: NativeAddon,
    id: number,
    owner: NativeSocketOwner,
    opened: {
      readonly address?: Int32Array
      readonly isOnRing?: boolean
      readonly receiveBufferBytes?: number
      readonly sendBufferBytes?: number
    },
    forget: () => void,
  ) {
    this.addon = addon
    this.id = id
    this.owner = owner
    this.address = opened.address ?? new Int32Array(ADDRESS_WORDS)
    this.isOnRing = opened.isOnRing ?? false
    this.receiveBufferBytes = opened.receiveBufferBytes ?? 0
    this.sendBufferBytes = opened.sendBufferBytes ?? 0
    this.forget = forget
  }

  /** Sends the first `count` send descriptors. `isBlocked`: the rest waits, `writable` will tell. */
  flush(count: number): FlushResult {
    return resultOf(this.addon.flush(this.id, count))
  }

  /** Sends one datagram from any memory. */
  send(bytes: Uint8Array, address: Int32Array): FlushResult {
    return resultOf(this.addon.send(this.id, bytes, address))
  }

  /** Gives how many refusals now lie in the hub's shared words. */
  takeRefusals(): number {
    return this.addon.takeRefusals(this.id)
  }

  /** For tests: the next `times` send calls fail with this errno. */
  failSends(errno: number, times: number): void {
    this.addon.failSends(this.id, errno, times)
  }

  setRef(isRef: boolean): void {
    this.addon.setSocketRef(this.id, isRef)
  }

  /** After `close`: the last ones. */
  figures(): NativeSocketFigures | undefined {
    return this.addon.socketFigures(this.id) ?? this.lastFigures
  }

  /** Afterwards the kernel writes nothing for it. */
  close(): void {
    if (this.id === 0) return
    this.lastFigures = this.figures()
    this.addon.closeSocket(this.id)
    this.id = 0
    this.forget()
  }
}

export interface FlushResult {
  readonly isBlocked: boolean
  readonly hasRefusals: boolean
}

// One object for each answer there is: the hot path makes none.
const RESULTS: readonly FlushResult[] = [0, 1, 2, 3].map((bits) => ({
  isBlocked: (bits & FLUSH_BLOCKED) !== 0,
  hasRefusals: (bits & FLUSH_REFUSED) !== 0,
}))

function resultOf(bits: number): FlushResult {
  // −1: the socket is closed; what is sent through it is lost.
  return RESULTS[Math.max(bits, 0)] as FlushResult
}
