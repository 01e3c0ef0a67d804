/** Two engines and what lies between them, on a virtual clock: somebody in the middle may change it. */
import { Core } from '../../../bindings/core.ts'
import {
  type Connection,
  type ConnectionOwner,
  Endpoint,
  type EndpointOptions,
  type EndpointSecurity,
  type HandshakeReport,
  type InitiatorDemands,
  type Stream,
} from '../../transport/index.ts'
import { SeededRandom } from '../random.ts'

export interface WireOptions {
  readonly seed?: number
  readonly core?: Core
  readonly client?: EndpointSecurity
  readonly server?: EndpointSecurity
  readonly endpoint?: Partial<EndpointOptions>
}

/** Which way a datagram goes. */
export type Direction = 'to server' | 'to client'

const CLIENT = { socketIndex: 0, address: '192.0.2.1', port: 1111 }
const SERVER = { socketIndex: 0, address: '192.0.2.2', port: 2222 }
const DELAY_MICROS = 5_000

export class Wire {
  now = 1_000_000
  readonly core: Core
  readonly random: SeededRandom
  readonly client: Endpoint
  readonly server: Endpoint
  /** Connections that the server's program has seen. */
  readonly accepted: Connection[] = []
  readonly reports: HandshakeReport[] = []
  /** Every byte that the server's program was given. */
  received = Buffer.alloc(0)
  readonly datagrams: { readonly direction: Direction; readonly bytes: Uint8Array }[] = []
  /** What becomes of a datagram; undefined: it is lost. */
  change: (direction: Direction, bytes: Uint8Array) => Uint8Array | undefined = (_, bytes) => bytes
  private flights: { at: number; direction: Direction; bytes: Uint8Array }[] = []

  constructor(options: WireOptions = {}) {
    const { seed = 1, core = Core.create({ memoryBytes: 16 << 20 }) } = options
    this.core = core
    this.random = new SeededRandom(seed)
    const make = (security: EndpointSecurity = {}) =>
      new Endpoint({
        core,
        random: this.random,
        now: this.now,
        security,
        ...(options.endpoint === undefined ? {} : { options: options.endpoint }),
      })
    this.client = make(options.client)
    this.server = make(options.server)
    this.server.setListening(true)
    this.server.owner = {
      connection: (connection) => this.accepted.push(connection),
      stream: (stream) => this.ownerOf(stream),
      handshakeFailed: (report) => this.reports.push(report),
    }
  }

  private ownerOf(stream: Stream) {
    const read = () => {
      const bytes = stream.read()
      if (bytes === null) return
      this.received = Buffer.concat([this.received, bytes])
      // An echo, so that both directions have something to lose.
      stream.write(bytes)
    }
    return { readable: read, writable() {}, failed() {} }
  }

  connect(demands: Partial<InitiatorDemands> = {}, owner: ConnectionOwner = {}): Connection {
    const connection = this.client.connect(this.now, SERVER, owner, { security: demands })
    if (connection === undefined) throw new Error('the client takes no more connections')
    return connection
  }

  /** Runs until `isDone`, for `micros` at most; whether it was. */
  run(isDone: () => boolean, micros = 10e6): boolean {
    const until = this.now + micros
    while (this.now <= until) {
      this.settle()
      if (isDone()) return true
      const due = [...this.flights.map(({ at }) => at), ...this.timeouts()]
      const next = Math.ceil(Math.min(...due))
      if (!(next <= until)) break
      this.now = Math.max(next, this.now + 1)
    }
    this.now = until
    this.settle()
    return isDone()
  }

  private timeouts(): number[] {
    return [this.client, this.server].map((endpoint) => endpoint.nextTimeout())
  }

  private settle(): void {
    for (let isBusy = true; isBusy; ) {
      isBusy = false
      const arrived = this.flights.filter(({ at }) => at <= this.now)
      this.flights = this.flights.filter(({ at }) => at > this.now)
      for (const { direction, bytes } of arrived) this.deliver(direction, bytes)
      for (const endpoint of [this.client, this.server]) {
        if (endpoint.nextTimeout() <= this.now) endpoint.timeout(this.now)
        while (endpoint.flush(this.now) > 0) {
          isBusy = true
          endpoint.collect((_, bytes) => {
            const direction = endpoint === this.client ? 'to server' : 'to client'
            this.send(direction, Uint8Array.from(bytes))
          })
        }
      }
    }
  }

  private send(direction: Direction, bytes: Uint8Array): void {
    const changed = this.change(direction, bytes)
    if (changed === undefined) return
    this.datagrams.push({ direction, bytes: changed })
    this.flights.push({ at: this.now + DELAY_MICROS, direction, bytes: changed })
  }

  /** Hands a datagram to one side at once. */
  deliver(direction: Direction, bytes: Uint8Array): void {
    const isUp = direction === 'to server'
    const endpoint = isUp ? this.server : this.client
    endpoint.deliver(isUp ? CLIENT : SERVER, bytes)
    endpoint.ingest(this.now, 1)
  }

  close(): void {
    this.client.destroy()
    this.server.destroy()
  }
}
