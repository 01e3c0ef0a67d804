import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import tls from 'node:tls'
import type { Party, PeerAddress } from './party.ts'
import { makeSelfSigned } from './self-signed.ts'
import { type SocketLibrary, socketParty } from './socket-scenarios.ts'

const HOST = '127.0.0.1'

/** The kernel's TCP: what everything else is compared with. */
export const netParty: Party = socketParty(async () => ({
  listen: async (host, onSocket) => {
    const server = net.createServer({ noDelay: true }, onSocket)
    return listening(server, host)
  },
  connect: async ({ host, port }) => {
    const socket = net.connect({ host, port, noDelay: true })
    await once(socket, 'connect')
    return socket
  },
}))

/** TLS over the kernel's TCP, as Node negotiates it by default. */
export const tlsParty: Party = socketParty(async () => ({
  listen: async (host, onSocket) => {
    const { key, certificate } = makeSelfSigned(host)
    const server = tls.createServer({ key, cert: certificate, noDelay: true }, onSocket)
    return listening(server, host, certificate)
  },
  connect: async ({ host, port, extra: certificate }) => {
    const raw = net.connect({ host, port, noDelay: true })
    const socket = tls.connect({
      socket: raw,
      host,
      ...(certificate === undefined ? {} : { ca: certificate }),
    })
    await once(socket, 'secureConnect')
    return socket
  },
  details: (socket) => {
    if (!(socket instanceof tls.TLSSocket)) return {}
    return { security: `${socket.getProtocol()} ${socket.getCipher().name}` }
  },
}))

/** The part of `punchline/net` used here; its declarations exist only once it is built. */
interface PunchlineNet {
  configure(options: object): void
  createServer(options: object, onSocket: (socket: net.Socket) => void): net.Server
  connect(options: object): PunchlineSocket
}

type PunchlineSocket = net.Socket & {
  stats(): {
    transport: string
    backend?: string
    security?: string
    packetsRetransmitted?: number
  }
}

/**
 * What sockets of one process to one server have in common: a connection, of which each is a stream;
 * only the UDP socket, with ids and keys of their own; or nothing.
 */
export type Sharing = 'connection' | 'port' | 'nothing'

export interface PunchlineChoice {
  readonly security: 'noise' | 'none'
  /** Of the environment. */
  readonly settings: Readonly<Record<string, string>>
  /** Of `configure`. */
  readonly endpoint: { readonly packetBytesMax?: number; readonly memoryBytes?: number }
  readonly sharing: Sharing
}

/** Punchline's own transport, as this checkout builds it. */
export const punchlineParty = (choice: PunchlineChoice): Party =>
  socketParty(() => loadPunchline(choice))

async function loadPunchline({
  security,
  settings,
  endpoint,
  sharing,
}: PunchlineChoice): Promise<SocketLibrary> {
  Object.assign(process.env, settings)
  // Not a literal: the types of the build would be needed to check it.
  const specifier: string = 'punchline/net'
  const punchline: PunchlineNet = await import(specifier)
  punchline.configure({ endpoint })
  const choice = { transport: 'udp', security, noDelay: true }
  const own = {
    connection: () => ({}),
    // Sockets share a connection only if they ask the same of the peer.
    port: () => ({ security: { mode: security, verify: () => true } }),
    nothing: () => ({ localAddress: HOST }),
  }[sharing]
  return {
    listen: (host, onSocket) =>
      listening(punchline.createServer(choice, onSocket), host, undefined, { transport: 'udp' }),
    connect: async ({ host, port }) => {
      const socket = punchline.connect({ ...choice, ...own(), host, port })
      await once(socket, 'connect')
      const { transport } = socket.stats()
      if (transport !== 'udp') throw new Error(`the socket went over ${transport}`)
      return socket
    },
    details: (socket) => {
      const { backend = '?', security = '?' } = statsOf(socket)
      return { backend, security }
    },
    figures: (socket) => {
      const { packetsRetransmitted = 0 } = statsOf(socket)
      return { packetsRetransmitted }
    },
  }
}

function statsOf(socket: Duplex): ReturnType<PunchlineSocket['stats']> {
  return (socket as PunchlineSocket).stats()
}

async function listening(
  server: net.Server,
  host: string,
  extra?: string,
  options: object = {},
): Promise<{ address: PeerAddress; close(): void }> {
  server.listen({ host, port: 0, ...options })
  await once(server, 'listening')
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('no address to listen on')
  const address = { host, port: bound.port, ...(extra === undefined ? {} : { extra }) }
  return { address, close: () => server.close() }
}
