import type { DatagramAddress, DatagramPort, Micros } from '../machine.ts'
import { NEVER } from '../machine.ts'
import type { SimAddress, SimIp } from './address.ts'
import type { Datagram } from './datagram.ts'
import { SimulationError } from './errors.ts'
import { FATE, FATES, type Fate } from './event-log.ts'
import { EVENT, type Fabric, type Station } from './fabric.ts'
import { DatagramRing, type Link, type SimNode } from './link.ts'
import type { Nat } from './nat.ts'
import type { SeededRandom } from './random.ts'

/** First port handed out for port 0, as IANA's dynamic range has it. */
const EPHEMERAL_PORT_FIRST = 49_152
/** Clocks of hosts start anywhere below this: about twelve days. */
const CLOCK_OFFSET_MAX_MICROS = 2 ** 40
/** An engine that is not quiet after so many rounds at one instant never will be. */
const DRAIN_ROUNDS_MAX = 100_000

export interface HostOptions {
  /**
   * How long after the first datagram the program wakes up and takes all that have come: what a
   * busy event loop does. Default 0.
   */
  readonly wakeDelayMicros?: number
  /** Payload bytes that wait for the program per engine; the rest is dropped. Default 1 MiB. */
  readonly receiveBufferBytes?: number
  /** What the host's monotonic clock shows at virtual time 0. Default: drawn from the seed. */
  readonly clockOffsetMicros?: Micros
  /** The NAT that it is reached through. Default: none, its addresses are public. */
  readonly behind?: Nat
}

/** A socket of an engine. */
export interface SocketOptions {
  /** One of the host's addresses. Default: its first. */
  readonly address?: string
  /** Default 0: a free one. */
  readonly port?: number
}

/** A machine in the simulated network: addresses, a clock, chance, and the engines on it. */
export class Host implements Station, SimNode {
  readonly index: number
  readonly name: string
  readonly ips: readonly SimIp[]
  /** For the engines of this host. */
  readonly random: SeededRandom
  /** By `FATE`. `sent` is what its engines sent, `delivered` what they took. */
  readonly counts = new Float64Array(FATES.length)
  readonly wakeDelayMicros: number
  readonly receiveBufferBytes: number
  /** Where others meet it: itself, or the NAT in front of it. */
  readonly edge: SimNode

  private readonly fabric: Fabric
  private readonly uplink: Link
  private readonly direct = new Map<SimNode, Link>()
  /** How many partitions keep us from a host, by host. */
  private readonly cutOff = new Map<SimNode, number>()
  private readonly sockets = new Map<SimAddress, SimSocket>()
  /** Those of all hosts, by number: the world's events name them by it. */
  private readonly attachments: (Attachment | undefined)[]
  private readonly engines = new Set<Attachment>()
  private clockOffset: Micros
  private nextEphemeralPort = EPHEMERAL_PORT_FIRST
  private up = true
  private paused = false

  /** @internal Worlds make hosts. */
  constructor(context: {
    fabric: Fabric
    name: string
    ips: readonly SimIp[]
    random: SeededRandom
    makeUplink: (host: Host) => Link
    attachments: (Attachment | undefined)[]
    options: HostOptions
  }) {
    this.fabric = context.fabric
    this.index = context.fabric.nextStationIndex()
    this.name = context.name
    this.ips = context.ips
    this.random = context.random
    this.attachments = context.attachments
    this.wakeDelayMicros = context.options.wakeDelayMicros ?? 0
    this.receiveBufferBytes = context.options.receiveBufferBytes ?? 1024 * 1024
    this.clockOffset = context.options.clockOffsetMicros ?? this.drawClockOffset()
    this.edge = context.options.behind ?? this
    for (const ip of context.ips) ip.owner = this
    this.uplink = context.makeUplink(this)
  }

  /** The first address, as text. */
  get address(): string {
    return (this.ips[0] as SimIp).address
  }

  /** The host's own monotonic clock: every host started at another time. */
  get now(): Micros {
    return this.fabric.now + this.clockOffset
  }

  get isUp(): boolean {
    return this.up
  }

  get isPaused(): boolean {
    return this.paused
  }

  /** How many datagrams had the given fate at this host. */
  count(fate: Fate): number {
    return this.counts[FATE[fate]] as number
  }

  /**
   * Gives an engine its sockets and drives it from now on. Without `sockets` it gets one, on a free
   * port of the host's first address. Throws ERR_PUNCHLINE_SIM_ADDRESS when a port is taken.
   */
  attach(engine: DatagramPort, sockets: readonly SocketOptions[] = [{}]): Attachment {
    if (!this.up) {
      throw new SimulationError('ERR_PUNCHLINE_SIM_ENGINE', `host ${this.name} is down`)
    }
    const attachment = new Attachment(this, this.fabric, engine, this.attachments.length)
    for (const options of sockets) this.open(attachment, options)
    this.attachments.push(attachment)
    this.engines.add(attachment)
    attachment.wake()
    return attachment
  }

  /** The program stands still: no engine runs. Datagrams wait in the receive buffer. */
  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    for (const attachment of this.engines) attachment.wake()
  }

  /**
   * Power off: engines, sockets and what waited in receive buffers are gone without a word.
   * Datagrams that arrive are dropped.
   */
  crash(): void {
    for (const attachment of [...this.engines]) attachment.detach()
    this.up = false
    this.paused = false
  }

  /** Power on, with a new monotonic clock and no engines: attach new ones. */
  restart(): void {
    this.up = true
    this.clockOffset = this.drawClockOffset()
  }

  /** Moves the host's clock forward, as after a suspend. Deadlines on the way become due. */
  jumpClock(byMicros: Micros): void {
    if (!Number.isSafeInteger(byMicros) || byMicros < 0) {
      throw new RangeError(`a monotonic clock can't move by ${byMicros}`)
    }
    this.clockOffset += byMicros
    for (const attachment of this.engines) attachment.wake()
  }

  /** @internal */
  connectDirect(to: SimNode, link: Link): void {
    this.direct.set(to, link)
  }

  /** @internal Sends a datagram of one of the host's engines. */
  transmit(datagram: Datagram): void {
    this.fabric.note(FATE.sent, this, datagram)
    const to = datagram.to as SimAddress
    if (to.ip.family !== datagram.from?.ip.family) {
      this.fabric.end(FATE.unroutable, this, datagram)
      return
    }
    const owner = to.ip.owner
    if (owner === this) {
      datagram.next = this
      this.fabric.schedule(this.fabric.now, EVENT.arrival, datagram.index)
    } else if (owner === undefined) {
      this.uplink.send(datagram) // The hub knows no such address either, and says so.
    } else if (this.cutOff.size > 0 && (this.cutOff.get(owner) ?? 0) > 0) {
      this.fabric.end(FATE['link-down'], this, datagram)
    } else {
      const link = this.direct.get(owner) ?? this.uplink
      link.send(datagram)
    }
  }

  /** @internal Changes how many partitions keep this host's datagrams from another. */
  cut(to: SimNode, byCount: number): void {
    this.cutOff.set(to, (this.cutOff.get(to) ?? 0) + byCount)
  }

  /** @internal */
  reconnect(): void {
    this.cutOff.clear()
  }

  /** Takes over a datagram that has arrived here: it waits for its engine, or its journey ends. */
  receive(datagram: Datagram): void {
    const socket = this.sockets.get(datagram.to as SimAddress)
    if (socket === undefined) {
      this.fabric.end(this.up ? FATE['port-closed'] : FATE['host-down'], this, datagram)
    } else {
      datagram.socketIndex = socket.index
      socket.attachment.receive(datagram)
    }
  }

  /** @internal */
  forget(attachment: Attachment): void {
    this.engines.delete(attachment)
    this.attachments[attachment.id] = undefined
    for (const socket of attachment.sockets) this.sockets.delete(socket.local)
  }

  /** @internal The socket goes on from another address, as behind a NAT that forgot it. */
  rebind(socket: SimSocket, options: SocketOptions): void {
    const local = this.chooseLocal(options)
    this.sockets.delete(socket.local)
    socket.local = local
    this.sockets.set(local, socket)
  }

  /** @internal Engines think in their host's time, the queue in the world's. */
  toWorldTime(hostTime: Micros): Micros {
    return hostTime - this.clockOffset
  }

  private open(attachment: Attachment, options: SocketOptions): void {
    const socket = new SimSocket(attachment, attachment.sockets.length, this.chooseLocal(options))
    attachment.sockets.push(socket)
    this.sockets.set(socket.local, socket)
  }

  private chooseLocal(options: SocketOptions): SimAddress {
    const ip =
      options.address === undefined
        ? (this.ips[0] as SimIp)
        : this.fabric.addresses.ip(options.address)
    if (ip.owner !== this) {
      throw new SimulationError(
        'ERR_PUNCHLINE_SIM_ADDRESS',
        `${ip.address} is not an address of host ${this.name}`,
      )
    }
    if (options.port) {
      const local = this.fabric.addresses.at(ip, options.port)
      if (this.sockets.has(local)) {
        throw new SimulationError(
          'ERR_PUNCHLINE_SIM_ADDRESS',
          `port ${options.port} of host ${this.name} is taken`,
        )
      }
      return local
    }
    for (let tries = EPHEMERAL_PORT_FIRST; tries <= 65_535; tries++) {
      const port = this.nextEphemeralPort
      this.nextEphemeralPort = port === 65_535 ? EPHEMERAL_PORT_FIRST : port + 1
      const local = this.fabric.addresses.at(ip, port)
      if (!this.sockets.has(local)) return local
    }
    throw new SimulationError('ERR_PUNCHLINE_SIM_ADDRESS', `host ${this.name} has no free port`)
  }

  private drawClockOffset(): Micros {
    return Math.floor(this.random.fraction() * CLOCK_OFFSET_MAX_MICROS)
  }
}

/** One of an engine's sockets. */
export class SimSocket {
  readonly attachment: Attachment
  /** The engine's number for it. */
  readonly index: number
  /** Changes when the socket is rebound. */
  local: SimAddress
  /** What the engine is told about senders, by the sender's index: made once, not per datagram. */
  private readonly senders = new Map<number, DatagramAddress>()

  constructor(attachment: Attachment, index: number, local: SimAddress) {
    this.attachment = attachment
    this.index = index
    this.local = local
  }

  get address(): string {
    return this.local.ip.address
  }

  get port(): number {
    return this.local.port
  }

  /** @internal */
  describe(sender: SimAddress): DatagramAddress {
    let description = this.senders.get(sender.index)
    if (description === undefined) {
      description = { socketIndex: this.index, address: sender.ip.address, port: sender.port }
      this.senders.set(sender.index, description)
    }
    return description
  }
}

/** An engine on a host: the driver makes one change to it, then drains it. */
export class Attachment {
  readonly host: Host
  readonly engine: DatagramPort
  readonly sockets: SimSocket[] = []

  /** @internal */
  readonly id: number

  private readonly fabric: Fabric
  private readonly inbox = new DatagramRing()
  private inboxBytes = 0
  private isAttached = true
  private isWakePlanned = false
  private isDraining = false
  private isChanged = false
  /** When the engine wants to run, in world time. */
  private deadline: Micros = NEVER
  /** The one deadline event in the queue that counts; an engine that moves its deadline back with
   * each packet would fill the queue otherwise. */
  private armedAt: Micros = NEVER
  private armedSequence = 0
  private readonly takeSent: (to: DatagramAddress, bytes: Uint8Array, ecn?: number) => void

  /** @internal Hosts make attachments. */
  constructor(host: Host, fabric: Fabric, engine: DatagramPort, id: number) {
    this.host = host
    this.fabric = fabric
    this.engine = engine
    this.id = id
    this.takeSent = (to, bytes, ecn) => this.send(to, bytes, ecn)
  }

  /**
   * Says that the application changed the engine (wrote, read, opened, closed): it is drained
   * within this virtual instant. Calls from within the engine's own events are fine.
   */
  wake(): void {
    if (this.isDraining) this.isChanged = true
    else this.planWake(0)
  }

  /** The program closes its sockets and leaves the engine alone. What waits to be read is lost. */
  detach(): void {
    if (!this.isAttached) return
    this.isAttached = false
    this.host.forget(this)
    for (let waiting = this.inbox.shift(); waiting !== undefined; waiting = this.inbox.shift()) {
      this.fabric.end(FATE['port-closed'], this.host, waiting)
    }
    this.inboxBytes = 0
  }

  /** Moves a socket to another port or address of its host; the engine is not told. */
  rebind(socketIndex: number, to: SocketOptions = {}): void {
    const socket = this.sockets[socketIndex]
    if (socket === undefined) throw new RangeError(`there is no socket ${socketIndex}`)
    this.host.rebind(socket, to)
  }

  /** @internal */
  receive(datagram: Datagram): void {
    const size = datagram.bytes.length
    if (this.inboxBytes + size > this.host.receiveBufferBytes && this.inbox.length > 0) {
      this.fabric.end(FATE['receive-buffer-full'], this.host, datagram)
      return
    }
    this.inbox.push(datagram)
    this.inboxBytes += size
    this.planWake(this.host.wakeDelayMicros)
  }

  /** @internal */
  handleWake(): void {
    this.isWakePlanned = false
    this.drain()
  }

  /** @internal */
  handleDeadline(sequence: number): void {
    if (sequence !== this.armedSequence) return
    this.armedAt = NEVER
    if (this.deadline > this.fabric.now) this.arm(this.deadline)
    else this.drain()
  }

  private planWake(delay: Micros): void {
    if (this.isWakePlanned || !this.isAttached) return
    this.isWakePlanned = true
    this.fabric.schedule(this.fabric.now + delay, EVENT.wake, this.id)
  }

  private drain(): void {
    const { host, engine } = this
    if (!this.isAttached || host.isPaused) return
    this.isDraining = true
    try {
      for (let round = 0; this.isAttached; round++) {
        if (round > DRAIN_ROUNDS_MAX) this.blame('is never quiet')
        this.isChanged = false
        const now = host.now
        if (this.inbox.length > 0) this.deliver(now)
        if (this.isAttached && engine.nextTimeout() <= now) engine.timeout(now)
        if (this.isAttached) this.flush(now)
        if (this.isAttached && this.isQuiet(now)) break
      }
    } finally {
      this.isDraining = false
    }
  }

  /** Arms the engine's deadline if nothing is left to do at this instant. */
  private isQuiet(now: Micros): boolean {
    const deadline = this.engine.nextTimeout()
    if (Number.isNaN(deadline)) this.blame('has a deadline that is no number')
    if (this.isChanged || deadline <= now) return false
    this.arm(deadline === NEVER ? NEVER : Math.ceil(this.host.toWorldTime(deadline)))
    return true
  }

  private deliver(now: Micros): void {
    const { engine, inbox, host, fabric } = this
    let described = 0
    let stalls = 0
    while (this.isAttached && (inbox.length > 0 || described > 0)) {
      for (let next = inbox.peek(); next !== undefined; next = inbox.peek()) {
        const socket = this.sockets[next.socketIndex] as SimSocket
        const from = socket.describe(next.from as SimAddress)
        if (!engine.deliver(from, next.bytes, next.ecn)) break
        inbox.shift()
        this.inboxBytes -= next.bytes.length
        described += 1
        fabric.end(FATE.delivered, host, next)
      }
      const taken = described === 0 ? 0 : engine.ingest(now, described)
      if (taken < 0 || taken > described) this.blame(`took ${taken} of ${described} datagrams`)
      described -= taken
      stalls = taken === 0 ? stalls + 1 : 0
      if (stalls > 0) {
        // Answering may be what makes room; if it does not, nothing will.
        if (stalls > 2) this.blame('takes no datagrams')
        if (this.isAttached) this.flush(now)
      }
    }
  }

  private flush(now: Micros): void {
    const engine = this.engine
    for (let round = 0; this.isAttached; round++) {
      if (round > DRAIN_ROUNDS_MAX) this.blame('never stops sending')
      if (engine.flush(now) === 0) return
      engine.collect(this.takeSent)
    }
  }

  private send(to: DatagramAddress, bytes: Uint8Array, ecn = 0): void {
    const socket = this.sockets[to.socketIndex]
    if (socket === undefined) this.blame(`sends from socket ${to.socketIndex}, which it lacks`)
    const datagram = this.fabric.pool.take(bytes)
    datagram.ecn = ecn
    datagram.from = socket.local
    datagram.to = this.fabric.addresses.address(to.address, to.port)
    this.host.transmit(datagram)
  }

  private arm(at: Micros): void {
    this.deadline = at
    if (at >= this.armedAt) return
    this.armedAt = at
    this.armedSequence = this.fabric.schedule(
      Math.max(at, this.fabric.now),
      EVENT.deadline,
      this.id,
    )
  }

  private blame(what: string): never {
    throw new SimulationError(
      'ERR_PUNCHLINE_SIM_ENGINE',
      `the engine on host ${this.host.name} ${what} (at ${this.fabric.now} µs)`,
    )
  }
}
