import type { Micros } from '../machine.ts'
import type { SimIp } from './address.ts'
import type { Datagram } from './datagram.ts'
import { SimulationError } from './errors.ts'
import { EventHash, FATE, FATES, type Fate } from './event-log.ts'
import { EVENT, EVENT_KINDS, Fabric, formatTime, type Station } from './fabric.ts'
import { type Attachment, Host, type HostOptions } from './host.ts'
import { Link, type LinkParams, type SimNode } from './link.ts'
import { Nat, type NatOptions } from './nat.ts'
import { SeededRandom } from './random.ts'

export interface WorldOptions {
  /** The links between each host and the hub in the middle. Default: 1,000 µs, perfect. */
  readonly access?: Partial<LinkParams>
  /** Events in the whole life of the world; more is an error. Default 1e9. */
  readonly eventsMax?: number
  /** Datagrams on their way at one time; more is an error. Default 1e6. */
  readonly datagramsInFlightMax?: number
  /** Gets a line for everything that happens. Costs a string per datagram. */
  readonly log?: (line: string) => void
  /** Inverts one draw of the generator with that label: proves that the hash notices. */
  readonly flip?: { readonly label: string; readonly draw: number }
}

/** Why `run` came back. */
export type RunEnd =
  /** The virtual time was reached. */
  | 'time'
  /** The condition holds. */
  | 'condition'
  /** Nothing is left that could happen. */
  | 'idle'

export interface RunLimit {
  /** Virtual time at which a wait for a condition ends. Default: none. */
  readonly until?: Micros
}

/** Both directions between two hosts. */
export class LinkPair {
  /** From the first host of `World.link` to the second. */
  readonly forward: Link
  readonly backward: Link

  constructor(forward: Link, backward: Link) {
    this.forward = forward
    this.backward = backward
  }

  set(params: Partial<LinkParams>): void {
    this.forward.set(params)
    this.backward.set(params)
  }

  setAt(at: Micros, params: Partial<LinkParams>): void {
    this.forward.setAt(at, params)
    this.backward.setAt(at, params)
  }

  blackout(from: Micros, to: Micros): void {
    this.forward.blackout(from, to)
    this.backward.blackout(from, to)
  }

  heal(): void {
    this.forward.heal()
    this.backward.heal()
  }
}

/**
 * A network in one process, on a virtual clock, out of one seed: hosts with engines on them, links
 * between. It is the driver of `ts/io` in another world: it makes one change to an engine, drains
 * it, and runs it again when a datagram arrives or its deadline comes. An idle hour costs nothing.
 *
 * Hosts reach each other over a hub in the middle (each has a link up and a link down), or over
 * direct links where `link` made one. Two worlds with the same seed, the same hosts and links and
 * the same calls do the same things: `hash` says whether they did.
 */
export class World {
  readonly seed: number
  /** Chance for the scenario itself. */
  readonly random: SeededRandom

  private readonly fabric: Fabric
  private readonly options: WorldOptions
  private readonly root: SeededRandom
  private readonly generators: SeededRandom[] = []
  private readonly labels = new Set<string>()
  private readonly hub: Hub
  private readonly hostList: Host[] = []
  private readonly linkList: Link[] = []
  private readonly natList: Nat[] = []
  private readonly accessLinks = new Map<SimNode, LinkPair>()
  private readonly attachments: (Attachment | undefined)[] = []
  private readonly calls: (Call | undefined)[] = []
  private readonly freeCalls: number[] = []
  private readonly eventsMax: number
  private eventCount = 0
  private isRunning = false
  private healCount = 0

  /** `seed`: a safe integer, 0 or more. */
  constructor(seed: number, options: WorldOptions = {}) {
    this.seed = seed
    this.options = options
    this.root = new SeededRandom(seed)
    this.eventsMax = options.eventsMax ?? 1e9
    this.fabric = new Fabric(options.datagramsInFlightMax ?? 1e6, options.log)
    this.hub = new Hub(this.fabric)
    this.random = this.generator('world')
  }

  /** Virtual time since the world began. */
  get now(): Micros {
    return this.fabric.now
  }

  /** Events that happened so far. */
  get events(): number {
    return this.eventCount
  }

  /** Datagrams on links, in queues and in receive buffers. */
  get datagramsInFlight(): number {
    return this.fabric.pool.inUse
  }

  get hosts(): readonly Host[] {
    return this.hostList
  }

  get links(): readonly Link[] {
    return this.linkList
  }

  /**
   * Makes a generator that depends on the seed and the label only. Each label is used once; what it
   * draws is part of `hash`.
   */
  generator(label: string): SeededRandom {
    if (this.labels.has(label)) throw new RangeError(`a second generator is called "${label}"`)
    this.labels.add(label)
    const random = this.root.fork(label)
    const flip = this.options.flip
    if (flip?.label === label) random.flipDraw(flip.draw)
    this.generators.push(random)
    return random
  }

  /**
   * Adds a host with one or more IP addresses. Its name is unique; so are its addresses
   * (ERR_PUNCHLINE_SIM_ADDRESS).
   */
  host(name: string, address: string | readonly string[], options: HostOptions = {}): Host {
    const host = new Host({
      fabric: this.fabric,
      name,
      ips: this.takeAddresses(name, address),
      random: this.generator(`host ${name}`),
      attachments: this.attachments,
      options,
      makeUplink: (node) => this.makeAccess(name, node, options.behind),
    })
    this.hostList.push(host)
    return host
  }

  /**
   * Adds a NAT with one or more outside addresses; hosts are put behind it by `HostOptions.behind`.
   * Its name is unique; so are its addresses (ERR_PUNCHLINE_SIM_ADDRESS).
   */
  nat(name: string, address: string | readonly string[], options: NatOptions = {}): Nat {
    const nat = new Nat({
      fabric: this.fabric,
      name,
      ips: this.takeAddresses(name, address),
      random: this.generator(`nat ${name}`),
      makeUplink: (node) => this.makeAccess(name, node),
      options,
    })
    this.natList.push(nat)
    return nat
  }

  /**
   * The links between a host, or a NAT, and the hub; of a host behind a NAT those between the two.
   * `forward` is up, `backward` is down.
   */
  access(node: Host | Nat): LinkPair {
    return this.accessLinks.get(node) as LinkPair
  }

  /** Adds a direct link between two hosts, which is preferred to the hub. One per pair. */
  link(a: Host, b: Host, forward: Partial<LinkParams> = {}, backward = forward): LinkPair {
    const pair = new LinkPair(
      this.makeLink(`${a.name}>${b.name}`, b, forward),
      this.makeLink(`${b.name}>${a.name}`, a, backward),
    )
    a.connectDirect(b, pair.forward)
    b.connectDirect(a, pair.backward)
    return pair
  }

  /**
   * Keeps two groups of hosts apart from one virtual time to another; with `oneWay`, only what goes
   * from the first group to the second is lost.
   */
  partition(
    groups: {
      readonly from: readonly Host[]
      readonly to: readonly Host[]
      readonly oneWay?: boolean
    },
    from: Micros,
    to: Micros,
  ): void {
    const era = this.healCount
    const cut = (byCount: number) => {
      if (era !== this.healCount) return
      for (const a of groups.from) {
        for (const b of groups.to) {
          a.cut(b.edge, byCount)
          if (groups.oneWay !== true) b.cut(a.edge, byCount)
        }
      }
    }
    this.at(from, () => cut(1))
    this.at(to, () => cut(-1))
  }

  /** Ends every disturbance of links and every partition, planned ones included. */
  heal(): void {
    this.healCount += 1
    for (const link of this.linkList) link.heal()
    for (const host of this.hostList) host.reconnect()
  }

  /** Calls back at a virtual time; at once, but not before this call returns, if it has passed. */
  at(at: Micros, callback: () => void): { cancel(): void } {
    if (Number.isNaN(at)) throw new RangeError('a time that is no number')
    const index = this.freeCalls.pop() ?? this.calls.length
    const call: Call = { callback, isCancelled: false }
    this.calls[index] = call
    this.fabric.schedule(Math.max(this.fabric.now, Math.ceil(at)), EVENT.call, index)
    return {
      cancel: () => {
        call.isCancelled = true
      },
    }
  }

  after(delayMicros: Micros, callback: () => void): { cancel(): void } {
    return this.at(this.fabric.now + delayMicros, callback)
  }

  /**
   * Lets time pass until a virtual time or until a condition holds, which is asked after every
   * event. Throws ERR_PUNCHLINE_SIM_LIMIT when the world's bound of events is reached.
   */
  run(until: Micros | (() => boolean), limit: RunLimit = {}): RunEnd {
    if (this.isRunning) throw new RangeError('run inside run')
    const condition = typeof until === 'function' ? until : undefined
    const end =
      condition === undefined ? (until as Micros) : (limit.until ?? Number.POSITIVE_INFINITY)
    this.isRunning = true
    try {
      if (condition?.()) return 'condition'
      while (this.fabric.queue.peekTime() <= end) {
        if (!this.step()) break
        if (condition?.()) return 'condition'
      }
    } finally {
      this.isRunning = false
    }
    if (end === Number.POSITIVE_INFINITY) return 'idle'
    this.fabric.now = Math.max(this.fabric.now, end)
    return 'time'
  }

  runFor(durationMicros: Micros): RunEnd {
    return this.run(this.fabric.now + durationMicros)
  }

  /** Adds something that the test saw to the event log. */
  report(what: string, value = 0): void {
    const hash = this.fabric.hash
    hash.fold(this.fabric.now)
    hash.foldText(what)
    hash.fold(value)
    this.fabric.log?.(`${formatTime(this.fabric.now)}  ${what}  ${value}`)
  }

  /** How many datagrams had which fate; `sent` and `delivered` as the engines see them. */
  counts(): Record<Fate, number> {
    const entries = FATES.map((fate, index): [Fate, number] => {
      const isSeenByEngines = fate === 'sent' || fate === 'delivered'
      const stations = isSeenByEngines
        ? this.hostList
        : [this.hub, ...this.linkList, ...this.hostList, ...this.natList]
      return [fate, stations.reduce((sum, { counts }) => sum + (counts[index] as number), 0)]
    })
    return Object.fromEntries(entries) as Record<Fate, number>
  }

  /** The event-log hash: 16 hexadecimal digits over all that happened and all that was drawn. */
  hash(): string {
    const hash = new EventHash()
    hash.copyFrom(this.fabric.hash)
    for (const random of this.generators) hash.foldWord(random.digest)
    return hash.toString()
  }

  private takeAddresses(name: string, address: string | readonly string[]): SimIp[] {
    const texts = typeof address === 'string' ? [address] : address
    if (texts.length === 0) throw new RangeError(`${name} has no address`)
    return texts.map((text) => {
      const ip = this.fabric.addresses.ip(text)
      if (ip.owner === undefined) return ip
      throw new SimulationError('ERR_PUNCHLINE_SIM_ADDRESS', `${ip.address} is taken`)
    })
  }

  /** Links a host or a NAT to the hub, or a host to its NAT; answers the one up. */
  private makeAccess(name: string, node: SimNode, nat?: Nat): Link {
    const access = this.options.access ?? { delayMicros: 1_000 }
    const above = nat ?? this.hub
    const aboveName = nat?.name ?? 'hub'
    const up = this.makeLink(`${name}>${aboveName}`, nat?.inside ?? this.hub, access)
    const down = this.makeLink(`${aboveName}>${name}`, node, access)
    above.connect(node, down)
    this.accessLinks.set(node, new LinkPair(up, down))
    return up
  }

  private makeLink(name: string, far: SimNode, params: Partial<LinkParams>): Link {
    const link = new Link({
      fabric: this.fabric,
      id: this.linkList.length,
      name,
      random: this.generator(`link ${name}`),
      far,
      params,
      at: (at, callback) => this.at(at, callback),
    })
    this.linkList.push(link)
    return link
  }

  private step(): boolean {
    const { fabric } = this
    const { queue } = fabric
    if (!queue.pop()) return false
    if (this.eventCount >= this.eventsMax) {
      throw new SimulationError(
        'ERR_PUNCHLINE_SIM_LIMIT',
        `more than ${this.eventsMax} events (at ${fabric.now} µs): is something busy for ever?`,
      )
    }
    this.eventCount += 1
    fabric.now = queue.time
    const index = Math.floor(queue.payload / EVENT_KINDS)
    switch (queue.payload % EVENT_KINDS) {
      case EVENT.arrival:
        this.arrive(fabric.pool.at(index))
        break
      case EVENT.departure:
        ;(this.linkList[index] as Link).handleDeparture()
        break
      case EVENT.deadline:
        this.attachments[index]?.handleDeadline(queue.sequence)
        break
      case EVENT.wake:
        this.attachments[index]?.handleWake()
        break
      case EVENT.call:
        this.callBack(index)
        break
    }
    return true
  }

  private arrive(datagram: Datagram): void {
    const { link, next } = datagram
    if (link !== undefined)
      link.counts[FATE.delivered] = (link.counts[FATE.delivered] as number) + 1
    datagram.link = undefined
    next?.receive(datagram)
  }

  private callBack(index: number): void {
    const call = this.calls[index] as Call
    this.calls[index] = undefined
    this.freeCalls.push(index)
    if (!call.isCancelled) call.callback()
  }
}

interface Call {
  readonly callback: () => void
  isCancelled: boolean
}

/** The middle of the default star: passes each datagram down to the host that has its address. */
class Hub implements SimNode, Station {
  readonly name = 'hub'
  readonly index: number
  readonly counts = new Float64Array(FATES.length)
  private readonly fabric: Fabric
  private readonly down = new Map<SimNode, Link>()

  constructor(fabric: Fabric) {
    this.fabric = fabric
    this.index = fabric.nextStationIndex()
  }

  connect(host: SimNode, down: Link): void {
    this.down.set(host, down)
  }

  receive(datagram: Datagram): void {
    const ip = datagram.to?.ip as SimIp
    const link = ip.owner === undefined ? undefined : this.down.get(ip.owner)
    if (link === undefined) this.fabric.end(FATE.unroutable, this, datagram)
    else link.send(datagram)
  }
}
