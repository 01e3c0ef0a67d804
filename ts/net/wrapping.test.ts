/** Our sockets inside the runtime's other modules: http, http2, tls. No module of theirs is patched. */
import http from 'node:http'
import http2 from 'node:http2'
import type builtin from 'node:net'
import { Duplex } from 'node:stream'
import tls from 'node:tls'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { setCarrier } from './carrier.ts'
import net, { configure, type Server } from './index.ts'
import { MemoryCarrier } from './memory-carrier.ts'
import { makeCertificate } from './testing/certificate.ts'

const certificate = makeCertificate()
const trust = { ca: certificate.cert, servername: 'localhost' }

test.before(() => {
  setCarrier(new MemoryCarrier())
  configure({ transport: 'udp' })
})

test.after(() => {
  setCarrier(null)
  configure({ transport: undefined })
})

async function serve(onSocket: (socket: builtin.Socket) => void, options = {}): Promise<Server> {
  const server = net.createServer(options, onSocket)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return server
}

function dial(server: Server, options = {}): builtin.Socket {
  const { port } = server.address() as builtin.AddressInfo
  return net.connect({ port, host: '127.0.0.1', ...options })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

function once(emitter: NodeJS.EventEmitter, event: string): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    emitter.once(event, (...args: unknown[]) => resolve(args))
    if (event !== 'error') emitter.once('error', reject)
  })
}

function collect(stream: NodeJS.ReadableStream): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.once('end', () => resolve(Buffer.concat(chunks)))
    stream.once('error', reject)
  })
}

for (const allowHalfOpen of [false, true]) {
  test(`tls: 300,000 bytes come back after end, raw sockets half-open: ${allowHalfOpen}`, async () => {
    const tlsServer = tls.createServer(certificate, (socket) => socket.pipe(socket))
    const server = await serve((raw) => tlsServer.emit('connection', raw), { allowHalfOpen })
    const client = tls.connect({ ...trust, socket: dial(server, { allowHalfOpen }) })
    client.end(Buffer.alloc(300_000, 'x'))
    assert.is((await collect(client)).length, 300_000)
    assert.ok(client.authorized)
    client.destroy()
    await close(server)
  })
}

test('tls on a socket that talks in the clear first', async () => {
  const server = await serve((raw) => {
    raw.once('data', (question) => {
      assert.is(question.toString(), 'STARTTLS')
      raw.write('GO', () => {
        const secure = new tls.TLSSocket(raw, { isServer: true, ...certificate })
        assert.not(secure.connecting)
        secure.on('data', (data) => secure.end(`secret ${data}`))
      })
    })
  })
  const raw = dial(server)
  raw.write('STARTTLS')
  await once(raw, 'data')
  const client = tls.connect({ ...trust, socket: raw })
  assert.not(client.connecting)
  await once(client, 'secureConnect')
  assert.is(Reflect.get(raw, '_handle'), null)
  client.write('message')
  assert.is((await collect(client)).toString(), 'secret message')
  await once(raw, 'close')
  await close(server)
})

test('tls tells of a refusal and of a reset', async () => {
  const server = await serve((raw) => raw.resetAndDestroy())
  const reset = tls.connect({ ...trust, socket: dial(server) })
  const [error] = (await once(reset, 'error')) as NodeJS.ErrnoException[]
  assert.is(error?.code, 'ECONNRESET')
  const { port } = server.address() as builtin.AddressInfo
  await close(server)
  const raw = net.connect({ port, host: '127.0.0.1' })
  const refused = tls.connect({ ...trust, socket: raw })
  const [other] = (await once(refused, 'error')) as NodeJS.ErrnoException[]
  assert.is(other?.code, 'ECONNREFUSED')
})

test('http: an agent that makes our sockets, a server that is given ours', async () => {
  const httpServer = http.createServer(async (request, response) => {
    assert.is(request.socket.remoteAddress, '127.0.0.1')
    const body = await collect(request)
    response.end(`${request.url} ${body.length}`)
  })
  const server = await serve((socket) => httpServer.emit('connection', socket), {
    allowHalfOpen: true,
  })
  const agent = new http.Agent({ keepAlive: true, maxSockets: 2 })
  Reflect.set(agent, 'createConnection', net.createConnection)
  const { port } = server.address() as builtin.AddressInfo
  const answers = [0, 1, 100, 70_000, 1_000_000].map((size) => {
    const path = `/${size}`
    const request = http.request({ port, host: '127.0.0.1', agent, method: 'POST', path })
    request.end(Buffer.alloc(size))
    return once(request, 'response').then(([response]) =>
      collect(response as http.IncomingMessage).then(String),
    )
  })
  const expected = ['/0 0', '/1 1', '/100 100', '/70000 70000', '/1000000 1000000']
  assert.equal(await Promise.all(answers), expected)
  agent.destroy()
  await close(server)
})

test('http: an upgrade hands our socket out', async () => {
  const httpServer = http.createServer()
  httpServer.on('upgrade', (_request, socket, head) => {
    assert.instance(socket, net.Socket)
    assert.is(head.length, 0)
    socket.write('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
    socket.pipe(socket)
  })
  const server = await serve((socket) => httpServer.emit('connection', socket), {
    allowHalfOpen: true,
  })
  const { port } = server.address() as builtin.AddressInfo
  const headers = { Connection: 'Upgrade', Upgrade: 'echo' }
  const createConnection = () => net.connect({ port, host: '127.0.0.1' })
  const request = http.request({ port, headers, createConnection })
  request.end()
  const [, socket] = (await once(request, 'upgrade')) as [unknown, builtin.Socket]
  socket.end(Buffer.alloc(123_456))
  assert.is((await collect(socket)).length, 123_456)
  await close(server)
})

test('http2: many streams over one of our sockets', async () => {
  const http2Server = http2.createServer((request, response) => response.end(request.url))
  const server = await serve((socket) => http2Server.emit('connection', socket), {
    allowHalfOpen: true,
  })
  const { port } = server.address() as builtin.AddressInfo
  const session = http2.connect(`http://127.0.0.1:${port}`, {
    createConnection: () => dial(server),
  })
  const paths = Array.from({ length: 30 }, (_, index) => `/${index}`)
  const bodies = await Promise.all(
    paths.map(async (path) => String(await collect(session.request({ ':path': path })))),
  )
  assert.equal(bodies, paths)
  session.close()
  await once(session, 'close')
  await close(server)
})

// A peer that speaks frames itself, so that it is sure what arrives together.
function http2Frame(type: number, stream: number, payload: readonly number[] = [], flags = 0) {
  return [0, 0, payload.length, type, flags, 0, 0, 0, stream, ...payload]
}
const SETTINGS = http2Frame(4, 0)
const STATUS_400_END = http2Frame(1, 1, [0x8c], 0x05)
const RESET_WITHOUT_ERROR = http2Frame(3, 1, [0, 0, 0, 0])

/** A stream over a socket; between `hold` and `release` it gathers what then arrives together. */
class GatheringStream extends Duplex {
  private gathered: Buffer[] | null = null
  private readonly socket: builtin.Socket

  constructor(socket: builtin.Socket) {
    super()
    this.socket = socket
    socket.on('data', (data) => this.push(data)).on('end', () => this.push(null))
    socket.on('error', () => {}).on('close', () => this.destroy())
  }

  hold(): void {
    this.gathered = []
  }

  release(): void {
    this.socket.write(Buffer.concat(this.gathered ?? []))
    this.gathered = null
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    if (this.gathered === null) this.socket.write(chunk)
    else this.gathered.push(chunk)
    callback()
  }

  override _final(callback: () => void): void {
    this.socket.end(callback)
  }
}

/** Answers an upload, and resets its stream, when a new session's windows are used up. */
function rejectUpload(stream: Duplex, below: GatheringStream): void {
  const write = (frame: readonly number[]) =>
    new Promise((resolve) => stream.write(Buffer.from(frame), resolve))
  let received = 0
  stream.on('error', () => {})
  stream.on('end', () => stream.end())
  stream.on('data', async (data: Buffer) => {
    const before = received
    received += data.length
    if (before >= 65_535 || received < 65_535) return
    below.hold()
    await write(STATUS_400_END)
    await write(RESET_WITHOUT_ERROR)
    below.release()
  })
  write(SETTINGS)
}

for (const scheme of ['http', 'https'] as const) {
  test(`http2: an upload answered and reset at once ends, and the session closes: ${scheme}`, async () => {
    const seen: Record<string, unknown[]> = {}
    for (const transport of ['tcp', 'udp']) {
      const events: unknown[] = []
      seen[transport] = events
      const server = net.createServer({ transport, allowHalfOpen: true } as never, (socket) => {
        const below = new GatheringStream(socket)
        const options = { ...certificate, isServer: true, ALPNProtocols: ['h2'] }
        const isPlain = scheme === 'http'
        const stream = isPlain ? below : new tls.TLSSocket(below as Duplex as never, options)
        rejectUpload(stream, below)
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const { port } = server.address() as builtin.AddressInfo
      const session = http2.connect(`${scheme}://localhost:${port}`, {
        createConnection: () => {
          const socket = net.connect({ port, host: '127.0.0.1', transport } as never)
          if (scheme === 'http') return socket
          return tls.connect({ ...trust, socket, ALPNProtocols: ['h2'] })
        },
      })
      const request = session.request({ ':method': 'POST' })
      request.on('response', (headers) => events.push('response', headers[':status']))
      request.on('end', () => {
        events.push('end', request.closed)
        session.close()
      })
      request.on('close', () => events.push('close', request.rstCode))
      request.on('error', (error: NodeJS.ErrnoException) => events.push(error.code))
      request.resume()
      request.write(Buffer.alloc(100_000))
      await once(session, 'close')
      await close(server)
    }
    assert.equal(seen['udp'], seen['tcp'])
    assert.equal(seen['tcp'], ['response', 400, 'end', false, 'close', 0])
  })
}

for (const end of ['close', 'destroy'] as const) {
  test(`http2: a session says as over TCP what it is before it is connected, then ${end}`, async () => {
    const seen: Record<string, unknown[]> = {}
    for (const transport of ['tcp', 'udp']) {
      const server = await serve(() => {})
      const { port } = server.address() as builtin.AddressInfo
      await close(server)
      const events: unknown[] = []
      seen[transport] = events
      const session = http2.connect(`http://127.0.0.1:${port}`, {
        createConnection: () => net.connect({ port, host: '127.0.0.1', transport } as never),
      })
      for (const event of ['connect', 'error', 'close'] as const) {
        session.on(event, (error) => events.push([event, (error as { code?: string })?.code]))
      }
      events.push(session.connecting, session.state, session.encrypted)
      session[end]()
      events.push(session.closed, session.destroyed)
      await once(session, 'close')
    }
    assert.equal(seen['udp'], seen['tcp'])
  })
}

test('http2: a refused session fails as over TCP', async () => {
  const seen: Record<string, unknown[]> = {}
  for (const transport of ['tcp', 'udp']) {
    const server = await serve(() => {})
    const { port } = server.address() as builtin.AddressInfo
    await close(server)
    const session = http2.connect(`http://127.0.0.1:${port}`, {
      createConnection: () => net.connect({ port, host: '127.0.0.1', transport } as never),
    })
    const codes: unknown[] = []
    seen[transport] = codes
    const stream = session.request({ ':path': '/' })
    const note = (name: string) => (error: NodeJS.ErrnoException) => codes.push(name, error.code)
    stream.on('error', note('stream'))
    session.on('error', note('session'))
    session.on('connect', () => codes.push('connected'))
    await new Promise((resolve) => session.on('close', resolve))
  }
  assert.equal(seen['udp'], seen['tcp'])
})

test.run()
