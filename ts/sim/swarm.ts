import type { Micros } from '../machine.ts'
import type { HarnessConnection, HarnessRun, StreamHandlers, TransportHarness } from './harness.ts'
import type { HostOptions } from './host.ts'
import type { LinkParams } from './link.ts'
import type { SeededRandom } from './random.ts'
import {
  check,
  drawLinkParams,
  type LinkRanges,
  type Range,
  resultOf,
  type Scenario,
  type ScenarioResult,
  SWARM_RANGES,
} from './scenario.ts'
import { BytePattern, Transfer } from './transfer.ts'
import { type LinkPair, World } from './world.ts'

export interface SwarmOptions {
  /** Default: 'swarm', with the harness's name in front unless it is 'transport'. */
  readonly name?: string
  readonly ranges?: LinkRanges
  /** Streams, opened by the client, both ways. Default 4. */
  readonly streamCount?: number
  /** Bytes each way over all streams, at least. Default 1 MiB. */
  readonly totalBytes?: number
  /** Virtual time for the whole chaotic phase. Default 24 hours. */
  readonly chaosMicrosMax?: Micros
  /** Virtual time from healing to the end, beside what the bottleneck needs. Default 120 s. */
  readonly healedMicrosMax?: Micros
}

const SECOND: Micros = 1_000_000
/** Healing must show in so many probe timeouts. */
const RESUME_PROBE_TIMEOUTS = 5
/** Share of the bytes that has arrived when the network heals. */
const HEAL_AT_SHARE: Range = [0.2, 0.8]
const BLACKOUT_MICROS: Range = [0, 5 * SECOND]
const READ_DELAY_MICROS_MAX = 50_000
const SERVER_PORT = 4_433
/** The healed network may need this many times the bare time at the bottleneck. */
const RATE_ALLOWANCE = 4

/**
 * Two hosts, one connection, several streams both ways, over a link whose every parameter the seed
 * draws. Safety: each byte once, in order, while the network is as bad as drawn. Then, in the middle
 * of the transfer, the network is cut for a while and healed for good. Liveness: delivery resumes
 * within five probe timeouts, and everything arrives soon.
 */
export function swarmScenario(harness: TransportHarness, options: SwarmOptions = {}): Scenario {
  const isMain = harness.name === 'transport'
  return {
    name: options.name ?? (isMain ? 'swarm' : `${harness.name}-swarm`),
    run: (seed, { log, flip } = {}) => {
      const world = new World(seed, {
        ...(log === undefined ? {} : { log }),
        ...(flip === undefined ? {} : { flip }),
      })
      const run = harness.open(world)
      try {
        return new SwarmRun(world, run, options).run()
      } finally {
        run.close()
      }
    },
  }
}

class SwarmRun {
  private readonly world: World
  private readonly options: SwarmOptions
  private readonly random: SeededRandom
  private readonly pair: LinkPair
  private readonly clientSide: Transfer[] = []
  private readonly serverSide: Transfer[] = []
  private readonly sides: readonly Transfer[]
  /** Streams that the server has not seen yet, by the number that both sides know them by. */
  private readonly indexOfStream = new Map<number, number>()
  private readonly client: HarnessConnection
  private server: HarnessConnection | undefined
  private readonly totalBytes: number

  constructor(world: World, run: HarnessRun, options: SwarmOptions) {
    this.world = world
    this.options = options
    this.random = world.generator('swarm')
    const ranges = options.ranges ?? SWARM_RANGES
    const addresses = this.random.pick([
      { client: '192.0.2.1', server: '198.51.100.2' },
      { client: '2001:db8::1', server: '2001:db8::2' },
    ])
    const clientHost = world.host('client', addresses.client, this.drawHostOptions())
    const serverHost = world.host('server', addresses.server, this.drawHostOptions())
    const forward = drawLinkParams(this.random, ranges)
    this.pair = world.link(clientHost, serverHost, forward, drawLinkParams(this.random, ranges))
    this.totalBytes = this.planTransfers()
    this.sides = [...this.clientSide, ...this.serverSide]
    run.endpoint({
      host: serverHost,
      port: SERVER_PORT,
      accept: (connection) => {
        check(this.server === undefined, () => 'the server accepted the one connection twice')
        this.server = connection
        return {
          stream: (stream) => this.acceptStream(stream.id, (side) => side.begin(stream)),
          closed: (reason) => this.connectionLost('server', reason),
        }
      },
    })
    const endpoint = run.endpoint({ host: clientHost })
    this.client = endpoint.connect(serverHost.address, SERVER_PORT, {
      opened: () => this.openStreams(),
      closed: (reason) => this.connectionLost('client', reason),
    })
  }

  run(): ScenarioResult {
    const { world, random } = this
    const share = drawFrom(random, HEAL_AT_SHARE)
    const isCut = random.chance(0.75)
    const isCutOneWay = random.chance(0.3)
    const cutMicros = Math.round(drawFrom(random, BLACKOUT_MICROS))

    const chaosMax = this.options.chaosMicrosMax ?? 24 * 3600 * SECOND
    const middle = world.run(() => this.deliveredBytes() >= share * this.totalBytes, {
      until: chaosMax,
    })
    check(middle === 'condition', () => `${middle} at ${this.progress()} in the bad network`)
    if (isCut) {
      world.report('cut', cutMicros)
      const cut: Partial<LinkParams> = { isDown: true }
      if (isCutOneWay) random.pick([this.pair.forward, this.pair.backward]).set(cut)
      else this.pair.set(cut)
      world.runFor(cutMicros)
    }
    const resume = this.heal()
    const healedAt = world.now
    const end = world.run(() => this.isDone(), { until: healedAt + this.healedMicrosMax() })
    check(end === 'condition', () => `${end} at ${this.progress()} in the healed network`)
    return resultOf(world, {
      ...resume,
      chaosSeconds: healedAt / SECOND,
      healedSeconds: (world.now - healedAt) / SECOND,
    })
  }

  /** Heals the network and waits until each direction that has bytes to deliver delivers again. */
  private heal(): Record<string, number> {
    const { world } = this
    world.heal()
    // A slow reader is no fault of the network: what has arrived is read before the clock starts.
    for (const side of this.sides) side.watch()
    world.report('healed')
    const healedAt = world.now
    const directions = [
      { name: 'the client', sides: this.clientSide },
      { name: 'the server', sides: this.serverSide },
    ].filter(({ sides }) => sides.some((side) => !side.hasEnded))
    // The larger of both: a sender without credit waits until the receiver repeats what it granted.
    const timeouts = [this.client, this.server].map((side) => side?.probeTimeoutMicros() ?? 0)
    const boundMicros = RESUME_PROBE_TIMEOUTS * Math.max(...timeouts)
    const hasResumed = () => directions.every(({ sides }) => earliestResume(sides) !== undefined)
    world.run(hasResumed, { until: healedAt + boundMicros })

    const figures = { resumeSeconds: 0, resumeProbeTimeouts: 0 }
    for (const { name, sides } of directions) {
      const resumedAt = earliestResume(sides)
      check(
        resumedAt !== undefined,
        () =>
          `nothing was delivered to ${name} within ${RESUME_PROBE_TIMEOUTS} probe timeouts ` +
          `(${boundMicros / SECOND} s) of healing, at ${this.progress()}`,
      )
      const tookMicros = resumedAt - healedAt
      const inTimeouts = (RESUME_PROBE_TIMEOUTS * tookMicros) / boundMicros
      figures.resumeSeconds = Math.max(figures.resumeSeconds, tookMicros / SECOND)
      figures.resumeProbeTimeouts = Math.max(figures.resumeProbeTimeouts, inTimeouts)
    }
    return figures
  }

  private drawHostOptions(): HostOptions {
    return {
      wakeDelayMicros: this.random.pick([0, 0, 100, 2_000]),
      receiveBufferBytes: this.random.pick([64 * 1024, 212_992, 1024 * 1024]),
    }
  }

  private planTransfers(): number {
    const { world, random, options } = this
    const streamCount = options.streamCount ?? 4
    const streamBytes = Math.ceil((options.totalBytes ?? 1024 * 1024) / streamCount)
    let totalBytes = 0
    for (let index = 0; index < streamCount; index++) {
      // Sizes differ and are odd at times, so that ends fall anywhere within packets and pages.
      const upBytes = streamBytes + random.below(20_000)
      const downBytes = streamBytes + random.below(20_000)
      const up = new BytePattern(random.u32())
      const down = new BytePattern(random.u32())
      const base = { world, random: world.generator(`stream ${index}`) }
      const drawDelay = () => (random.chance(0.25) ? READ_DELAY_MICROS_MAX : 0)
      this.clientSide.push(
        new Transfer({
          ...base,
          name: `client ${index}`,
          sendBytes: upBytes,
          receiveBytes: downBytes,
          sendPattern: up,
          receivePattern: down,
          readDelayMicrosMax: drawDelay(),
        }),
      )
      this.serverSide.push(
        new Transfer({
          ...base,
          name: `server ${index}`,
          sendBytes: downBytes,
          receiveBytes: upBytes,
          sendPattern: down,
          receivePattern: up,
          readDelayMicrosMax: drawDelay(),
        }),
      )
      totalBytes += upBytes + downBytes
    }
    return totalBytes
  }

  private openStreams(): void {
    this.clientSide.forEach((side, index) => {
      const stream = this.client.openStream(side)
      this.indexOfStream.set(stream.id, index)
      side.begin(stream)
    })
  }

  private acceptStream(id: number, begin: (side: Transfer) => void): StreamHandlers {
    const index = this.indexOfStream.get(id)
    check(index !== undefined, () => `stream ${id} was never opened`)
    this.indexOfStream.delete(id) // A second one of this number would be a defect.
    const side = this.serverSide[index] as Transfer
    begin(side)
    return side
  }

  private connectionLost(side: string, reason: string | undefined): void {
    check(
      this.isDone(),
      () => `the ${side}'s connection closed (${reason ?? 'orderly'}) at ${this.progress()}`,
    )
  }

  private healedMicrosMax(): Micros {
    const { forward, backward } = this.pair
    const slowest = Math.min(forward.params.rateBitsPerSecond, backward.params.rateBitsPerSecond)
    const atBottleneck = (this.totalBytes * 8e6) / slowest
    return (this.options.healedMicrosMax ?? 120 * SECOND) + RATE_ALLOWANCE * atBottleneck
  }

  private deliveredBytes(): number {
    let sum = 0
    for (const side of this.sides) sum += side.receivedBytes
    return sum
  }

  private isDone(): boolean {
    return this.sides.every((side) => side.isDone)
  }

  private progress(): string {
    const at = (this.world.now / SECOND).toFixed(3)
    return `${this.deliveredBytes()} of ${this.totalBytes} bytes (${at} s)`
  }
}

function earliestResume(sides: readonly Transfer[]): Micros | undefined {
  let earliest: Micros | undefined
  for (const { resumedAt } of sides) {
    if (resumedAt !== undefined) earliest = Math.min(earliest ?? resumedAt, resumedAt)
  }
  return earliest
}

function drawFrom(random: SeededRandom, [low, high]: Range): number {
  return low + (high - low) * random.fraction()
}
