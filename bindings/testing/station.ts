/**
 * A core with two endpoints in the middle of their lives, that takes one datagram after the other
 * and can be put back to how it was: what parsers of the core are fuzzed with. It runs as plain
 * TypeScript with assertions, where every access outside the layout throws, and so does every one
 * behind the end of the datagram.
 */
import {
  COOKIE_SIZE,
  CRC_SIZE,
  FIRST_LONG,
  FIRST_OURS,
  INITIAL_SIZE,
  LONG_COOKIE_SIZE,
  LONG_LENGTH,
  LONG_SIZE,
  LONG_SOURCE_CID,
  LONG_VERSION,
  PACKET_CID,
  SHORT_NUMBER,
  SHORT_SIZE,
  TYPE_RETRY,
} from '../../assembly/wire.ts'
import { crc32cReference } from '../../ts/dev/crc32c-reference.ts'
import {
  CIPHER_CHACHA,
  CIPHER_NONE,
  Core,
  type CoreExports,
  DESC_ADDRESS,
  DESC_LENGTH,
  DESC_POINTER,
  DESC_SEGMENT,
  DESC_SOCKET,
  GAUGE_MEMORY_MAX,
  GAUGE_MEMORY_USED,
  MEMORY_BYTES_MIN,
  PAGE_TABLE,
  PARAMS,
  RX_ARENA,
  RX_ARENA_SIZE,
  RX_DESC,
  VERSION,
} from '../core.ts'
import { addressWords, type Peer, pattern, Rig, type RigConnection } from './rig.ts'

/** How the core is made, and how its work is counted: a copy of the source may be used as well. */
export interface PlainCore {
  plainCore(memory: ArrayBuffer, options: { hasAssertions: boolean }): Promise<CoreExports>
  plainAccesses(): number
  guardPlainMemory(from: number, to: number): void
}

const OPTIONS = {
  memoryBytes: 256 * 1024,
  connectionsMax: 40,
  halfOpenMax: 12,
  streamsMax: 6,
  streamWindow: 8_192,
  connectionWindow: 16_384,
  keepAlive: 0,
}
/**
 * Datagrams until everything is as it was before: what they leave behind must not add up, but for
 * once in a while, when it shall.
 */
const CYCLES = [24, 24, 24, 24, 24, 24, 24, 400]
/** Half-open connections on each side: both take themselves to be under load. */
const HALF_OPEN = 3
/** The client can have no further connection. */
const CONNECTIONS_CLIENT = 2 * HALF_OPEN + 5
/** First packets that each side may be given again with a cookie. */
const FIRST_PACKETS = 24
/** Memory accesses that one datagram may cost: some milliseconds of the compiled core at most. */
const WORK_MAX = 400_000

/** Bits of `Station.feed`: to the client; the checksum is made to fit; so is the packet number. */
export const FEED_CLIENT = 1
export const FEED_SEAL = 2
export const FEED_NUMBER = 4
/** Strangers are refused; two seconds have passed. */
export const FEED_DEAF = 8
export const FEED_LATER = 16
/** It comes from an IPv6 address; it comes many times, in one descriptor. */
export const FEED_IPV6 = 32
export const FEED_MANY = 64
/** More than there is room for answers, and more than the server answers when it has much to do. */
export const MANY = 520

/** What a datagram is addressed to. */
interface Address {
  readonly low: number
  readonly high: number
}

export class Station {
  readonly core: Core
  readonly server: Peer
  readonly client: Peer
  /** Datagrams of the network before, each kind at least once. */
  readonly recorded: Uint8Array[] = []
  /** First packets with cookies that the server has made. */
  readonly proven: Uint8Array[] = []
  /** The dearest datagram so far, in memory accesses. */
  workMax = 0
  private readonly plain: PlainCore
  private readonly rig: Rig
  private readonly ids: Address[] = []
  /** The connection that is established on both sides. */
  private readonly connection: RigConnection
  private readonly accepted: RigConnection
  private nextNumbers = [0, 0]
  private startNumbers = [0, 0]
  private snapshot: Uint8Array
  private readonly snapshotEnd: number
  private readonly startNow: number
  private fed = 0
  private cycle = 0

  static async create(plain: PlainCore): Promise<Station> {
    const memory = new ArrayBuffer(MEMORY_BYTES_MIN)
    const raw = await plain.plainCore(memory, { hasAssertions: true })
    return new Station(new Core(raw, memory, 'typescript-debug'), plain)
  }

  private constructor(core: Core, plain: PlainCore) {
    this.core = core
    this.plain = plain
    this.rig = new Rig(core)
    const { rig } = this
    this.server = rig.peer(OPTIONS)
    this.client = rig.peer({ ...OPTIONS, connectionsMax: CONNECTIONS_CLIENT })
    rig.network = ({ bytes }) => {
      if (this.recorded.length < 60) this.recorded.push(bytes)
      return [5_000]
    }
    this.connection = this.converse()
    this.accepted = this.server.lastConnection()
    this.leaveThingsOpen()
    for (const connection of [this.connection, this.accepted]) this.noteIds(connection.handle)
    this.startNow = rig.now
    // Nothing above is in use: the station is small, and free memory is not looked at.
    this.snapshotEnd = this.lastByteUsed() + 1
    this.snapshot = this.image().slice()
    this.startNumbers = [1_000, 1_000]
    this.nextNumbers = [...this.startNumbers]
  }

  /** A conversation with streams in every state: read, unread, half closed, reset, refused. */
  private converse(): RigConnection {
    const { rig, client, server } = this
    const connection = client.connect(server)
    rig.runFor(50_000)
    const streams = [0, 1, 2, 3].map(() => client.open(connection))
    for (const [index, stream] of streams.entries()) {
      client.write(stream, pattern(index, 0, 3_000))
    }
    rig.runFor(100_000)
    const [, second, third, fourth] = streams
    if (second !== undefined) client.finish(second)
    if (third !== undefined) client.abort(third)
    for (const stream of server.streams.values()) {
      if (stream.tag % 2 === 0) server.read(stream)
      server.write(stream, pattern(9, 0, 2_000))
    }
    server.policy = 'refuse'
    client.open(connection)
    rig.runFor(100_000)
    server.policy = 'accept'
    if (fourth !== undefined) client.write(fourth, pattern(1, 0, 6_000))
    rig.runFor(20_000)
    return connection
  }

  /** Connections that wait for an answer, that are half open, that are closing, and one with keys. */
  private leaveThingsOpen(): void {
    const { rig, client, server } = this
    for (const peer of [client, server]) Object.assign(peer.options, { cipher: CIPHER_CHACHA })
    const secured = client.connect(server)
    rig.runFor(50_000)
    for (const peer of [client, server]) Object.assign(peer.options, { cipher: CIPHER_NONE })
    const closing = client.connect(server)
    rig.runFor(50_000)
    const { network } = rig
    const passes = (isPassing: (first: number) => boolean) => {
      rig.network = (datagram) => {
        network(datagram)
        return isPassing((datagram.bytes[0] ?? 0) & 0x3f) ? [1_000] : []
      }
    }
    this.noteIds(closing.handle)
    client.close(closing)
    // Of one handshake everything gets through, but nothing that comes after it.
    passes((first) => (first & FIRST_LONG) !== 0)
    const early = client.connect(server)
    rig.runFor(20_000)
    // Of the others first packets, and one of them waits for a third message.
    passes((first) => first === FIRST_LONG)
    const host = server as unknown as { protect(): void }
    const { protect } = host
    host.protect = () => {}
    const third = client.connect(server)
    rig.runFor(5_000)
    host.protect = protect
    const waiting = Array.from({ length: HALF_OPEN }, () => client.connect(server))
    for (let index = 0; index < HALF_OPEN; index += 1) server.connect(client)
    // Data for what is in flight, so that acknowledgements have something to name.
    for (const stream of client.streams.values()) client.write(stream, pattern(2, 0, 2_500))
    for (const stream of server.streams.values()) server.write(stream, pattern(3, 0, 2_500))
    rig.runFor(20_000)
    rig.network = () => []
    for (const each of [secured, early, third, ...waiting]) this.noteIds(each.handle)
    for (const each of server.connections.values()) this.noteIds(each.handle)
    for (let index = 0; index < FIRST_PACKETS; index += 1) this.askForCookie(index)
  }

  /** A first packet that one of them answers with a cookie, and what comes of it. */
  private askForCookie(index: number): void {
    const { rig } = this
    const [to, from] = index % 2 === 0 ? [this.server, this.client] : [this.client, this.server]
    const packet = new Uint8Array(INITIAL_SIZE)
    const view = new DataView(packet.buffer)
    packet[0] = FIRST_OURS | FIRST_LONG
    view.setInt32(LONG_VERSION, VERSION, true)
    packet.fill(0x70 + index, PACKET_CID, PACKET_CID + 8)
    packet.fill(0x60 + index, LONG_SOURCE_CID, LONG_SOURCE_CID + 8)
    view.setUint16(LONG_LENGTH, 3, true)
    packet.set([1, 2, 3], LONG_SIZE)
    seal(packet)
    to.ingest([{ from: from.port, to: to.port, bytes: packet }])
    for (const { bytes } of to.collect()) {
      if ((bytes[0] ?? 0) !== (FIRST_OURS | FIRST_LONG | TYPE_RETRY)) continue
      const proven = packet.slice()
      proven[LONG_COOKIE_SIZE] = COOKIE_SIZE
      proven.set(bytes.subarray(LONG_SIZE, LONG_SIZE + COOKIE_SIZE), LONG_SIZE)
      proven.set([1, 2, 3], LONG_SIZE + COOKIE_SIZE)
      seal(proven)
      this.proven.push(proven)
    }
    rig.now += 100
  }

  private noteIds(handle: number): void {
    const { core } = this
    core.exports.connectionIds(handle)
    const view = new DataView(core.scratch(24).buffer)
    for (const at of [0, 8, 16]) {
      const id = { low: view.getInt32(at, true), high: view.getInt32(at + 4, true) }
      if (!this.ids.some(({ low }) => low === id.low)) this.ids.push(id)
    }
  }

  /** Connection ids that mean something here. */
  knownIds(): Uint8Array[] {
    return this.ids.map(({ low, high }) => new Uint8Array(Int32Array.of(low, high).buffer))
  }

  private image(): Uint8Array {
    const image = new Uint8Array(this.snapshotEnd - PAGE_TABLE + (RX_DESC - PARAMS))
    image.set(this.core.u8.subarray(PARAMS, RX_DESC))
    image.set(this.core.u8.subarray(PAGE_TABLE, this.snapshotEnd), RX_DESC - PARAMS)
    return image
  }

  private lastByteUsed(): number {
    const { u8 } = this.core
    let end = u8.length - 1
    while (end > PAGE_TABLE && u8[end] === u8[u8.length - 1]) end -= 1
    return end
  }

  /** Everything is as it was. */
  reset(): void {
    const { core, snapshot } = this
    core.u8.set(snapshot.subarray(0, RX_DESC - PARAMS), PARAMS)
    core.u8.set(snapshot.subarray(RX_DESC - PARAMS), PAGE_TABLE)
    this.rig.now = this.startNow
    this.nextNumbers = [...this.startNumbers]
    this.fed = 0
    this.cycle = (this.cycle + 1) % CYCLES.length
  }

  /** Frames in a packet of the peer's with a fitting checksum and a number of its own. */
  feedFrames(frames: Uint8Array, toServer: boolean): void {
    const side = toServer ? 0 : 1
    const connection = toServer ? this.accepted : this.connection
    const packet = new Uint8Array(SHORT_SIZE + frames.length + CRC_SIZE)
    this.core.exports.connectionIds(connection.handle)
    packet.set(this.core.scratch(8), PACKET_CID)
    packet[0] = 0xc0
    packet.set(frames, SHORT_SIZE)
    this.finish(packet, side)
    this.take(packet, toServer)
  }

  /** How many ids `feed` can choose from. */
  get idCount(): number {
    return this.ids.length
  }

  /**
   * A datagram. `flags`: FEED_…; `destination` and `source`: which known id stands there, 0: what
   * the datagram says.
   */
  feed(
    datagram: Uint8Array,
    { flags, destination, source }: { flags: number; destination: number; source: number },
  ): void {
    const { core, rig } = this
    const packet = datagram.slice()
    const toServer = (flags & FEED_CLIENT) === 0
    const peer = toServer ? this.server : this.client
    this.patchId(packet, PACKET_CID, destination)
    this.patchId(packet, LONG_SOURCE_CID, source)
    const isShort = ((packet[0] ?? 0) & FIRST_LONG) === 0
    if ((flags & FEED_NUMBER) !== 0 && isShort && packet.length >= SHORT_SIZE) {
      this.number(packet, toServer ? 0 : 1)
    }
    if ((flags & FEED_SEAL) !== 0) seal(packet)
    if ((flags & FEED_LATER) !== 0) rig.now += 2e6
    core.exports.endpointListen(peer.endpoint, (flags & FEED_DEAF) === 0 ? 1 : 0)
    const isIPv6 = (flags & FEED_IPV6) !== 0
    this.take(packet, toServer, { copies: (flags & FEED_MANY) === 0 ? 1 : MANY, isIPv6 })
  }

  private patchId(packet: Uint8Array, at: number, choice: number): void {
    const id = this.ids[choice - 1]
    if (id === undefined || packet.length < at + 8) return
    const view = new DataView(packet.buffer)
    view.setInt32(at, id.low, true)
    view.setInt32(at + 4, id.high, true)
  }

  private number(packet: Uint8Array, side: number): void {
    const number = this.nextNumbers[side] as number
    this.nextNumbers[side] = number + 1
    new DataView(packet.buffer).setUint32(SHORT_NUMBER, number, true)
  }

  private finish(packet: Uint8Array, side: number): void {
    this.number(packet, side)
    seal(packet)
  }

  private take(
    packet: Uint8Array,
    toServer: boolean,
    { copies, isIPv6 } = { copies: 1, isIPv6: false },
  ): void {
    const { core, plain, rig } = this
    const peer = toServer ? this.server : this.client
    const other = toServer ? this.client : this.server
    const size = packet.length * copies
    if (size > RX_ARENA_SIZE) return
    for (let at = 0; at < size; at += packet.length) core.u8.set(packet, RX_ARENA + at)
    const desc = RX_DESC >> 2
    core.i32[desc + (DESC_POINTER >> 2)] = RX_ARENA
    core.i32[desc + (DESC_LENGTH >> 2)] = size
    core.i32[desc + (DESC_SEGMENT >> 2)] = copies === 1 ? 0 : packet.length
    core.i32[desc + (DESC_SOCKET >> 2)] = 0
    const address = addressWords(other.port)
    if (isIPv6) address[0] = 0xb80d0120 | 0
    core.i32.set(address, desc + (DESC_ADDRESS >> 2))
    const before = plain.plainAccesses()
    plain.guardPlainMemory(RX_ARENA + size, RX_ARENA + RX_ARENA_SIZE)
    try {
      core.exports.ingest(peer.endpoint, rig.now, 1)
    } finally {
      plain.guardPlainMemory(0, 0)
    }
    const work = plain.plainAccesses() - before
    if (work > WORK_MAX * copies) throw new Error(`the datagram cost ${work} memory accesses`)
    this.workMax = Math.max(this.workMax, work / copies)
    this.live(peer)
  }

  /** What hosts do next; and now and then the world begins anew. */
  private live(peer: Peer): void {
    const { core, rig } = this
    const length = CYCLES[this.cycle] as number
    this.fed += 1
    rig.now += 700
    if (this.fed % 4 === 0) {
      core.exports.events(peer.endpoint)
      core.exports.timeout(peer.endpoint, rig.now)
      core.exports.flush(peer.endpoint, rig.now)
      core.exports.endpointGauges(peer.endpoint)
      const [used, most] = [core.param(GAUGE_MEMORY_USED), core.param(GAUGE_MEMORY_MAX)]
      if (used > most) throw new Error(`${used} bytes used of ${most}`)
    }
    if (this.fed >= length) this.reset()
  }
}

/** Makes the last four bytes the checksum of all before them. */
function seal(packet: Uint8Array): void {
  const end = packet.length - CRC_SIZE
  if (end < 0) return
  const view = new DataView(packet.buffer, packet.byteOffset)
  view.setUint32(end, crc32cReference(packet.subarray(0, end)), true)
}
