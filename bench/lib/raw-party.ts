/**
 * The native tiers without the transport: datagrams between two core memories under a credit window,
 * lossless as in `dgram-party.ts`. No protocol on a tier can be faster than this.
 */
import { loadAddon } from '../../bindings/addon.ts'
import {
  ADDRESS_WORDS,
  Core,
  DESC_ADDRESS,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_SEGMENT,
  DESC_SIZE,
  RX_DESC,
  TX_ARENA,
  TX_ARENA_SIZE,
} from '../../bindings/core.ts'
import { NativeHub, type NativeSocket } from '../../bindings/native-hub.ts'
import { chooseBackend } from '../../ts/io/backend.ts'
import { AddressBook } from '../../ts/transport/index.ts'
import { deferred } from './deferred.ts'
import type { ClientRole, Fail, Party, PeerAddress, ServerRole, Tally } from './party.ts'

const HOST = '127.0.0.1'

// Words of a datagram.
const TYPE = 0
const SEQUENCE = 1

const TYPE_HELLO = 1
const TYPE_DATA = 2
const TYPE_CREDIT = 3
const TYPE_FINISH = 4

/** Datagrams under way: 3 MB of payload fit a receive buffer of 4 MiB when they come in trains. */
const WINDOW = 2_500
const TRAIN_BYTES_MAX = 65_000
const REPEAT_MS = 100

export function rawParty(backend: 'uring' | 'mmsg'): Party {
  return {
    load: async () => {
      // Says why it can't be had.
      chooseBackend(backend)
      return {
        datagrams: {
          serve: async ({ datagramSizeBytes }, fail) =>
            new Receiver(backend, datagramSizeBytes, fail),
          call: (address, { datagramSizeBytes }, fail) =>
            Sender.open(backend, address, datagramSizeBytes, fail),
        },
      }
    },
  }
}

/** One socket on a memory of its own. */
class Port {
  readonly core = Core.create({ memoryBytes: 4 * 1024 * 1024 })
  readonly addresses = new AddressBook()
  readonly port: number
  readonly backend: string
  private readonly hub: NativeHub
  private readonly socket: NativeSocket
  private readonly control = Buffer.alloc(8)

  constructor(backend: 'uring' | 'mmsg', fail: Fail, received: (count: number) => void) {
    const addon = loadAddon()
    if (addon === undefined) throw new Error('no addon')
    const nothing = () => {}
    const owner = { deadline: nothing, prepare: nothing, settle: nothing }
    this.hub = new NativeHub(addon, this.core, owner)
    if (backend === 'uring') this.hub.openRing()
    const socket = this.hub.openSocket(
      this.pack(0),
      {
        family: 4,
        segmentation: true,
        receiveOffload: true,
        receiveBufferBytes: 4 * 1024 * 1024,
        sendBufferBytes: 4 * 1024 * 1024,
        ring: backend === 'uring',
      },
      {
        received,
        writable: nothing,
        refused: () => fail('the other side is gone'),
        failed: (error) => fail(`the socket failed: ${error}`),
      },
    )
    if ('error' in socket) throw new Error(`${socket.syscall}: ${socket.error}`)
    this.socket = socket
    this.backend = socket.isOnRing ? 'uring' : 'mmsg'
    this.port = this.addresses.unpack(socket.address, 0).port
  }

  pack(port: number): Int32Array {
    return Int32Array.from(this.addresses.pack(HOST, port) ?? [])
  }

  /** Word index of the first byte of a received run, its bytes, and what each datagram has. */
  run(index: number): { at: number; length: number; segment: number; desc: number } {
    const { i32 } = this.core
    const desc = (RX_DESC + index * DESC_SIZE) >> 2
    const length = i32[desc + (DESC_LENGTH >> 2)] as number
    const segment = i32[desc + (DESC_SEGMENT >> 2)] as number
    const at = (i32[desc + (DESC_POINTER >> 2)] as number) >> 2
    return { at, length, segment: segment === 0 ? length : segment, desc }
  }

  say(type: number, sequence: number, to: Int32Array): void {
    this.control.writeInt32LE(type, TYPE * 4)
    this.control.writeInt32LE(sequence, SEQUENCE * 4)
    this.socket.send(this.control, to)
  }

  flush(count: number): boolean {
    return !this.socket.flush(count).isBlocked
  }

  calls(): string {
    const { sendCalls = 0, receiveCalls = 0, drops = 0 } = this.socket.figures() ?? {}
    const { ringCalls = 0 } = this.hub.figures() ?? {}
    return `${sendCalls + receiveCalls + ringCalls} system calls, ${drops} drops`
  }

  close(): void {
    this.hub.close()
  }
}

class Receiver implements ServerRole {
  readonly address: PeerAddress
  private readonly port: Port
  private readonly sizeBytes: number
  private readonly fail: Fail
  private readonly finished = deferred()
  private peer: Int32Array | undefined
  private received = 0
  private mismatches = 0

  constructor(backend: 'uring' | 'mmsg', sizeBytes: number, fail: Fail) {
    this.sizeBytes = sizeBytes
    this.fail = fail
    this.port = new Port(backend, fail, (count) => this.take(count))
    this.address = { host: HOST, port: this.port.port }
  }

  done(): number {
    return this.received
  }

  details(): Readonly<Record<string, string>> {
    return { receiver: this.port.calls() }
  }

  async finish(): Promise<Tally> {
    await this.finished.promise
    const { received, mismatches } = this
    this.port.close()
    return { bytesSent: 0, bytesReceived: received * this.sizeBytes, checks: received, mismatches }
  }

  private take(count: number): void {
    const { i32 } = this.port.core
    for (let index = 0; index < count; index += 1) {
      const { at, length, segment, desc } = this.port.run(index)
      const type = i32[at + TYPE] as number
      if (type !== TYPE_DATA) {
        const from = desc + (DESC_ADDRESS >> 2)
        this.peer ??= i32.slice(from, from + ADDRESS_WORDS)
        if (type !== TYPE_FINISH) continue
        // Nobody is there any more to be answered.
        if (i32[at + SEQUENCE] === this.received) this.finished.resolve()
        else this.fail(`${this.received} of ${i32[at + SEQUENCE]} came`)
        return
      }
      for (let offset = 0; offset < length; offset += segment) {
        const sequence = i32[at + (offset >> 2) + SEQUENCE] as number
        if (sequence !== this.received) {
          this.fail(`datagram ${sequence} came instead of ${this.received}`)
          return
        }
        const last = at + ((offset + segment) >> 2) - 1
        if (i32[last] !== fillerOf(segment)) this.mismatches += 1
        this.received += 1
      }
    }
    if (this.peer !== undefined) this.port.say(TYPE_CREDIT, this.received, this.peer)
  }
}

const fillerOf = (sizeBytes: number) => Math.imul(sizeBytes, 0x9e3779b1)

class Sender implements ClientRole {
  static async open(
    backend: 'uring' | 'mmsg',
    { port }: PeerAddress,
    sizeBytes: number,
    fail: Fail,
  ): Promise<Sender> {
    const sender = new Sender(backend, port, sizeBytes, fail)
    await sender.greet()
    return sender
  }

  private readonly port: Port
  private readonly peer: Int32Array
  private readonly sizeBytes: number
  private readonly perTrain: number
  private readonly trains: number
  private readonly greeted = deferred()
  private readonly arrived = deferred()
  private sent = 0
  private credited = 0
  private isPumping = false
  private isStopping = false

  private constructor(backend: 'uring' | 'mmsg', port: number, sizeBytes: number, fail: Fail) {
    this.port = new Port(backend, fail, (count) => this.take(count))
    this.peer = this.port.pack(port)
    this.sizeBytes = sizeBytes
    this.perTrain = Math.max(1, Math.min(64, Math.floor(TRAIN_BYTES_MAX / sizeBytes)))
    this.trains = Math.floor(TX_ARENA_SIZE / (this.perTrain * sizeBytes))
    // Every place in the arena is a datagram's for good: only sequence numbers change.
    const { i32 } = this.port.core
    for (let at = 0; at < this.perTrain * this.trains; at += 1) {
      const words = (TX_ARENA + at * sizeBytes) >> 2
      i32[words + TYPE] = TYPE_DATA
      i32[words + (sizeBytes >> 2) - 1] = fillerOf(sizeBytes)
    }
  }

  begin(): void {
    this.isPumping = true
    this.pump()
  }

  done(): number {
    return this.sent
  }

  details(): Readonly<Record<string, string>> {
    const size = `${WINDOW} datagrams of ${this.sizeBytes} B`
    return { backend: this.port.backend, window: size, sender: this.port.calls() }
  }

  async finish(): Promise<Tally> {
    this.isStopping = true
    if (this.credited < this.sent) await this.arrived.promise
    this.port.say(TYPE_FINISH, this.sent, this.peer)
    this.port.close()
    return { bytesSent: this.sent * this.sizeBytes, bytesReceived: 0, checks: 0, mismatches: 0 }
  }

  private async greet(): Promise<void> {
    const hello = () => this.port.say(TYPE_HELLO, 0, this.peer)
    const timer = setInterval(hello, REPEAT_MS)
    hello()
    await this.greeted.promise
    clearInterval(timer)
  }

  private take(count: number): void {
    const { at } = this.port.run(count - 1)
    this.credited = this.port.core.i32[at + SEQUENCE] as number
    this.greeted.resolve()
    if (this.isStopping && this.credited === this.sent) this.arrived.resolve()
    else if (this.isPumping) this.pump()
  }

  private pump(): void {
    if (this.isStopping) return
    const { core } = this.port
    const { sizeBytes } = this
    let left = this.credited + WINDOW - this.sent
    let trains = 0
    // Full trains only, unless nothing else is under way.
    while (left >= this.perTrain && trains < this.trains) {
      const start = TX_ARENA + trains * this.perTrain * sizeBytes
      for (let index = 0; index < this.perTrain; index += 1) {
        core.i32[((start + index * sizeBytes) >> 2) + SEQUENCE] = this.sent
        this.sent += 1
      }
      const desc = core.sendDescriptor(trains)
      core.i32.fill(0, desc, desc + (DESC_SIZE >> 2))
      core.i32[desc + (DESC_POINTER >> 2)] = start
      core.i32[desc + (DESC_LENGTH >> 2)] = this.perTrain * sizeBytes
      core.i32[desc + (DESC_SEGMENT >> 2)] = sizeBytes
      core.i32.set(this.peer, desc + (DESC_ADDRESS >> 2))
      trains += 1
      left -= this.perTrain
    }
    if (trains > 0) this.port.flush(trains)
  }
}
