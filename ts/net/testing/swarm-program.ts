/**
 * Opens, uses and destroys sockets in random order and ways: `SWARM_SOCKETS` in one wave, waves
 * until `SWARM_SECONDS` are over, everything drawn from `SWARM_SEED`. Prints what came out and must
 * then end by itself.
 */
import net, { type Server, type Socket } from '../index.ts'

const socketCount = Number(process.env['SWARM_SOCKETS'] ?? 1000)
const seconds = Number(process.env['SWARM_SECONDS'] ?? 0)
let state = Number(process.env['SWARM_SEED'] ?? 1) | 1

/** Marsaglia's xorshift: good enough for chaos. */
function below(limit: number): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % limit
}

const bytes = Buffer.alloc(200_000, 'swarm')
/** What may become of a socket that is torn down in the middle of something. */
const legalCodes = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'EPIPE',
  'ECANCELED',
  'ERR_STREAM_DESTROYED',
  'ERR_SOCKET_CLOSED',
  'ERR_SOCKET_CLOSED_BEFORE_CONNECTION',
  'ERR_STREAM_WRITE_AFTER_END',
])
const illegal: string[] = []
const open = new Set<Socket>()
let opened = 0
let connected = 0
let received = 0

const acts: readonly ((socket: Socket) => unknown)[] = [
  (socket) => socket.write(bytes.subarray(0, below(100))),
  (socket) => socket.write(bytes.subarray(0, below(bytes.length))),
  (socket) => socket.end(bytes.subarray(0, below(5_000))),
  (socket) => socket.destroy(),
  (socket) => socket.resetAndDestroy(),
  (socket) => socket.destroySoon(),
  (socket) => socket.pause(),
  (socket) => socket.resume(),
  (socket) => socket.setTimeout(1 + below(50), () => socket.destroy()),
  (socket) => socket.setKeepAlive(below(2) === 0, below(1_000)),
  (socket) => socket.setNoDelay(below(2) === 0),
  (socket) => socket.unref(),
  (socket) => socket.ref(),
  (socket) => socket.cork(),
  (socket) => socket.uncork(),
  (socket) => socket.stats(),
]

function live(socket: Socket): void {
  open.add(socket)
  opened += 1
  socket.on('close', () => open.delete(socket))
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (!legalCodes.has(error.code ?? '')) illegal.push(`${error.code} ${error.message}`)
  })
  if (below(3) > 0) {
    socket.on('data', (data: Buffer) => {
      received += data.length
      if (below(8) === 0) act(socket)
    })
  }
  for (let count = below(4); count > 0; count -= 1) act(socket)
}

function act(socket: Socket): void {
  const one = acts[below(acts.length)]
  // Some orders are the caller's mistake, as on node:net: resetting what is closed, for instance.
  if (!socket.destroyed) one?.(socket)
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function serve(): Promise<Server> {
  const server = net.createServer({ allowHalfOpen: below(2) === 0 }, (socket) => live(socket))
  server.listen({ port: 0, host: '127.0.0.1', transport: 'udp' })
  await new Promise((resolve) => server.once('listening', resolve))
  return server
}

async function wave(): Promise<void> {
  const servers = [await serve(), await serve(), await serve()]
  const ports = servers.map((server) => (server.address() as net.AddressInfo).port)
  for (let index = 0; index < socketCount; index += 1) {
    const port = ports[below(ports.length)] as number
    const allowHalfOpen = below(2) === 0
    const socket = net.connect({ port, host: '127.0.0.1', transport: 'udp', allowHalfOpen })
    socket.on('connect', () => {
      connected += 1
    })
    live(socket)
    if (below(10) === 0) await turn()
    const all = [...open]
    for (let count = below(6); count > 0; count -= 1) {
      const other = all[below(all.length)]
      if (other !== undefined) act(other)
    }
    // A server may go while sockets connect to it.
    if (index === socketCount >> 1) servers[0]?.close()
  }
  while (open.size > 0) {
    for (const socket of open) {
      const way = below(3)
      if (way === 0) socket.destroy()
      else if (way === 1) socket.resetAndDestroy()
      else
        socket
          .end()
          .resume()
          .setTimeout(20, () => socket.destroy())
    }
    for (let count = 0; count < 50; count += 1) await turn()
  }
  for (const server of servers.slice(1)) {
    await new Promise((resolve) => server.close(resolve))
  }
}

/** Heap in use with all garbage gone; needs --expose-gc. */
async function heapBytes(): Promise<number> {
  for (let count = 0; count < 5; count += 1) {
    await turn()
    globalThis.gc?.()
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const end = Date.now() + seconds * 1000
let waves = 0
let heapBefore = 0
do {
  await wave()
  waves += 1
  // The first waves fill caches and compile code.
  if (waves === 2) heapBefore = await heapBytes()
} while (waves < 4 || Date.now() < end)
const heapGrowth = (await heapBytes()) - heapBefore
process.on('exit', () => {
  console.log(JSON.stringify({ waves, opened, connected, received, illegal, heapGrowth }))
})
