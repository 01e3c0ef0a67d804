import { Core } from '../../bindings/core.ts'
import type { Micros } from '../machine.ts'
import {
  type CongestionController,
  type Connection,
  Endpoint,
  type EndpointCounters,
  type EndpointOptions,
  type Stream,
} from '../transport/index.ts'
import type { Host, HostOptions } from './host.ts'
import type { LinkParams } from './link.ts'
import { type LinkPair, World } from './world.ts'

const SECOND: Micros = 1_000_000
const SERVER_PORT = 4_433
/** What nearly all links carry. */
const USUAL: Partial<LinkParams> = { mtuBytes: 1_500 }
const CHUNK = new Uint8Array(65_536)
const SCRATCH = new Uint8Array(65_536)

export interface BulkOptions {
  readonly seed?: number
  /** Towards the receiver. Carries packets of 1,500 bytes unless it says otherwise. */
  readonly link: Partial<LinkParams>
  /** For acknowledgements. Default: as `link`. */
  readonly back?: Partial<LinkParams>
  readonly congestion?: CongestionController
  /** Connections that send over the one link. Default 1. */
  readonly flowCount?: number
  /** Streams of each connection, a flow each. Default 1. */
  readonly streamCount?: number
  /** Of the core that hosts both sides. Default 64 MiB. */
  readonly memoryBytes?: number
  readonly endpoint?: Partial<EndpointOptions>
  readonly host?: HostOptions
  /** Whether both sides mark packets for explicit congestion notification. Default false. */
  readonly hasEcn?: boolean
}

/** A sender that never runs dry, and what its receiver has got. */
export interface Flow {
  readonly connection: Connection
  readonly stream: Stream
  /** User bytes that arrived in order. */
  receivedBytes: number
  /** Set it, and its receiver reads no more until `resume`. */
  isStalled: boolean
  /** Its receiver's turn to read. */
  read: () => void
}

/**
 * Two hosts, one link, and connections that send as much as they may: what congestion control is
 * measured with. Everything is in virtual time and follows from the seed.
 */
export class Bulk {
  readonly world: World
  readonly flows: Flow[] = []
  readonly pair: LinkPair
  /** Who sends, and who receives: flows of another kind may join in. */
  readonly hosts: readonly [Host, Host]
  readonly sender: Endpoint
  readonly receiver: Endpoint
  private readonly bySource = new Map<number, Flow>()
  private readonly core: Core

  constructor(options: BulkOptions) {
    const { seed = 1, link, back = link, congestion = 'bbr' } = options
    const { flowCount = 1, streamCount = 1 } = options
    this.world = new World(seed)
    this.core = Core.create({ memoryBytes: options.memoryBytes ?? 64 * 1024 * 1024 })
    const hosts = ['sender', 'receiver'].map((name, index) =>
      this.world.host(name, `192.0.2.${index + 1}`, options.host),
    )
    const [from, to] = hosts as [Host, Host]
    this.hosts = [from, to]
    this.pair = this.world.link(from, to, { ...USUAL, ...link }, { ...USUAL, ...back })
    const makeEndpoint = (host: Host, port: number) => {
      const endpoint = new Endpoint({
        core: this.core,
        random: host.random,
        now: host.now,
        options: { congestion, ...options.endpoint },
        hasEcn: options.hasEcn ?? false,
        // What is measured does not depend on it, and keys are not drawn from the seed.
        security: { mode: 'none' },
      })
      const attachment = host.attach(endpoint, [{ port }])
      endpoint.onWork = () => attachment.wake()
      return endpoint
    }
    this.sender = makeEndpoint(from, 0)
    this.receiver = makeEndpoint(to, SERVER_PORT)
    this.receiver.owner = { stream: (stream) => this.receive(stream) }
    this.receiver.setListening(true)
    for (let index = 0; index < flowCount; index++) {
      const peer = { socketIndex: 0, address: to.address, port: SERVER_PORT }
      const connection = this.sender.connect(from.now, peer, {})
      if (connection === undefined) throw new Error('the endpoint takes no more connections')
      for (let count = 0; count < streamCount; count++) this.send(connection)
    }
  }

  /** Lets virtual time pass until so many seconds since the beginning. */
  runUntil(seconds: number): void {
    this.world.run(seconds * SECOND)
  }

  /** User bytes that arrived, of all flows. */
  get receivedBytes(): number {
    return this.flows.reduce((sum, { receivedBytes }) => sum + receivedBytes, 0)
  }

  counters(): EndpointCounters {
    return this.sender.counters()
  }

  close(): void {
    this.sender.destroy()
    this.receiver.destroy()
  }

  /** The receiver of a flow reads again. */
  resume(flow: Flow): void {
    flow.isStalled = false
    flow.read()
    this.receiver.onWork()
  }

  private send(connection: Connection): void {
    const index = this.flows.length
    const failed = (code: number) => {
      throw new Error(`flow ${index} ended with code ${code}`)
    }
    let stream: Stream | undefined
    const write = () => {
      while (stream?.write(CHUNK) === CHUNK.length);
    }
    stream = connection.openStream(index, { readable: () => {}, writable: write, failed })
    if (stream === undefined) throw new Error('the connection takes no more streams')
    const flow: Flow = { connection, stream, receivedBytes: 0, isStalled: false, read: () => {} }
    this.flows.push(flow)
    // The port that the opener calls its own tells which flow it is.
    this.bySource.set(index, flow)
    write()
  }

  private receive(stream: Stream): Stream['owner'] {
    const flow = this.bySource.get(stream.port)
    if (flow === undefined) return undefined
    const readable = () => {
      while (!flow.isStalled) {
        const size = stream.readInto(SCRATCH)
        if (size === 0) return
        flow.receivedBytes += size
      }
    }
    flow.read = readable
    return { readable, writable: () => {}, failed: () => {} }
  }
}
