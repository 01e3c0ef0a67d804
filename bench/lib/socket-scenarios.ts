/**
 * The scenarios over anything that gives stream sockets: written once for `net`, `tls` and
 * `punchline`, so that they do the same work.
 */
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
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
import { makePattern, PATTERN_PERIOD_BYTES, PatternCheck } from './pattern.ts'

/** What a party has to bring. */
export interface SocketLibrary {
  /** Listens on a free port of an address. */
  listen(
    host: string,
    onSocket: (socket: Duplex) => void,
  ): Promise<{ address: PeerAddress; close(): void }>
  /** Answers a connected socket. */
  connect(address: PeerAddress): Promise<Duplex>
  details?(socket: Duplex): Readonly<Record<string, string>>
  /** What it counts about a socket by now. */
  figures?(socket: Duplex): Readonly<Record<string, number>>
}

/** Makes a party of a library of sockets. */
export function socketParty(load: () => Promise<SocketLibrary>): Party {
  return {
    load: async () => {
      const library = await load()
      return {
        stream: streamScenario(library),
        pingpong: pingpongScenario(library),
        connections: connectionsScenario(library),
      }
    },
  }
}

/** A sender that never has to wait still lets the event loop turn. */
const WRITES_PER_TURN = 16

/** Connections opened at a time: fewer than a listen backlog has room for. */
const CONNECTS_IN_PARALLEL = 100

function streamScenario(library: SocketLibrary): Scenario {
  return {
    serve: async ({ host }, fail) => {
      const check = new PatternCheck()
      const ended = deferred()
      const server = await library.listen(host, (socket) => {
        socket.on('error', (error) => fail(error.message))
        socket.on('data', (chunk: Buffer) => check.take(chunk))
        socket.on('end', () => {
          socket.end()
          ended.resolve()
        })
      })
      return {
        address: server.address,
        done: () => check.bytesReceived,
        figures: () => ({ checks: check.checks, mismatches: check.mismatches }),
        finish: async () => {
          await ended.promise
          server.close()
          const { bytesReceived, checks, mismatches } = check
          return { bytesSent: 0, bytesReceived, checks, mismatches }
        },
      }
    },
    call: async (address, workload, fail) => {
      const socket = await library.connect(address)
      socket.on('error', (error) => fail(error.message))
      return new StreamSender(socket, workload, library)
    },
  }
}

class StreamSender implements ClientRole {
  private readonly socket: Duplex
  private readonly writeSizeBytes: number
  private readonly pattern: Buffer
  private readonly library: SocketLibrary
  private readonly ownDetails: Readonly<Record<string, string>>
  private bytesSent = 0
  private isStopping = false

  constructor(socket: Duplex, { writeSizeBytes }: Workload, library: SocketLibrary) {
    this.socket = socket
    this.library = library
    this.writeSizeBytes = writeSizeBytes
    this.pattern = makePattern(writeSizeBytes)
    this.ownDetails = library.details?.(socket) ?? {}
  }

  begin(): void {
    this.socket.on('drain', () => this.pump())
    this.pump()
  }

  done(): number {
    return this.bytesSent
  }

  details(): Readonly<Record<string, string>> {
    return this.ownDetails
  }

  figures(): Readonly<Record<string, number>> {
    return this.library.figures?.(this.socket) ?? {}
  }

  async finish(): Promise<Tally> {
    this.isStopping = true
    this.socket.end()
    // Only now: until here nothing comes back, and a socket nobody reads keeps its end for itself.
    this.socket.resume()
    await once(this.socket, 'close')
    return { bytesSent: this.bytesSent, bytesReceived: 0, checks: 0, mismatches: 0 }
  }

  private pump(): void {
    for (let writes = 0; writes < WRITES_PER_TURN; writes += 1) {
      if (this.isStopping) return
      const phase = this.bytesSent % PATTERN_PERIOD_BYTES
      this.bytesSent += this.writeSizeBytes
      if (!this.socket.write(this.pattern.subarray(phase, phase + this.writeSizeBytes))) return
    }
    setImmediate(() => this.pump())
  }
}

/** A server that sends everything back; for `pingpong` and `connections`. */
async function serveEcho(library: SocketLibrary, host: string, fail: Fail): Promise<ServerRole> {
  let bytes = 0
  let openCount = 0
  const allClosed = deferred()
  const server = await library.listen(host, (socket) => {
    openCount += 1
    socket.on('error', (error) => fail(error.message))
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (socket.write(chunk)) return
      socket.pause()
      socket.once('drain', () => socket.resume())
    })
    socket.on('end', () => socket.end())
    socket.on('close', () => {
      openCount -= 1
      if (openCount === 0) allClosed.resolve()
    })
  })
  return {
    address: server.address,
    done: () => bytes,
    finish: async () => {
      if (openCount > 0) await allClosed.promise
      server.close()
      return { bytesSent: bytes, bytesReceived: bytes, checks: 0, mismatches: 0 }
    },
  }
}

function pingpongScenario(library: SocketLibrary): Scenario {
  return {
    serve: ({ host }, fail) => serveEcho(library, host, fail),
    call: async (address, workload, fail) => {
      const oneByOne = { ...workload, connectionCount: 1, messagesInFlight: 1 }
      return EchoClient.open(library, address, oneByOne, fail)
    },
  }
}

function connectionsScenario(library: SocketLibrary): Scenario {
  return {
    serve: ({ host }, fail) => serveEcho(library, host, fail),
    call: (address, workload, fail) => EchoClient.open(library, address, workload, fail),
  }
}

/** Keeps messages under way on every connection, and checks each one that comes back. */
class EchoClient implements ClientRole {
  static async open(
    library: SocketLibrary,
    address: PeerAddress,
    workload: Workload,
    fail: Fail,
  ): Promise<EchoClient> {
    const client = new EchoClient(workload)
    while (client.connections.length < workload.connectionCount) {
      const missing = workload.connectionCount - client.connections.length
      const batch = Math.min(missing, CONNECTS_IN_PARALLEL)
      const sockets = await Promise.all(
        Array.from({ length: batch }, () => library.connect(address)),
      )
      for (const socket of sockets) {
        socket.on('error', (error) => fail(error.message))
        client.add(socket)
      }
    }
    const [first] = client.connections
    if (first !== undefined) client.ownDetails = library.details?.(first.socket) ?? {}
    return client
  }

  private readonly workload: Workload
  private readonly connections: EchoConnection[] = []
  private readonly latencies = new Latencies()
  private ownDetails: Readonly<Record<string, string>> = {}
  private messagesSent = 0
  private messagesReceived = 0
  private mismatches = 0
  private isStopping = false
  private readonly drained = deferred()

  private constructor(workload: Workload) {
    this.workload = workload
  }

  begin(): void {
    for (const connection of this.connections) {
      for (let i = 0; i < this.workload.messagesInFlight; i += 1) this.send(connection)
    }
  }

  done(): number {
    return this.messagesReceived
  }

  takeLatencies(): Float64Array {
    return this.latencies.take()
  }

  details(): Readonly<Record<string, string>> {
    return this.ownDetails
  }

  async finish(): Promise<Tally> {
    this.isStopping = true
    if (this.messagesReceived < this.messagesSent) await this.drained.promise
    await Promise.all(
      this.connections.map(({ socket }) => {
        const closed = once(socket, 'close')
        socket.end()
        return closed
      }),
    )
    return {
      bytesSent: this.messagesSent * this.workload.messageSizeBytes,
      bytesReceived: this.messagesReceived * this.workload.messageSizeBytes,
      checks: this.messagesReceived,
      mismatches: this.mismatches,
    }
  }

  private add(socket: Duplex): void {
    const index = this.connections.length
    const connection = new EchoConnection(socket, index, this.workload)
    this.connections.push(connection)
    socket.on('data', (chunk: Buffer) => {
      connection.take(chunk, (isRight) => this.received(connection, isRight))
    })
  }

  private send(connection: EchoConnection): void {
    this.messagesSent += 1
    connection.send()
  }

  private received(connection: EchoConnection, isRight: boolean): void {
    this.messagesReceived += 1
    if (!isRight) this.mismatches += 1
    this.latencies.record(connection.lastRoundTripMicros)
    if (!this.isStopping) this.send(connection)
    else if (this.messagesReceived === this.messagesSent) this.drained.resolve()
  }
}

/** One connection's messages: number of the connection, sequence number, then filler. */
class EchoConnection {
  readonly socket: Duplex
  lastRoundTripMicros = 0
  private readonly index: number
  private readonly sizeBytes: number
  private readonly sentAtMs: number[] = []
  private readonly expected: Buffer
  private readonly partial: Buffer
  private partialBytes = 0
  private nextToSend = 0
  private nextToReceive = 0

  constructor(socket: Duplex, index: number, { messageSizeBytes }: Workload) {
    this.socket = socket
    this.index = index
    this.sizeBytes = messageSizeBytes
    this.expected = this.makeMessage()
    this.partial = Buffer.alloc(messageSizeBytes)
  }

  send(): void {
    const message = this.makeMessage()
    message.writeUInt32LE(this.nextToSend, 4)
    this.nextToSend = (this.nextToSend + 1) >>> 0
    this.sentAtMs.push(performance.now())
    this.socket.write(message)
  }

  /** Calls back for every message that `chunk` completes. */
  take(chunk: Buffer, onMessage: (isRight: boolean) => void): void {
    for (let at = 0; at < chunk.length; ) {
      const size = Math.min(this.sizeBytes - this.partialBytes, chunk.length - at)
      if (size === this.sizeBytes) {
        onMessage(this.complete(chunk.subarray(at, at + size)))
      } else {
        chunk.copy(this.partial, this.partialBytes, at, at + size)
        this.partialBytes += size
        if (this.partialBytes === this.sizeBytes) {
          this.partialBytes = 0
          onMessage(this.complete(this.partial))
        }
      }
      at += size
    }
  }

  private complete(message: Buffer): boolean {
    const sentAtMs = this.sentAtMs.shift() ?? Number.NaN
    this.lastRoundTripMicros = (performance.now() - sentAtMs) * 1_000
    this.expected.writeUInt32LE(this.nextToReceive, 4)
    this.nextToReceive = (this.nextToReceive + 1) >>> 0
    return message.equals(this.expected)
  }

  private makeMessage(): Buffer {
    const message = Buffer.alloc(this.sizeBytes, this.index & 0xff)
    message.writeUInt32LE(this.index, 0)
    return message
  }
}
