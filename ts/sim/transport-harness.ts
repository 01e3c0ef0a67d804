import { Core, type CoreOptions } from '../../bindings/core.ts'
import {
  type Connection,
  type ConnectionOwner,
  Endpoint,
  type EndpointOptions,
  type EndpointSecurity,
  type Stream,
  type StreamOwner,
} from '../transport/index.ts'
import type {
  ConnectionHandlers,
  HarnessConnection,
  HarnessEndpoint,
  EndpointOptions as HarnessEndpointOptions,
  HarnessRun,
  HarnessStream,
  StreamHandlers,
  TransportHarness,
} from './harness.ts'
import type { Attachment } from './host.ts'
import type { World } from './world.ts'

export interface TransportHarnessOptions {
  readonly core?: CoreOptions
  /** Makes the core of a run, for instance one that is not compiled. Default: from `core`. */
  readonly makeCore?: () => Core
  readonly endpoint?: Partial<EndpointOptions>
  /** Default: encrypted, with keys that the seed gives. */
  readonly security?: EndpointSecurity
}

/** The transport of this package in the simulated world: all endpoints of a run in one core. */
export function transportHarness(options: TransportHarnessOptions = {}): TransportHarness {
  return {
    name: options.security?.mode === 'none' ? 'transport-plain' : 'transport',
    open: (world) => {
      const core = options.makeCore?.() ?? Core.create(options.core)
      return new Run(world, core, options)
    },
  }
}

class Run implements HarnessRun {
  private readonly world: World
  private readonly core: Core
  private readonly options: TransportHarnessOptions
  private readonly endpoints: Endpoint[] = []

  constructor(world: World, core: Core, options: TransportHarnessOptions) {
    this.world = world
    this.core = core
    this.options = options
  }

  endpoint(options: HarnessEndpointOptions): HarnessEndpoint {
    const { host, accept } = options
    const endpoint = new Endpoint({
      core: this.core,
      random: host.random,
      now: host.now,
      hasEcn: true,
      options: this.options.endpoint ?? {},
      security: this.options.security ?? {},
    })
    this.endpoints.push(endpoint)
    const { address, port } = options
    const attachment = host.attach(endpoint, [
      { ...(address === undefined ? {} : { address }), ...(port === undefined ? {} : { port }) },
    ])
    endpoint.onWork = () => attachment.wake()
    const handlersOf = new WeakMap<Connection, ConnectionHandlers>()
    endpoint.owner = {
      connection: (connection) => {
        if (accept === undefined) return
        const handlers = accept(new HarnessedConnection(connection))
        handlersOf.set(connection, handlers)
        connection.owner = ownerOf(handlers)
      },
      stream: (stream) => {
        const handlers = handlersOf.get(stream.connection)?.stream?.(new HarnessedStream(stream))
        return handlers === undefined ? undefined : streamOwnerOf(handlers)
      },
    }
    if (accept !== undefined) endpoint.setListening(true)
    return new HarnessedEndpoint(endpoint, attachment)
  }

  close(): void {
    for (const endpoint of this.endpoints) endpoint.destroy()
    this.world.report('closed')
  }
}

class HarnessedEndpoint implements HarnessEndpoint {
  readonly attachment: Attachment
  private readonly endpoint: Endpoint

  constructor(endpoint: Endpoint, attachment: Attachment) {
    this.endpoint = endpoint
    this.attachment = attachment
  }

  connect(address: string, port: number, handlers: ConnectionHandlers): HarnessConnection {
    const to = { socketIndex: 0, address, port }
    const now = this.attachment.host.now
    const connection = this.endpoint.connect(now, to, ownerOf(handlers))
    if (connection === undefined) throw new Error('the endpoint takes no more connections')
    return new HarnessedConnection(connection)
  }
}

function ownerOf(handlers: ConnectionHandlers): ConnectionOwner {
  return {
    opened: () => handlers.opened?.(),
    closed: (code) => handlers.closed?.(`code ${code}`),
  }
}

function streamOwnerOf(handlers: StreamHandlers): StreamOwner {
  return {
    readable: () => handlers.readable(),
    writable: () => handlers.writable(),
    refused: (code) => handlers.failed(`refused, code ${code}`),
    failed: (code) => handlers.failed(`code ${code}`),
  }
}

class HarnessedConnection implements HarnessConnection {
  private readonly connection: Connection

  constructor(connection: Connection) {
    this.connection = connection
  }

  openStream(handlers: StreamHandlers): HarnessStream {
    const stream = this.connection.openStream(0, streamOwnerOf(handlers))
    if (stream === undefined) throw new Error('the connection takes no more streams')
    return new HarnessedStream(stream)
  }

  probeTimeoutMicros(): number {
    return this.connection.figures().probeTimeoutMicros
  }

  close(): void {
    this.connection.close()
  }
}

class HarnessedStream implements HarnessStream {
  private readonly stream: Stream

  constructor(stream: Stream) {
    this.stream = stream
  }

  get id(): number {
    return this.stream.number
  }

  write(bytes: Uint8Array): number {
    return this.stream.write(bytes)
  }

  finish(): void {
    this.stream.finish()
  }

  readInto(target: Uint8Array): number {
    return this.stream.readInto(target)
  }

  get ended(): boolean {
    return this.stream.ended
  }
}
