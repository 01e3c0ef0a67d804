/**
 * Raw `node:dgram` under a credit window: datagrams are sent only as far as the receiver's socket
 * buffer has room, so that none is lost and none is ever repeated. No protocol can move bytes
 * through `node:dgram` for less; it is the floor that protocols over it are measured against.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { deferred } from './deferred.ts'
import { Latencies } from './latencies.ts'
import type {
  ClientRole,
  Fail,
  Party,
  PeerAddress,
  Scenario,
  ServerRole,
  Tally,
  Workload,
} from './party.ts'
import { makePattern, PATTERN_PERIOD_BYTES } from './pattern.ts'

const HOST = '127.0.0.1'

/** Size of the datagrams, and what one of them counts as work done. */
interface Measure {
  readonly sizeBytes: number
  readonly work: number
}

// Offsets in a datagram. The sequence number of data counts datagrams from 0.
const TYPE = 0
const SEQUENCE = 4
const BODY = 8

/** What an Ethernet frame of 1,500 bytes carries over IPv4. */
const BYTES_OF_STREAM: Measure = { sizeBytes: 1_472, work: 1_472 - BODY }
const datagramsOf = (workload: Workload): Measure => ({
  sizeBytes: workload.datagramSizeBytes,
  work: 1,
})

const TYPE_HELLO = 1
const TYPE_WELCOME = 2
const TYPE_DATA = 3
const TYPE_CREDIT = 4
const TYPE_FINISH = 5
const TYPE_FINISHED = 6
const TYPE_ECHO = 7

const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024

/** What the kernel charges a datagram of ours to the receive buffer, rounded up generously. */
const CHARGE_BYTES = 4 * 1024
/** Measured: CPU per byte falls up to about here, and stays the same up to 1,024. */
const WINDOW_MAX = 256
/** The receiver grants credit this many times per window. */
const CREDITS_PER_WINDOW = 4

/** Greetings and farewells are repeated; data is not. */
const REPEAT_MS = 100
const REPEATS_MAX = 50

/** No progress for this long means that something was lost after all. */
const STALL_MS = 2_000

export const dgramParty: Party = {
  load: async () => ({
    stream: streamScenario(connectSocket),
    datagrams: {
      serve: (workload, fail) => DatagramReceiver.open(datagramsOf(workload), fail),
      call: async (address, workload, fail) =>
        DatagramSender.open(address, datagramsOf(workload), fail, connectSocket),
    },
    pingpong: echoScenario((workload) => ({
      ...workload,
      connectionCount: 1,
      messagesInFlight: 1,
    })),
    // A connection is a number in the datagram here: the floor for many peers on one socket.
    connections: echoScenario((workload) => workload),
  }),
}

/** The same for a sender that names its peer with each datagram, as one with several peers must. */
export const unconnectedDgramParty: Party = {
  load: async () => ({
    stream: streamScenario(async (socket, { host, port }) => {
      const { send } = socket
      const sendTo = (bytes: Buffer) => Reflect.apply(send, socket, [bytes, port, host])
      socket.send = sendTo as Socket['send']
    }),
  }),
}

/** Sees to it that `send(bytes)` leads to the peer. */
type Aim = (socket: Socket, peer: { host: string; port: number }) => Promise<void>

function streamScenario(aim: Aim): Scenario {
  return {
    serve: (_workload, fail) => DatagramReceiver.open(BYTES_OF_STREAM, fail),
    call: (address, _workload, fail) => DatagramSender.open(address, BYTES_OF_STREAM, fail, aim),
  }
}

/** How many datagrams fit into the receive buffer that was granted. */
function windowOf(socket: Socket): number {
  // Linux answers twice what can be used for payload, and counts its own overhead against it.
  const granted = socket.getRecvBufferSize() / 2
  return Math.max(4, Math.min(WINDOW_MAX, Math.floor(granted / CHARGE_BYTES)))
}

async function openSocket(fail: Fail): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES })
  socket.on('error', (error) => fail(error.message))
  socket.bind(0, HOST)
  await once(socket, 'listening')
  return socket
}

/** Connects, because an unconnected send looks its address up each time. */
async function connectSocket(socket: Socket, address: { host: string; port: number }) {
  socket.connect(address.port, address.host)
  await once(socket, 'connect')
}

function control(type: number, sequence = 0): Buffer {
  const datagram = Buffer.alloc(BODY)
  datagram[TYPE] = type
  datagram.writeUInt32LE(sequence, SEQUENCE)
  return datagram
}

/** Sends `request` again and again until `reply` arrives; answers the reply's number. */
async function converse(socket: Socket, request: Buffer, reply: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let repeats = 0
    const timer = setInterval(() => {
      repeats += 1
      if (repeats <= REPEATS_MAX) socket.send(request)
      else settle(() => reject(new Error('the other side does not answer')))
    }, REPEAT_MS)
    const listen = (datagram: Buffer) => {
      if (datagram[TYPE] === reply) settle(() => resolve(datagram.readUInt32LE(SEQUENCE)))
    }
    const settle = (end: () => void) => {
      clearInterval(timer)
      socket.off('message', listen)
      end()
    }
    socket.on('message', listen)
    socket.send(request)
  })
}

/** Fails a role whose work stands still. */
function watchProgress(progress: () => number, fail: Fail): NodeJS.Timeout {
  let last = -1
  return setInterval(() => {
    const now = progress()
    if (now === last) fail(`nothing moved for ${STALL_MS} ms: a datagram was lost`)
    last = now
  }, STALL_MS).unref()
}

class DatagramReceiver implements ServerRole {
  static async open(measure: Measure, fail: Fail): Promise<DatagramReceiver> {
    return new DatagramReceiver(await openSocket(fail), measure, fail)
  }

  readonly address: PeerAddress
  private readonly socket: Socket
  private readonly fail: Fail
  private readonly window: number
  private readonly creditEvery: number
  private readonly measure: Measure
  private readonly pattern: Buffer
  private readonly credit = control(TYPE_CREDIT)
  private readonly finished = deferred()
  private isConnected = false
  private nextSequence = 0
  private mismatches = 0

  private constructor(socket: Socket, measure: Measure, fail: Fail) {
    this.socket = socket
    this.measure = measure
    this.pattern = makePattern(measure.sizeBytes)
    this.fail = fail
    this.window = windowOf(socket)
    this.creditEvery = Math.max(1, Math.floor(this.window / CREDITS_PER_WINDOW))
    this.address = { host: HOST, port: socket.address().port }
    socket.on('message', (datagram, from) => this.take(datagram, from.port))
  }

  done(): number {
    return this.nextSequence * this.measure.work
  }

  async finish(): Promise<Tally> {
    await this.finished.promise
    return {
      bytesSent: 0,
      bytesReceived: this.done(),
      checks: this.nextSequence,
      mismatches: this.mismatches,
    }
  }

  private take(datagram: Buffer, fromPort: number): void {
    const sequence = datagram.readUInt32LE(SEQUENCE)
    switch (datagram[TYPE]) {
      case TYPE_DATA:
        if (sequence !== this.nextSequence) {
          this.fail(`datagram ${sequence} came instead of ${this.nextSequence}`)
          return
        }
        if (!isRight(datagram, sequence, this.window, this.pattern)) this.mismatches += 1
        this.nextSequence += 1
        if (this.nextSequence % this.creditEvery === 0) {
          this.credit.writeUInt32LE(this.nextSequence, SEQUENCE)
          this.socket.send(this.credit)
        }
        return
      case TYPE_HELLO:
        void this.welcome(fromPort)
        return
      case TYPE_FINISH:
        if (sequence !== this.nextSequence) this.fail(`${this.nextSequence} of ${sequence} came`)
        this.socket.send(control(TYPE_FINISHED, this.nextSequence))
        this.finished.resolve()
    }
  }

  private async welcome(port: number): Promise<void> {
    if (!this.isConnected) {
      this.isConnected = true
      await connectSocket(this.socket, { host: HOST, port })
    }
    this.socket.send(control(TYPE_WELCOME, this.window))
  }
}

/** Each slot of the window has its own, unchanging bytes; one of them is looked at. */
function isRight(datagram: Buffer, sequence: number, window: number, pattern: Buffer): boolean {
  const at = BODY + ((sequence * 7) % (datagram.length - BODY))
  return datagram[at] === pattern[slotPhase(sequence % window) + at]
}

function slotPhase(slot: number): number {
  return (slot * 1_031) % PATTERN_PERIOD_BYTES
}

class DatagramSender implements ClientRole {
  static async open(
    { host, port }: PeerAddress,
    measure: Measure,
    fail: Fail,
    aim: Aim,
  ): Promise<DatagramSender> {
    const socket = await openSocket(fail)
    await aim(socket, { host, port })
    const window = await converse(socket, control(TYPE_HELLO), TYPE_WELCOME)
    return new DatagramSender(socket, measure, window, fail)
  }

  private readonly socket: Socket
  private readonly measure: Measure
  private readonly fail: Fail
  /** One buffer per datagram in flight: it is written again only after it has arrived. */
  private readonly slots: readonly Buffer[]
  private sent = 0
  private arrived = 0
  private isStopping = false
  private watch: NodeJS.Timeout | undefined

  private constructor(socket: Socket, measure: Measure, window: number, fail: Fail) {
    this.socket = socket
    this.measure = measure
    this.fail = fail
    const { sizeBytes } = measure
    const pattern = makePattern(sizeBytes)
    this.slots = Array.from({ length: window }, (_, slot) => {
      const phase = slotPhase(slot)
      const datagram = Buffer.from(pattern.subarray(phase, phase + sizeBytes))
      datagram[TYPE] = TYPE_DATA
      return datagram
    })
  }

  begin(): void {
    this.socket.on('message', (datagram) => {
      if (datagram[TYPE] !== TYPE_CREDIT) return
      this.arrived = datagram.readUInt32LE(SEQUENCE)
      this.pump()
    })
    this.watch = watchProgress(() => this.arrived, this.fail)
    this.pump()
  }

  done(): number {
    return this.sent * this.measure.work
  }

  details(): Readonly<Record<string, string>> {
    return { window: `${this.slots.length} datagrams of ${this.measure.sizeBytes} B` }
  }

  async finish(): Promise<Tally> {
    this.isStopping = true
    clearInterval(this.watch)
    await converse(this.socket, control(TYPE_FINISH, this.sent), TYPE_FINISHED)
    return { bytesSent: this.done(), bytesReceived: 0, checks: 0, mismatches: 0 }
  }

  private pump(): void {
    if (this.isStopping) return
    const end = this.arrived + this.slots.length
    for (; this.sent < end; this.sent += 1) {
      const datagram = this.slots[this.sent % this.slots.length]
      if (datagram === undefined) return
      datagram.writeUInt32LE(this.sent, SEQUENCE)
      this.socket.send(datagram)
    }
  }
}

/** Messages of one datagram each that come back as they are. */
function echoScenario(adapt: (workload: Workload) => Workload): Scenario {
  return {
    serve: (_workload, fail) => serveEcho(fail),
    call: (address, workload, fail) => DatagramEchoClient.open(address, adapt(workload), fail),
  }
}

async function serveEcho(fail: Fail): Promise<ServerRole> {
  const socket = await openSocket(fail)
  let bytes = 0
  let isConnected = false
  socket.on('message', (datagram, from) => {
    if (datagram[TYPE] === TYPE_ECHO) {
      bytes += datagram.length
      socket.send(datagram)
    } else if (datagram[TYPE] === TYPE_HELLO) {
      const welcome = () => socket.send(control(TYPE_WELCOME, windowOf(socket)))
      if (isConnected) welcome()
      else socket.connect(from.port, HOST, welcome)
      isConnected = true
    }
  })
  return {
    address: { host: HOST, port: socket.address().port },
    done: () => bytes,
    finish: async () => ({ bytesSent: bytes, bytesReceived: bytes, checks: 0, mismatches: 0 }),
  }
}

class DatagramEchoClient implements ClientRole {
  static async open(
    { host, port }: PeerAddress,
    workload: Workload,
    fail: Fail,
  ): Promise<DatagramEchoClient> {
    const socket = await openSocket(fail)
    await connectSocket(socket, { host, port })
    const window = await converse(socket, control(TYPE_HELLO), TYPE_WELCOME)
    return new DatagramEchoClient(socket, workload, Math.min(window, windowOf(socket)), fail)
  }

  private readonly socket: Socket
  private readonly fail: Fail
  private readonly latencies = new Latencies()
  private readonly drained = deferred()
  /** One message per exchange under way. Exchanges take turns among the connections. */
  private readonly messages: readonly Buffer[]
  private readonly connectionCount: number
  private readonly sentAtMs: Float64Array
  private sent = 0
  private received = 0
  private mismatches = 0
  private isStopping = false
  private watch: NodeJS.Timeout | undefined

  private constructor(socket: Socket, workload: Workload, window: number, fail: Fail) {
    this.socket = socket
    this.fail = fail
    this.connectionCount = workload.connectionCount
    const inFlight = Math.min(window, workload.connectionCount * workload.messagesInFlight)
    this.sentAtMs = new Float64Array(inFlight)
    this.messages = Array.from({ length: inFlight }, () => {
      const message = Buffer.alloc(workload.messageSizeBytes, 0x5a)
      message[TYPE] = TYPE_ECHO
      return message
    })
  }

  begin(): void {
    this.socket.on('message', (datagram) => this.take(datagram))
    this.watch = watchProgress(() => this.received, this.fail)
    for (let i = 0; i < this.messages.length; i += 1) this.send()
  }

  done(): number {
    return this.received
  }

  takeLatencies(): Float64Array {
    return this.latencies.take()
  }

  details(): Readonly<Record<string, string>> {
    return { connections: `numbers on one socket, ${this.messages.length} messages in flight` }
  }

  async finish(): Promise<Tally> {
    this.isStopping = true
    if (this.received < this.sent) await this.drained.promise
    clearInterval(this.watch)
    const sizeBytes = this.messages[0]?.length ?? 0
    return {
      bytesSent: this.sent * sizeBytes,
      bytesReceived: this.received * sizeBytes,
      checks: this.received,
      mismatches: this.mismatches,
    }
  }

  private send(): void {
    const slot = this.sent % this.messages.length
    const message = this.messages[slot]
    if (message === undefined) return
    message.writeUInt16LE(this.sent % this.connectionCount, TYPE + 2)
    message.writeUInt32LE(this.sent, SEQUENCE)
    this.sentAtMs[slot] = performance.now()
    this.sent += 1
    this.socket.send(message)
  }

  private take(datagram: Buffer): void {
    const slot = this.received % this.messages.length
    // Nothing overtakes on loopback, so the oldest message is the one that comes back.
    const isRight = this.messages[slot]?.equals(datagram) ?? false
    if (!isRight) this.mismatches += 1
    this.latencies.record((performance.now() - (this.sentAtMs[slot] ?? Number.NaN)) * 1_000)
    this.received += 1
    if (!this.isStopping) this.send()
    else if (this.received === this.sent) this.drained.resolve()
  }
}
