import { CODE_CONNECT_TIMEOUT, CODE_IDLE_TIMEOUT, CODE_RESET, Core } from '../../bindings/core.ts'
import type { Micros } from '../machine.ts'
import {
  type Connection,
  Endpoint,
  type EndpointCounters,
  type EndpointOptions,
  type EndpointSecurity,
  NodeKey,
  type Stream,
  type StreamOwner,
} from '../transport/index.ts'
import type { Fate } from './event-log.ts'
import type { HarnessStream } from './harness.ts'
import type { Attachment, Host, HostOptions } from './host.ts'
import type { Nat, NatOptions, NatScope } from './nat.ts'
import type { SeededRandom } from './random.ts'
import {
  check,
  drawLinkParams,
  drawMagnitude,
  type LinkRanges,
  resultOf,
  type Scenario,
  type ScenarioResult,
  SWARM_RANGES,
} from './scenario.ts'
import { BytePattern, Transfer } from './transfer.ts'
import { type LinkPair, World } from './world.ts'

export interface LifeOptions {
  /** Part of the replay command. Default 'life'. */
  readonly name?: string
  /** Data packets after which the network heals, roughly. Default 56,000. */
  readonly dataPackets?: number
  /** Virtual time after which it heals in any case. Default 30 minutes. */
  readonly chaosMicrosMax?: Micros
  /** Virtual time from healing until everything has arrived, and again until all is empty: 120 s. */
  readonly healedMicrosMax?: Micros
  /** Makes the core of a run, for instance one with assertions. Default: the compiled one. */
  readonly makeCore?: () => Core
  /** Puts a defect between the transport and the program: a test of the alarm. */
  readonly sabotage?: (stream: HarnessStream) => HarnessStream
}

/** What the seed draws a life's network from. */
export const LIFE_RANGES: LinkRanges = Object.freeze({
  ...SWARM_RANGES,
  delayMicros: [0, 750_000],
  rateBitsPerSecond: [64_000, 1e9],
  duplicateRate: [0, 0.5],
  corruptRate: [0, 5e-3],
} satisfies LinkRanges)

const SECOND: Micros = 1_000_000
const SERVER_PORT = 4_433
/** What one transfer needs on the healed network: the sum of all is far from the 120 s. */
const TRANSFER_MICROS = 15 * SECOND
const TRANSFER_BYTES_MAX = 2 * 1024 * 1024
/** Header, checksum and the least that a frame needs: the rest of a packet may be stream data. */
const PACKET_OVERHEAD = 14 + 4 + 3
const RETRY_MICROS_MAX = 1 * SECOND
const CROWD_SIZE = 10
/** A stream names its transfer by a port. */
const ATTEMPTS_MAX = 60_000
/** What an endpoint keeps, once there was a crowd, for a fair share of each network. */
const NETWORKS_BYTES = 65_536

/** What is counted by seed, and has to strike one seed of twenty at least. */
const FAULTS = [
  'blackout',
  'cut one way',
  'cut both ways',
  'client crash',
  'server crash',
  'pause',
  'clock jump',
  'route change',
  'socket rebinding',
  'NAT reboot',
  'crowd',
] as const
type Fault = (typeof FAULTS)[number]

/** What the network does to datagrams has to strike as many. */
const NETWORK = [
  'lost',
  'lost-in-burst',
  'queue-full',
  'too-big',
  'link-down',
  'bad-checksum',
  'duplicated',
  'corrupted',
  'held-back',
  'host-down',
  'receive-buffer-full',
  'unmapped',
  'filtered',
] as const satisfies readonly Fate[]

const LIMITS = [
  'connections',
  'half-open',
  'cookies asked for',
  'streams',
  'memory',
  'send window',
  'receive window',
  'idle timeout',
  'connect timeout',
  'peer restarted',
] as const
type Limit = (typeof LIMITS)[number]

/**
 * One server, up to three clients, one of them perhaps behind a NAT, over years of bad luck in
 * minutes: whatever a network does to datagrams, and beside it partitions, crashes, restarts,
 * pauses, jumps of clocks, forgotten mappings, crowds of strangers, and options so small that every
 * limit is reached. Clients have transfers to do; one that is cut off by the end of its connection
 * is begun again on the next.
 *
 * Safety, always: every byte at its place, no transfer accepted twice, none that was never begun,
 * no end before the last byte. Then the network heals, crashed hosts come back, and nothing new is
 * begun. Liveness: all transfers are through within 120 s; and when connections are closed, every
 * table is empty within another 120.
 */
export function lifeScenario(options: LifeOptions = {}): Scenario {
  return {
    name: options.name ?? 'life',
    run: (seed, worldOptions = {}) => {
      const life = new Life(new World(seed, worldOptions), options)
      try {
        return life.run()
      } finally {
        life.close()
      }
    },
  }
}

/** Bytes that a client has to exchange with the server, once. */
interface Task {
  readonly upBytes: number
  readonly downBytes: number
}

/** A stream that does a task, or dies on the way. */
interface Attempt {
  readonly number: number
  readonly task: Task
  readonly client: Transfer
  readonly server: Transfer
  readonly connection: Connection
  /** Set once: what comes twice is a defect. */
  acceptedBy: Party | undefined
  isOver: boolean
}

class Life {
  readonly world: World
  readonly random: SeededRandom
  readonly core: Core
  readonly isEncrypted: boolean
  readonly limits: Limits
  /** What the largest packet carries: more bytes of streams than that make two. */
  readonly packetDataBytes: number
  readonly options: LifeOptions
  readonly readDelayMicrosMax: Micros
  readonly server: Server
  readonly clients: Client[] = []
  /** All of them: a stream names its own by the port that it was opened with. */
  readonly attempts: Attempt[] = []
  isHealed = false
  private readonly pair: LinkPair
  private readonly nat: Nat | undefined
  private readonly marks = new Map<Fault | Limit, number>()
  private readonly faults: readonly Fault[]
  private readonly faultIntervalMicros: Micros
  private readonly crowdHost: Host
  private activeSince: Micros | undefined
  private activeMicros = 0
  private activeCount = 0
  /** Of endpoints that are gone. */
  private pastStreamBytes = 0

  constructor(world: World, options: LifeOptions) {
    this.world = world
    this.options = options
    this.core = options.makeCore?.() ?? Core.create()
    this.random = world.generator('life')
    const { random } = this
    this.isEncrypted = random.chance(0.5)
    this.limits = drawLimits(random)
    this.packetDataBytes = this.limits.packetBytesMax - PACKET_OVERHEAD
    this.readDelayMicrosMax = random.pick([0, 0, 50_000, 5 * SECOND])
    this.faults = FAULTS.filter(() => random.chance(0.3))
    this.faultIntervalMicros = drawMagnitude(random, [5 * SECOND, 80 * SECOND])
    const serverHost = world.host('server', '198.51.100.2', drawHostOptions(random))
    this.pair = world.access(serverHost)
    this.pair.forward.set(drawLinkParams(random, LIFE_RANGES))
    this.pair.backward.set(drawLinkParams(random, LIFE_RANGES))
    this.nat = random.chance(0.5) ? this.makeNat() : undefined
    this.server = new Server(this, serverHost)
    const clientCount = random.between(1, 3)
    for (let index = 0; index < clientCount; index++) {
      const behind = index === 0 && this.nat !== undefined ? { behind: this.nat } : {}
      const address = index === 0 && this.nat !== undefined ? '10.0.0.2' : `192.0.2.${index + 1}`
      const host = world.host(`client ${index}`, address, { ...drawHostOptions(random), ...behind })
      this.clients.push(new Client(this, host, this.planTasks(clientCount)))
    }
    this.crowdHost = world.host('crowd', '203.0.113.77')
  }

  run(): ScenarioResult {
    const { world, options } = this
    const parties = [this.server, ...this.clients]
    for (const party of parties) party.boot()
    this.planFault()
    const bytesMax = (options.dataPackets ?? 56_000) * this.packetDataBytes
    const chaosMax = options.chaosMicrosMax ?? 1_800 * SECOND
    // Counting after each event would be dear.
    const isYoung = () => this.attempts.length < ATTEMPTS_MAX && this.streamBytes() < bytesMax
    while (world.now < chaosMax && isYoung()) world.runFor(SECOND)

    const healedAt = world.now
    this.heal(parties)
    const bound = options.healedMicrosMax ?? 120 * SECOND
    const isDone = () => this.clients.every((client) => client.isDone)
    const end = world.run(isDone, { until: healedAt + bound })
    check(
      end === 'condition',
      () => `not through ${bound / SECOND} s after healing: ${this.rest()}`,
    )
    const doneAt = world.now
    for (const client of this.clients) client.leave()
    const isEmpty = () => parties.every((party) => party.isEmpty)
    for (const limit = doneAt + bound; !isEmpty(); world.runFor(SECOND)) {
      check(world.now < limit, () => `left behind: ${parties.map(({ gauges }) => gauges)}`)
    }
    this.settleActivity()
    return {
      ...resultOf(world, {
        dataPackets: Math.floor(this.streamBytes() / this.packetDataBytes),
        inFlightHours: this.activeMicros / SECOND / 3_600,
        transfers: this.attempts.length,
        encrypted: this.isEncrypted ? 1 : 0,
        healedSeconds: (doneAt - healedAt) / SECOND,
      }),
      marks: this.listMarks(),
    }
  }

  close(): void {
    for (const party of [this.server, ...this.clients]) party.stop()
  }

  // ── What others of this file tell it ───────────────────────────────────────────────────────────

  mark(kind: Fault | Limit): void {
    this.marks.set(kind, (this.marks.get(kind) ?? 0) + 1)
  }

  /** A transfer began or ended: the time in which there are any is what counts. */
  changeActivity(by: number): void {
    this.settleActivity()
    this.activeCount += by
    this.activeSince = this.activeCount > 0 ? this.world.now : undefined
  }

  countPast(counters: EndpointCounters): void {
    this.pastStreamBytes += streamBytesOf(counters)
    if (counters.droppedMemory > 0) this.mark('memory')
    if (counters.retriesSent > 0) this.mark('cookies asked for')
  }

  closedWith(code: number): void {
    if (code === CODE_IDLE_TIMEOUT) this.mark('idle timeout')
    else if (code === CODE_CONNECT_TIMEOUT) this.mark('connect timeout')
    else if (code === CODE_RESET) this.mark('peer restarted')
  }

  // ── Drawing ────────────────────────────────────────────────────────────────────────────────────

  private makeNat(): Nat {
    const { random } = this
    const scopes: readonly NatScope[] = ['endpoint', 'address', 'address-and-port']
    const options: NatOptions = {
      mapping: random.pick(scopes),
      filtering: random.pick(scopes),
      mappingTimeoutMicros: random.pick([5, 30, 120]) * SECOND,
      refreshesOnInbound: random.chance(0.5),
      ports: random.pick(['preserving', 'sequential', 'random']),
    }
    const nat = this.world.nat('nat', ['203.0.113.1', '203.0.113.2'], options)
    this.world.access(nat).set({ delayMicros: random.below(5_000) })
    return nat
  }

  /** How big transfers may be, so that what is begun when the network heals is soon through. */
  private planTasks(clientCount: number): TaskPlan {
    const { random, limits, pair } = this
    const { forward, backward } = pair
    const rttMicros =
      forward.params.delayMicros + backward.params.delayMicros + 4 * forward.params.jitterMicros
    const rtts = (TRANSFER_MICROS * 0.5) / (rttMicros + 100_000)
    const atOnce = random.pick([1, 2, 4, 8])
    const rate = Math.min(forward.params.rateBitsPerSecond, backward.params.rateBitsPerSecond)
    const atBottleneck = ((rate / 8e6) * TRANSFER_MICROS) / (atOnce * clientCount)
    const inWindows = (rtts * limits.connectionWindowBytes) / atOnce
    const bytesMax = Math.min(TRANSFER_BYTES_MAX, atBottleneck, inWindows)
    return {
      atOnce,
      bytesMax: Math.max(500, Math.floor(Math.min(bytesMax, rtts * limits.streamWindowBytes))),
      pauseMicrosMax: random.pick([0, 0, 1, 60]) * SECOND,
    }
  }

  // ── Faults ─────────────────────────────────────────────────────────────────────────────────────

  private planFault(): void {
    if (this.faults.length === 0) return
    this.world.after(this.random.exponential(this.faultIntervalMicros), () => {
      if (this.isHealed) return
      const fault = this.random.pick(this.faults)
      this.strike(fault)
      this.planFault()
    })
  }

  private strike(fault: Fault): void {
    const { world, random, server } = this
    const { now } = world
    // Mostly short; now and then longer than what connections bear.
    const lasts = Math.ceil(
      random.chance(0.15) ? random.below(90 * SECOND) : random.exponential(SECOND),
    )
    const client = random.pick(this.clients)
    if (fault === 'NAT reboot' && this.nat === undefined) return
    this.mark(fault)
    world.report(fault, lasts)
    switch (fault) {
      case 'blackout':
        this.pair.blackout(now, now + lasts)
        break
      case 'cut one way':
      case 'cut both ways': {
        const [from, to] = random.chance(0.5) ? [client, server] : [server, client]
        const oneWay = fault === 'cut one way'
        world.partition({ from: [from.host], to: [to.host], oneWay }, now, now + lasts)
        break
      }
      case 'client crash':
      case 'server crash':
        this.crash(fault === 'client crash' ? client : server, lasts)
        break
      case 'pause': {
        const { host } = random.pick([client, server])
        host.pause()
        world.after(lasts, () => host.resume())
        break
      }
      case 'clock jump': {
        const { host } = random.pick([client, server])
        if (host.isUp) host.jumpClock(lasts)
        break
      }
      case 'route change':
        this.changeRoute()
        break
      case 'socket rebinding':
        client.rebind()
        break
      case 'NAT reboot':
        this.nat?.reboot()
        break
      case 'crowd':
        this.sendCrowd(lasts)
        break
    }
  }

  private crash(party: Party, lasts: Micros): void {
    if (!party.host.isUp) return
    party.crash()
    this.world.after(lasts, () => party.revive())
  }

  /** Another way through the network: never a longer one than transfers were planned for. */
  private changeRoute(): void {
    for (const link of [this.pair.forward, this.pair.backward]) {
      link.set({ delayMicros: this.random.below(link.params.delayMicros + 1) })
    }
  }

  /** Strangers who connect all at once, and vanish without a word. */
  private sendCrowd(lasts: Micros): void {
    const { world, crowdHost, core, server } = this
    const endpoint = new Endpoint({
      core,
      random: crowdHost.random,
      now: crowdHost.now,
      options: { memoryBytes: 512 * 1024 },
      security: this.securityOf(undefined),
    })
    const attachment = crowdHost.attach(endpoint)
    endpoint.onWork = () => attachment.wake()
    const to = { socketIndex: 0, address: server.host.address, port: SERVER_PORT }
    for (let index = 0; index < CROWD_SIZE; index++) endpoint.connect(crowdHost.now, to, {})
    const watch = () => {
      if (endpoint.isClosed) return
      server.watchLimits()
      world.after(100_000, watch)
    }
    watch()
    world.after(Math.min(lasts, 5 * SECOND), () => {
      attachment.detach()
      endpoint.destroy()
    })
  }

  /** From now on nothing bad happens. */
  private heal(parties: readonly Party[]): void {
    this.isHealed = true
    this.world.heal()
    // A tail of jitter that is longer than all else is no healthy network either.
    this.pair.set({ jitterMicros: 0 })
    for (const party of parties) party.revive()
    for (const { client, server, isOver } of this.attempts) {
      if (isOver) continue
      client.watch()
      server.watch()
    }
    this.world.report('healed')
  }

  // ── Figures ────────────────────────────────────────────────────────────────────────────────────

  securityOf(nodeKey: NodeKey | undefined): EndpointSecurity {
    const mode = this.isEncrypted ? 'noise' : 'none'
    return nodeKey === undefined ? { mode } : { mode, nodeKey }
  }

  private settleActivity(): void {
    if (this.activeSince !== undefined) this.activeMicros += this.world.now - this.activeSince
    this.activeSince = this.activeCount > 0 ? this.world.now : undefined
  }

  private streamBytes(): number {
    const parties = [this.server, ...this.clients]
    return parties.reduce((sum, party) => sum + party.streamBytes, this.pastStreamBytes)
  }

  private listMarks(): Record<string, number> {
    for (const party of [this.server, ...this.clients]) party.stop()
    const marks: Record<string, number> = {}
    for (const fault of FAULTS) marks[`fault: ${fault}`] = this.marks.get(fault) ?? 0
    const counts = this.world.counts()
    for (const fate of NETWORK) marks[`network: ${fate}`] = counts[fate]
    for (const limit of LIMITS) marks[`limit: ${limit}`] = this.marks.get(limit) ?? 0
    return marks
  }

  private rest(): string {
    const left = this.attempts.filter(({ isOver }) => !isOver)
    const shown = left.slice(0, 3).map(({ number, task, client, server, acceptedBy }) => {
      const [up, down] = [server.receivedBytes, client.receivedBytes]
      const state = acceptedBy === undefined ? 'not accepted' : 'accepted'
      return `${number} ${state} up ${up} of ${task.upBytes} down ${down} of ${task.downBytes}`
    })
    const waiting = this.clients.map(({ state }) => state)
    return `${left.length} transfers: ${shown.join('; ')}; clients ${waiting.join('; ')}`
  }
}

// ── Programs ─────────────────────────────────────────────────────────────────────────────────────

/** A program on a host: it has one endpoint while it runs, and one key for ever. */
abstract class Party {
  readonly host: Host
  protected readonly life: Life
  protected endpoint: Endpoint | undefined
  protected attachment: Attachment | undefined
  private readonly nodeKey: NodeKey

  constructor(life: Life, host: Host) {
    this.life = life
    this.host = host
    this.nodeKey = NodeKey.generate(host.random)
  }

  abstract begin(endpoint: Endpoint): void
  /** Everything it knew of connections is gone. */
  abstract forget(): void

  boot(): void {
    const { host, life } = this
    const endpoint = new Endpoint({
      core: life.core,
      random: host.random,
      now: host.now,
      hasEcn: true,
      options: life.limits,
      security: life.securityOf(this.nodeKey),
    })
    const attachment = host.attach(endpoint, [this.socket])
    endpoint.onWork = () => attachment.wake()
    this.endpoint = endpoint
    this.attachment = attachment
    this.begin(endpoint)
  }

  protected get socket(): { readonly port?: number } {
    return {}
  }

  crash(): void {
    this.host.crash()
    this.stop()
    this.forget()
  }

  revive(): void {
    this.host.resume()
    if (this.host.isUp) return
    this.host.restart()
    this.boot()
  }

  /** Gives the core back what it had. */
  stop(): void {
    const { endpoint } = this
    if (endpoint === undefined) return
    this.life.countPast(endpoint.counters())
    endpoint.destroy()
    this.endpoint = undefined
  }

  get streamBytes(): number {
    return this.endpoint === undefined ? 0 : streamBytesOf(this.endpoint.counters())
  }

  /** Nothing is left in the core's tables, but for the one of strangers' networks. */
  get isEmpty(): boolean {
    const gauges = this.endpoint?.gauges()
    if (gauges === undefined) return true
    const { connections, halfOpen, streams, memoryBytes } = gauges
    return connections + halfOpen + streams === 0 && memoryBytes <= NETWORKS_BYTES
  }

  get gauges(): string {
    return `${this.host.name} ${JSON.stringify(this.endpoint?.gauges())}`
  }
}

class Server extends Party {
  protected override get socket(): { readonly port: number } {
    return { port: SERVER_PORT }
  }

  begin(endpoint: Endpoint): void {
    endpoint.owner = {
      connection: (connection) => {
        this.watchLimits()
        connection.owner = { closed: (code) => this.life.closedWith(code) }
      },
      stream: (stream) => this.accept(stream),
    }
    endpoint.setListening(true)
  }

  forget(): void {
    for (const attempt of this.life.attempts) {
      if (attempt.acceptedBy === this) attempt.server.abandon()
    }
  }

  watchLimits(): void {
    const gauges = this.endpoint?.gauges()
    if (gauges === undefined) return
    const { connectionsMax, halfOpenMax } = this.life.limits
    if (gauges.connections >= connectionsMax) this.life.mark('connections')
    if (gauges.halfOpen >= halfOpenMax) this.life.mark('half-open')
  }

  private accept(stream: Stream): StreamOwner {
    const attempt = this.life.attempts[stream.port]
    check(attempt !== undefined, () => `a stream ${stream.port} that nobody opened`)
    check(attempt.acceptedBy === undefined, () => `transfer ${attempt.number} came a second time`)
    attempt.acceptedBy = this
    return ownerOf(this.life, attempt.server, stream)
  }
}

interface TaskPlan {
  readonly atOnce: number
  readonly bytesMax: number
  /** Between transfers, at times. */
  readonly pauseMicrosMax: Micros
}

class Client extends Party {
  private readonly plan: TaskPlan
  private readonly random: SeededRandom
  private connection: Connection | undefined
  private readonly running = new Set<Attempt>()
  /** Tasks whose stream died. */
  private readonly unfinished: Task[] = []
  private isWaiting = false
  private isLeaving = false

  constructor(life: Life, host: Host, plan: TaskPlan) {
    super(life, host)
    this.plan = plan
    this.random = life.world.generator(`tasks of ${host.name}`)
  }

  get isDone(): boolean {
    return this.running.size === 0 && this.unfinished.length === 0
  }

  get state(): string {
    const connection =
      this.connection === undefined ? 'none' : this.connection.isOpen ? 'open' : 'connecting'
    return `${this.running.size} running ${this.unfinished.length} waiting, connection ${connection}`
  }

  begin(): void {
    this.proceed()
  }

  /** The network is quiet: closes what is open. */
  leave(): void {
    this.isLeaving = true
    this.connection?.close()
  }

  forget(): void {
    this.connection = undefined
    for (const attempt of [...this.running]) this.lose(attempt)
  }

  /** The socket goes on from another port, as behind a NAT that was rebooted. */
  rebind(): void {
    if (this.host.isUp) this.attachment?.rebind(0)
  }

  /** Begins what there is to do. */
  private proceed(): void {
    if (this.endpoint === undefined || this.isWaiting || this.isLeaving) return
    while (this.running.size < this.plan.atOnce) {
      if (this.life.isHealed && this.unfinished.length === 0) return
      if (this.connection === undefined && !this.connect()) return
      if (!this.start()) return
    }
  }

  private connect(): boolean {
    const { host, life, endpoint } = this
    const to = { socketIndex: 0, address: life.server.host.address, port: SERVER_PORT }
    const connection = endpoint?.connect(host.now, to, {
      closed: (code) => {
        life.closedWith(code)
        if (this.connection === connection) this.connection = undefined
        for (const attempt of [...this.running]) {
          if (attempt.connection === connection) this.lose(attempt)
        }
        this.wait(RETRY_MICROS_MAX)
      },
    })
    this.connection = connection
    if (connection !== undefined) return true
    life.mark('memory')
    this.wait(RETRY_MICROS_MAX)
    return false
  }

  private start(): boolean {
    const { life, connection } = this
    const task = this.unfinished.pop() ?? this.drawTask()
    const attempt = this.makeAttempt(task, connection as Connection)
    const stream = connection?.openStream(attempt.number, {} as StreamOwner)
    if (stream === undefined) {
      life.mark('memory')
      life.attempts.pop()
      this.unfinished.push(task)
      this.wait(RETRY_MICROS_MAX)
      return false
    }
    this.running.add(attempt)
    life.changeActivity(1)
    if (this.running.size > life.limits.streamsMax) life.mark('streams')
    stream.owner = ownerOf(life, attempt.client, stream)
    return true
  }

  private drawTask(): Task {
    const { random } = this
    const { bytesMax } = this.plan
    const draw = () =>
      random.chance(0.2) ? random.below(500) : random.between(bytesMax >> 2, bytesMax)
    return random.chance(0.5)
      ? { upBytes: draw(), downBytes: random.below(500) }
      : { upBytes: random.below(500), downBytes: draw() }
  }

  private makeAttempt(task: Task, connection: Connection): Attempt {
    const { life, random } = this
    const { world } = life
    const number = life.attempts.length
    check(number < 65_536, () => 'more transfers than a port can name')
    const up = new BytePattern(random.u32())
    const down = new BytePattern(random.u32())
    const { readDelayMicrosMax } = life
    const side = (name: string, isClient: boolean) =>
      new Transfer({
        world,
        random,
        name: `${name} ${number}`,
        sendBytes: isClient ? task.upBytes : task.downBytes,
        receiveBytes: isClient ? task.downBytes : task.upBytes,
        sendPattern: isClient ? up : down,
        receivePattern: isClient ? down : up,
        readDelayMicrosMax: life.isHealed ? 0 : readDelayMicrosMax,
      })
    const attempt: Attempt = {
      number,
      task,
      client: side('client', true),
      server: side('server', false),
      connection,
      acceptedBy: undefined,
      isOver: false,
    }
    attempt.client.onDone = () => this.settle(attempt)
    attempt.server.onDone = () => this.settle(attempt)
    life.attempts.push(attempt)
    return attempt
  }

  /** One side is through: is the other? */
  private settle(attempt: Attempt): void {
    if (attempt.isOver || !attempt.client.isDone || !attempt.server.isDone) return
    this.finish(attempt)
    const { pauseMicrosMax } = this.plan
    if (pauseMicrosMax > 0 && this.random.chance(0.3)) this.wait(pauseMicrosMax)
    else this.life.world.after(0, () => this.proceed())
  }

  private lose(attempt: Attempt): void {
    attempt.client.abandon()
    this.finish(attempt)
    this.unfinished.push(attempt.task)
  }

  private finish(attempt: Attempt): void {
    attempt.isOver = true
    if (attempt.client.blockedCount + attempt.server.blockedCount > 0) this.life.mark('send window')
    if (this.running.delete(attempt)) this.life.changeActivity(-1)
  }

  private wait(microsMax: Micros): void {
    if (this.isWaiting) return
    this.isWaiting = true
    this.life.world.after(this.random.below(this.life.isHealed ? SECOND : microsMax), () => {
      this.isWaiting = false
      this.proceed()
    })
  }
}

// ── Small things ─────────────────────────────────────────────────────────────────────────────────

/** Lets one side of a transfer have a stream. */
function ownerOf(life: Life, side: Transfer, stream: Stream): StreamOwner {
  const plain: HarnessStream = {
    id: stream.number,
    write: (bytes) => stream.write(bytes),
    finish: () => stream.finish(),
    readInto: (target) => {
      if (stream.readableSize >= life.limits.streamWindowBytes) life.mark('receive window')
      return stream.readInto(target)
    },
    get ended() {
      return stream.ended
    },
  }
  const settle = side.onDone
  side.onDone = () => {
    side.abandon()
    stream.release()
    settle()
  }
  side.begin(life.options.sabotage?.(plain) ?? plain)
  return {
    readable: () => side.readable(),
    writable: () => side.writable(),
    failed: (code) => {
      // Nobody resets streams: they end early with their connection, and with nothing else.
      check(stream.connection.isClosed, () => `${side.name}: the stream failed with code ${code}`)
      side.abandon()
      stream.release()
    },
  }
}

function streamBytesOf({ streamBytesSent, streamBytesRetransmitted }: EndpointCounters): number {
  return streamBytesSent + streamBytesRetransmitted
}

function drawHostOptions(random: SeededRandom): HostOptions {
  return {
    wakeDelayMicros: random.pick([0, 0, 100, 2_000]),
    receiveBufferBytes: random.pick([16 * 1024, 212_992, 1024 * 1024]),
  }
}

/** Options of all endpoints of a life: small ones, so that limits are reached, and common ones. */
function drawLimits(random: SeededRandom) {
  return {
    memoryBytes: random.pick([256 * 1024, 2 * 1024 * 1024, 8 * 1024 * 1024]),
    connectionsMax: random.pick([2, 4, 100]),
    halfOpenMax: random.pick([1, 8, 256]),
    streamsMax: random.pick([1, 3, 100]),
    packetBytesMax: random.pick([1_200, 1_200, 1_472]),
    streamWindowBytes: random.pick([4_096, 65_536, 262_144]),
    connectionWindowBytes: random.pick([8_192, 65_536, 524_288]),
    connectTimeoutMs: random.pick([5_000, 15_000]),
    idleTimeoutMs: random.pick([10_000, 30_000]),
    keepAliveMs: random.pick([0, 3_000, 10_000]),
    emptyTimeoutMs: random.pick([1_000, 15_000]),
    congestion: random.pick(['bbr', 'cubic'] as const),
  } satisfies Partial<EndpointOptions>
}
type Limits = ReturnType<typeof drawLimits>
