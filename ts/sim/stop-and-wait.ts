import type { DatagramAddress, DatagramPort, Micros } from '../machine.ts'
import { NEVER } from '../machine.ts'
import type {
  ConnectionHandlers,
  EndpointOptions,
  HarnessConnection,
  HarnessEndpoint,
  HarnessRun,
  HarnessStream,
  StreamHandlers,
  TransportHarness,
} from './harness.ts'
import type { Attachment } from './host.ts'

/*
 * The smallest transport that passes every scenario: each stream has one chunk on its way at a time.
 * It proves the simulator without the real transport, and shows how a harness is written.
 */

/** Datagram: kind, stream, flags, 0, chunk number (u32), checksum (u32), payload. */
const HEADER_BYTES = 12
const CHUNK_BYTES = 1_100
const KIND_HELLO = 1
const KIND_WELCOME = 2
const KIND_CHUNK = 3
const KIND_ACK = 4
const FLAG_END = 1
const BUFFER_BYTES = 64 * 1024
const RETRY_MIN_MICROS = 20_000
const RETRY_MAX_MICROS = 1_000_000
const BATCH_LENGTH_MAX = 32

/** A defect to switch on: a test of the alarm, not of the transport. */
export type StopAndWaitDefect = 'trusts-bytes' | 'takes-duplicates' | 'gives-up'

export function stopAndWaitHarness(defect?: StopAndWaitDefect): TransportHarness {
  return {
    name: defect === undefined ? 'stop-and-wait' : `stop-and-wait-${defect}`,
    open: (): HarnessRun => ({
      endpoint: (options) => new StopAndWaitEndpoint(options, defect),
      close: () => {},
    }),
  }
}

class StopAndWaitEndpoint implements HarnessEndpoint, DatagramPort {
  readonly attachment: Attachment
  readonly defect: StopAndWaitDefect | undefined
  now: Micros
  private readonly accept: EndpointOptions['accept']
  private readonly peers = new Map<string, Connection>()
  private readonly inbox: { from: DatagramAddress; bytes: Uint8Array }[] = []
  private readonly unsent: { to: DatagramAddress; bytes: Uint8Array }[] = []
  private outbox: { to: DatagramAddress; bytes: Uint8Array }[] = []

  constructor(options: EndpointOptions, defect: StopAndWaitDefect | undefined) {
    const { host, port, address, accept } = options
    this.accept = accept
    this.defect = defect
    this.now = host.now
    this.attachment = host.attach(this, [
      { port: port ?? 0, ...(address === undefined ? {} : { address }) },
    ])
  }

  connect(address: string, port: number, handlers: ConnectionHandlers): HarnessConnection {
    this.now = this.attachment.host.now
    const to = { socketIndex: 0, address, port }
    const connection = new Connection(this, to, false)
    connection.handlers = handlers
    this.peers.set(`${address} ${port}`, connection)
    this.attachment.wake()
    return connection
  }

  deliver(from: DatagramAddress, bytes: Uint8Array): boolean {
    if (this.inbox.length === BATCH_LENGTH_MAX) return false
    this.inbox.push({ from, bytes: bytes.slice() })
    return true
  }

  ingest(now: Micros, count: number): number {
    this.now = now
    for (const { from, bytes } of this.inbox.splice(0, count)) this.handle(from, bytes)
    return count
  }

  flush(now: Micros): number {
    this.now = now
    for (const connection of this.peers.values()) connection.transmitDue()
    this.outbox = this.unsent.splice(0, BATCH_LENGTH_MAX)
    return this.outbox.length
  }

  collect(take: (to: DatagramAddress, bytes: Uint8Array) => void): void {
    for (const { to, bytes } of this.outbox) take(to, bytes)
  }

  timeout(now: Micros): void {
    this.now = now // What is due is found by `flush`.
    for (const connection of this.peers.values()) connection.transmitDue()
  }

  nextTimeout(): Micros {
    let earliest = NEVER
    for (const connection of this.peers.values()) {
      earliest = Math.min(earliest, connection.retryAt())
    }
    return earliest
  }

  forget(peer: DatagramAddress): void {
    this.peers.delete(`${peer.address} ${peer.port}`)
  }

  send(
    to: DatagramAddress,
    kind: number,
    stream: number,
    number: number,
    body?: { payload: Uint8Array; flags: number },
  ): void {
    const payload = body?.payload ?? new Uint8Array(0)
    const bytes = new Uint8Array(HEADER_BYTES + payload.length)
    const view = new DataView(bytes.buffer)
    bytes[0] = kind
    bytes[1] = stream
    bytes[2] = body?.flags ?? 0
    view.setUint32(4, number)
    bytes.set(payload, HEADER_BYTES)
    view.setUint32(8, checksum(bytes))
    this.unsent.push({ to, bytes })
  }

  private handle(from: DatagramAddress, bytes: Uint8Array): void {
    if (bytes.length < HEADER_BYTES) return
    const view = new DataView(bytes.buffer)
    const sum = view.getUint32(8)
    view.setUint32(8, 0)
    if (this.defect !== 'trusts-bytes' && checksum(bytes) !== sum) return
    const key = `${from.address} ${from.port}`
    let connection = this.peers.get(key)
    if (connection === undefined) {
      if (this.accept === undefined || bytes[0] !== KIND_HELLO) return
      connection = new Connection(this, from, true)
      this.peers.set(key, connection)
      connection.handlers = this.accept(connection)
    }
    connection.handle(bytes, view.getUint32(4))
  }
}

class Connection implements HarnessConnection {
  readonly endpoint: StopAndWaitEndpoint
  readonly peer: DatagramAddress
  handlers: ConnectionHandlers = {}
  retryMicros = 200_000
  private isOpen: boolean
  private helloAt: Micros
  private readonly streams = new Map<number, Stream>()
  private nextStreamId: number

  constructor(endpoint: StopAndWaitEndpoint, peer: DatagramAddress, isAccepted: boolean) {
    this.endpoint = endpoint
    this.peer = peer
    this.isOpen = isAccepted
    this.helloAt = isAccepted ? NEVER : endpoint.now
    this.nextStreamId = isAccepted ? 1 : 0
  }

  openStream(handlers: StreamHandlers): HarnessStream {
    const stream = new Stream(this, this.nextStreamId, handlers)
    this.nextStreamId += 2
    this.streams.set(stream.id, stream)
    return stream
  }

  probeTimeoutMicros(): Micros {
    return this.retryMicros
  }

  close(): void {
    this.endpoint.forget(this.peer)
  }

  handle(bytes: Uint8Array, number: number): void {
    const { endpoint, peer } = this
    const id = bytes[1] as number
    if (bytes[0] === KIND_HELLO) {
      endpoint.send(peer, KIND_WELCOME, 0, 0)
    } else if (bytes[0] === KIND_WELCOME && !this.isOpen) {
      this.isOpen = true
      this.helloAt = NEVER
      this.handlers.opened?.()
    } else if (bytes[0] === KIND_ACK) {
      this.streams.get(id)?.handleAck(number)
    } else if (bytes[0] === KIND_CHUNK && this.isOpen) {
      const isEnd = ((bytes[2] as number) & FLAG_END) !== 0
      this.findStream(id)?.handleChunk(bytes.subarray(HEADER_BYTES), number, isEnd)
    }
  }

  transmitDue(): void {
    const { endpoint } = this
    if (endpoint.now >= this.helloAt) {
      endpoint.send(this.peer, KIND_HELLO, 0, 0)
      this.helloAt = endpoint.now + this.retryMicros
    }
    if (!this.isOpen) return
    for (const stream of this.streams.values()) stream.transmitDue()
  }

  retryAt(): Micros {
    let earliest = this.helloAt
    if (this.isOpen) {
      for (const stream of this.streams.values()) earliest = Math.min(earliest, stream.retryAt)
    }
    return earliest
  }

  private findStream(id: number): Stream | undefined {
    const known = this.streams.get(id)
    if (known !== undefined || this.handlers.stream === undefined) return known
    const stream = new Stream(this, id, undefined)
    this.streams.set(id, stream)
    stream.handlers = this.handlers.stream(stream)
    return stream
  }
}

class Stream implements HarnessStream {
  readonly id: number
  handlers: StreamHandlers | undefined
  /** When the chunk on its way is sent again, `NEVER` without one. */
  retryAt: Micros = NEVER
  private readonly connection: Connection
  private readonly outgoing = new ByteQueue()
  private readonly incoming = new ByteQueue()
  private chunk: Uint8Array | undefined
  private chunkFlags = 0
  private chunkNumber = 0
  private chunkSentAt: Micros = 0
  private chunkSendCount = 0
  private expectedNumber = 0
  private isFinishing = false
  private isEndSent = false
  private isEndReceived = false
  private wantsWritable = false
  private isReadableTold = false

  constructor(connection: Connection, id: number, handlers: StreamHandlers | undefined) {
    this.connection = connection
    this.id = id
    this.handlers = handlers
  }

  get ended(): boolean {
    return this.isEndReceived && this.incoming.size === 0
  }

  write(bytes: Uint8Array): number {
    const room = BUFFER_BYTES - this.outgoing.size
    const accepted = bytes.subarray(0, room)
    this.outgoing.push(accepted)
    this.wantsWritable = accepted.length < bytes.length
    this.connection.endpoint.attachment.wake()
    return accepted.length
  }

  finish(): void {
    this.isFinishing = true
    this.connection.endpoint.attachment.wake()
  }

  readInto(target: Uint8Array): number {
    const count = this.incoming.readInto(target)
    if (count === 0) this.isReadableTold = false
    return count
  }

  handleChunk(payload: Uint8Array, number: number, isEnd: boolean): void {
    const { endpoint, peer } = this.connection
    const isNew = number === this.expectedNumber || endpoint.defect === 'takes-duplicates'
    if (number > this.expectedNumber) return
    if (isNew) {
      // Without an ACK the peer tries again: that is all the flow control there is.
      if (this.incoming.size + payload.length > BUFFER_BYTES) return
      this.incoming.push(payload)
      this.isEndReceived ||= isEnd
      this.expectedNumber += number === this.expectedNumber ? 1 : 0
    }
    endpoint.send(peer, KIND_ACK, this.id, number)
    if (isNew && !this.isReadableTold) {
      this.isReadableTold = true
      this.handlers?.readable()
    }
  }

  handleAck(number: number): void {
    if (this.chunk === undefined || number !== this.chunkNumber) return
    const { connection } = this
    // Karn: the round trip of a chunk that was sent twice is ambiguous.
    if (this.chunkSendCount === 1) {
      const retry = 2 * (connection.endpoint.now - this.chunkSentAt) + RETRY_MIN_MICROS
      connection.retryMicros = Math.min(retry, RETRY_MAX_MICROS)
    }
    this.chunk = undefined
    this.chunkNumber += 1
    this.retryAt = NEVER
    if (this.wantsWritable) {
      this.wantsWritable = false
      this.handlers?.writable()
    }
  }

  transmitDue(): void {
    const { endpoint, peer, retryMicros } = this.connection
    if (this.chunk === undefined) this.cutChunk()
    else if (endpoint.now < this.retryAt) return
    if (this.chunk === undefined) return
    if (endpoint.defect === 'gives-up' && this.chunkSendCount === 8) {
      this.retryAt = NEVER
      return
    }
    const body = { payload: this.chunk, flags: this.chunkFlags }
    endpoint.send(peer, KIND_CHUNK, this.id, this.chunkNumber, body)
    this.chunkSentAt = endpoint.now
    this.chunkSendCount += 1
    this.retryAt = endpoint.now + retryMicros
  }

  private cutChunk(): void {
    const isEnd = this.isFinishing && this.outgoing.size <= CHUNK_BYTES
    if (this.isEndSent || (this.outgoing.size === 0 && !isEnd)) return
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, this.outgoing.size))
    this.outgoing.readInto(chunk)
    this.chunk = chunk
    this.chunkFlags = isEnd ? FLAG_END : 0
    this.chunkSendCount = 0
    this.isEndSent = isEnd
  }
}

class ByteQueue {
  private readonly pieces: Uint8Array[] = []
  size = 0

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.pieces.push(bytes.slice())
    this.size += bytes.length
  }

  readInto(target: Uint8Array): number {
    let count = 0
    while (count < target.length) {
      const piece = this.pieces[0]
      if (piece === undefined) break
      const part = piece.subarray(0, target.length - count)
      target.set(part, count)
      count += part.length
      if (part.length === piece.length) this.pieces.shift()
      else this.pieces[0] = piece.subarray(part.length)
    }
    this.size -= count
    return count
  }
}

/** Fowler–Noll–Vo, 32 bits: enough to notice a few inverted bits. */
function checksum(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < bytes.length; index++) {
    hash = Math.imul(hash ^ (bytes[index] as number), 0x01000193)
  }
  return hash >>> 0
}
