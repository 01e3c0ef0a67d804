/** Where most tests of the core begin: two peers with an open connection, or one about to be. */
import { type TestBuild, testCore } from './cores.ts'
import { type Peer, Rig, type RigConnection, type RigOptions, type RigStream } from './rig.ts'

/** Of the network, one way, unless a test changes it. */
export const DELAY_MICROS = 10_000

export interface ConnectedOptions {
  /** Default: the strictest, and no build step stands between a change and its test. */
  readonly build?: TestBuild
  readonly memoryBytes?: number
}

export interface Pair {
  readonly rig: Rig
  readonly client: Peer
  readonly server: Peer
}

export interface Connected extends Pair {
  readonly connection: RigConnection
  /** The server's side of it. */
  readonly accepted: RigConnection
}

export async function pair(
  options: RigOptions = {},
  { build = 'typescript-debug', memoryBytes = 32 * 1024 * 1024 }: ConnectedOptions = {},
): Promise<Pair> {
  const rig = new Rig(await testCore(build, memoryBytes))
  rig.network = () => [DELAY_MICROS]
  return { rig, client: rig.peer(options), server: rig.peer(options) }
}

/** @throws Error when the handshake does not come to its end. */
export async function connected(
  options: RigOptions = {},
  coreOptions: ConnectedOptions = {},
): Promise<Connected> {
  const { rig, client, server } = await pair(options, coreOptions)
  const connection = client.connect(server)
  const isOpen = () => [...server.connections.values()].some((each) => each.isOpen)
  if (!rig.run(() => connection.isOpen && isOpen())) throw new Error('the handshake failed')
  // Nothing of the handshake is on its way any more.
  rig.runFor(4 * DELAY_MICROS)
  return { rig, client, server, connection, accepted: server.lastConnection() }
}

/** The one stream of a peer. */
export function onlyStream(peer: Peer): RigStream {
  const [stream, ...others] = peer.streams.values()
  if (stream === undefined || others.length > 0) {
    throw new Error(`the peer has ${peer.streams.size} streams, not one`)
  }
  return stream
}

/** Reads whatever arrives; answers what has arrived so far, on the first stream unless told which. */
export function collect(peer: Peer): (stream?: RigStream) => Buffer {
  const received = new Map<RigStream, Uint8Array[]>()
  peer.onReadable = (stream) => {
    const bytes = peer.read(stream)
    received.set(stream, [...(received.get(stream) ?? []), bytes])
  }
  return (stream = [...received.keys()][0]) =>
    Buffer.concat(stream === undefined ? [] : (received.get(stream) ?? []))
}
