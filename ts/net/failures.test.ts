/** What goes wrong on real sockets: each gets the error that `node:net` would give, or is counted. */
import { type ChildProcess, fork } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Core } from '../../bindings/core.ts'
import { getCarrier } from './carrier.ts'
import { configure, connect, createServer, type Server, type Socket } from './index.ts'
import type { UdpCarrier } from './udp-carrier.ts'

const WAIT_MS = 20_000
/** Only its CRC32C is used. */
const coreForChecksum = Core.create({ memoryBytes: 4 * 1024 * 1024 })

/** Fails a promise that takes too long; the timer is cleared in any case. */
async function within<Value>(promise: Promise<Value>, what: string): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`timed out: ${what}`)), WAIT_MS)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

interface Failure extends NodeJS.ErrnoException {
  readonly address?: string
  readonly port?: number
}

function dial(port: number, options: object = {}): Socket {
  return connect({ port, host: '127.0.0.1', transport: 'udp', ...options })
}

/** The error of a socket that is expected to fail, after its 'close'. */
async function failureOf(socket: Socket): Promise<Failure> {
  const closed = once(socket, 'close')
  const [error] = await within(
    once(socket, 'error').catch((error) => [error]),
    'error',
  )
  await within(
    closed.catch(() => []),
    'close',
  )
  return error as Failure
}

async function listen(onConnection: (socket: Socket) => void = () => {}): Promise<Server> {
  const server = createServer(onConnection)
  server.listen({ port: 0, host: '127.0.0.1', transport: 'udp' } as never)
  await within(once(server, 'listening'), 'listening')
  return server
}

function portOf(server: Server): number {
  return (server.address() as { port: number }).port
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close')
  server.close()
  await within(closed, 'server close')
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const { port } = socket.address()
  socket.close()
  await once(socket, 'close')
  return port
}

function totals(): Record<string, number> {
  return { ...(getCarrier() as UdpCarrier).totals() }
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const poll = async () => {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve))
  }
  await within(poll(), what)
}

test('an unknown host fails with the lookup error', async () => {
  const error = await failureOf(
    connect({ host: 'no.such.host.invalid', port: 1, transport: 'udp' }),
  )
  const reference = await failureOf(
    connect({ host: 'no.such.host.invalid', port: 1, transport: 'tcp' }),
  )
  assert.is(error.code, reference.code)
  assert.is(error.syscall, 'getaddrinfo')
})

test('a closed port with nothing behind it refuses', async () => {
  const port = await freePort()
  const error = await failureOf(dial(port))
  assert.is(error.message, `connect ECONNREFUSED 127.0.0.1:${port}`)
  assert.is(error.code, 'ECONNREFUSED')
  assert.is(error.syscall, 'connect')
  assert.is(error.port, port)
})

test('a port of a process that does not listen on it refuses', async () => {
  // Our client endpoint is Punchline without a listener.
  const server = await listen((socket) => socket.resume())
  const socket = dial(portOf(server))
  await within(once(socket, 'connect'), 'connect')
  const port = socket.path?.localPort as number
  const error = await failureOf(dial(port))
  assert.is(error.message, `connect ECONNREFUSED 127.0.0.1:${port}`)
  socket.destroy()
  await close(server)
})

test('a port that a server has left refuses although its sockets live on', async () => {
  const server = await listen((socket) => socket.on('error', () => {}).resume())
  const port = portOf(server)
  const first = dial(port)
  await within(once(first, 'connect'), 'connect')
  server.close()
  const error = await failureOf(dial(port))
  assert.is(error.message, `connect ECONNREFUSED 127.0.0.1:${port}`)
  const closed = once(server, 'close')
  first.destroy()
  await within(closed, 'server close')
})

test('a peer that never answers is ETIMEDOUT after connectTimeoutMs', async () => {
  const silent = createSocket('udp4')
  silent.bind(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address()
  const error = await failureOf(dial(port, { connectTimeoutMs: 700 }))
  silent.close()
  assert.is(error.message, `connect ETIMEDOUT 127.0.0.1:${port}`)
  assert.is(error.code, 'ETIMEDOUT')
})

/** Runs `use` with a process that echoes; ends it in any case. */
async function withEchoProcess(use: (child: ChildProcess, port: number) => Promise<void>) {
  const child = fork(fileURLToPath(new URL('./testing/echo-process.ts', import.meta.url)), {
    execArgv: ['--import', 'tsx'],
  })
  try {
    const [port] = (await within(once(child, 'message'), 'port of the child')) as [number]
    await use(child, port)
  } finally {
    child.kill('SIGKILL')
    configure({ endpoint: {} })
  }
}

for (const [what, signal, code] of [
  ['a killed peer has reset its connections', 'SIGKILL', 'ECONNRESET'],
  ['a peer that falls silent is noticed', 'SIGSTOP', 'ETIMEDOUT'],
] as const) {
  test(what, async () => {
    configure({ endpoint: { idleTimeoutMs: 1500, keepAliveMs: 300 } })
    await withEchoProcess(async (child, port) => {
      const socket = dial(port)
      await within(once(socket, 'connect'), 'connect')
      socket.write('x')
      await within(once(socket, 'data'), 'echo')
      const failed = failureOf(socket)
      child.kill(signal)
      const error = await failed
      assert.is(error.message, `read ${code}`)
      assert.is(error.code, code)
    })
  })
}

test('what a peer sent before its process ended is read afterwards', async () => {
  await withEchoProcess(async (child, port) => {
    const socket = dial(port, { allowHalfOpen: true })
    socket.on('error', (error) => received.push(Buffer.from(error.message)))
    const received: Buffer[] = []
    socket.pause()
    socket.end(Buffer.alloc(50_000, 'x'))
    await within(once(socket, 'finish'), 'finish')
    const exited = once(child, 'exit')
    child.send('leave')
    await within(exited, 'exit of the child')
    socket.on('data', (data: Buffer) => received.push(data))
    socket.resume()
    await within(once(socket, 'close'), 'close')
    assert.is(Buffer.concat(received).length, 50_000)
    assert.ok(socket.readableEnded)
  })
})

test('a process that exits ends the sockets it leaves open', async () => {
  await withEchoProcess(async (child, port) => {
    const socket = dial(port)
    socket.write('x')
    await within(once(socket, 'data'), 'echo')
    const ended = once(socket, 'end')
    const closed = once(socket, 'close')
    child.send('exit')
    await within(ended, 'end')
    assert.equal(await within(closed, 'close'), [false])
  })
})

test('a connection that is reset as soon as it is accepted was open', async () => {
  // The server's last socket and its listener go in the same turn: nobody may miss the reset.
  const server = await listen((socket) => {
    server.close()
    socket.resetAndDestroy()
  })
  const socket = dial(portOf(server))
  let isOpened = false
  socket.once('connect', () => {
    isOpened = true
  })
  const error = await failureOf(socket)
  assert.is(error.message, 'read ECONNRESET')
  assert.ok(isOpened)
})

test('the address that means any is this machine', async () => {
  const server = await listen((socket) => socket.end())
  const socket = dial(portOf(server), { host: '0.0.0.0' })
  await within(once(socket, 'connect'), 'connect')
  assert.is(socket.remoteAddress, '127.0.0.1')
  socket.destroy()
  await close(server)
  const port = await freePort()
  const error = await failureOf(dial(port, { host: '0.0.0.0' }))
  assert.is(error.message, `connect ECONNREFUSED 0.0.0.0:${port}`)
})

test('corrupted, foreign and other-version packets are dropped and counted', async () => {
  const server = await listen((socket) => socket.pipe(socket))
  const port = portOf(server)
  const stranger = createSocket('udp4')
  const answers: Buffer[] = []
  stranger.on('message', (message) => answers.push(message))
  const before = totals()
  const send = (bytes: Buffer) => stranger.send(bytes, port, '127.0.0.1')
  const initial = Buffer.alloc(1200)
  initial[0] = 0xe0
  // Another version: answered once, and named.
  initial.writeUInt32LE(0x504c00ff, 10)
  initial.writeUInt16LE(5, 22)
  send(initial)
  // Ours, but broken on the way: no answer.
  const broken = Buffer.from(initial)
  broken.writeUInt32LE(0x504c0001, 10)
  send(broken)
  send(Buffer.from('GET / HTTP/1.1\r\n'))
  send(Buffer.from([0xe0, 1, 2, 3]))
  send(Buffer.from([0xff]))
  send(Buffer.alloc(0))
  const grown = (name: string) => (totals()[name] ?? 0) - (before[name] ?? 0)
  await until(() => grown('datagramsReceived') >= 4 && answers.length === 1, 'the packets')
  assert.is(grown('droppedVersion'), 1)
  assert.is(grown('droppedCorrupt'), 1)
  assert.is(grown('droppedForeign'), 1)
  assert.is(grown('droppedMalformed'), 1)
  assert.is((answers[0] as Buffer)[0], 0xe3)
  stranger.close()
  // And the endpoint serves on.
  const socket = dial(port)
  socket.end('still here')
  const [data] = await within(once(socket, 'data'), 'echo')
  assert.is(String(data), 'still here')
  await within(once(socket, 'close'), 'close')
  await close(server)
})

test('a peer of another version is refused with a cause', async () => {
  const other = createSocket('udp4')
  other.on('message', (message, from) => {
    if (message.length < 1200) return
    // What a peer of another version answers: its version packet, here our own with another list.
    const answer = Buffer.alloc(32)
    answer[0] = 0xe3
    message.copy(answer, 2, 14, 22)
    answer.writeUInt32LE(0x504c0001, 10)
    message.copy(answer, 14, 2, 10)
    answer.writeUInt16LE(4, 22)
    answer.writeUInt32LE(0x504c0002, 24)
    const { u8, exports: core } = coreForChecksum
    u8.set(answer.subarray(0, 28), 0x50000)
    answer.writeInt32LE(core.crc32c(0x50000, 28), 28)
    other.send(answer, from.port, from.address)
  })
  other.bind(0, '127.0.0.1')
  await once(other, 'listening')
  const error = await failureOf(dial(other.address().port))
  other.close()
  assert.is(error.code, 'EPROTO')
  assert.is((error.cause as { code?: string }).code, 'ERR_PUNCHLINE_VERSION')
})

test('what a listener throws costs no other connection anything', async () => {
  const server = await listen((socket) => socket.pipe(socket))
  const port = portOf(server)
  const bad = dial(port)
  const good = dial(port)
  await within(Promise.all([once(bad, 'connect'), once(good, 'connect')]), 'connect')
  const thrown = new Error('a mistake of the program')
  const caught = new Promise((resolve) => {
    process.once('uncaughtException', resolve)
  })
  bad.once('data', () => {
    throw thrown
  })
  let echoed = ''
  good.on('data', (data) => {
    echoed += data
  })
  bad.write('boom')
  good.end('fine')
  assert.is(await within(caught, 'the exception'), thrown)
  await within(once(good, 'close'), 'close')
  assert.is(echoed, 'fine')
  bad.destroy()
  await close(server)
})

test.run()
