/** Which way a call goes, and servers that accept both ways on one port number. */
import builtin from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { SocketError } from '../errors.ts'
import { netRegistry, setCarrier } from './carrier.ts'
import net, { configure, type Server, type Socket, type TransportChoice } from './index.ts'
import type { Carrier, Listener, ListenerOwner, ListenTarget } from './line.ts'
import { MemoryCarrier } from './memory-carrier.ts'
import { listenException } from './system-errors.ts'

let carrier = new MemoryCarrier()

test.before.each(() => {
  carrier = new MemoryCarrier()
  setCarrier(carrier)
  configure({ transport: undefined })
  delete process.env['PUNCHLINE_TRANSPORT']
})

test.after(() => {
  setCarrier(null)
  configure({ transport: undefined })
})

function listen(server: Server, options: builtin.ListenOptions = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ port: 0, host: '127.0.0.1', ...options }, () => {
      server.off('error', reject)
      resolve((server.address() as builtin.AddressInfo).port)
    })
  })
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()))
}

/** Fetches what a server says, and by which transport. */
function fetchFrom(port: number, transport?: TransportChoice): Promise<[string, string]> {
  return new Promise((resolve, reject) => {
    let text = ''
    const client: Socket = net.connect({ port, host: '127.0.0.1', transport })
    client.on('data', (data) => {
      text += data.toString()
    })
    client.once('error', reject)
    client.once('close', () => resolve([text, client.stats().transport]))
  })
}

const hello = (): Server => net.createServer((socket) => socket.end(socket.stats().transport))

function codeOf(call: () => unknown): unknown {
  try {
    call()
  } catch (error) {
    assert.instance(error, SocketError)
    return (error as SocketError).code
  }
  return undefined
}

test('a server in auto accepts TCP and UDP on one port number', async () => {
  const server = hello()
  const port = await listen(server)
  assert.equal(await fetchFrom(port), ['tcp', 'tcp'])
  assert.equal(await fetchFrom(port, 'tcp'), ['tcp', 'tcp'])
  assert.equal(await fetchFrom(port, 'udp'), ['udp', 'udp'])
  await close(server)
})

test('auto without a host listens on everything, both ways', async () => {
  const server = hello()
  await new Promise<void>((resolve) => server.listen(resolve))
  const { port } = server.address() as builtin.AddressInfo
  assert.equal(await fetchFrom(port, 'udp'), ['udp', 'udp'])
  assert.equal(await fetchFrom(port, 'tcp'), ['tcp', 'tcp'])
  await close(server)
})

test('after close both ways refuse and the number is free again', async () => {
  const server = hello()
  const port = await listen(server)
  await close(server)
  for (const transport of ['tcp', 'udp'] as const) {
    const error = await fetchFrom(port, transport).catch((reason: Error) => reason)
    assert.match(String(error), /ECONNREFUSED/)
  }
  assert.is(await listen(server, { port }), port)
  await close(server)
})

test('a number that is taken in UDP only is refused as EADDRINUSE', async () => {
  // The kernel knows which numbers are free in TCP, the carrier in memory does not.
  const plain = builtin.createServer()
  const port = await listen(plain as Server)
  await close(plain as Server)
  const other = hello()
  await listen(other, { port, transport: 'udp' } as builtin.ListenOptions)
  const server = hello()
  const error = await listen(server, { port }).catch((reason: NodeJS.ErrnoException) => reason)
  assert.instance(error, Error)
  const { code, syscall, message } = error as NodeJS.ErrnoException
  assert.equal([code, syscall], ['EADDRINUSE', 'listen'])
  assert.is(message, `listen EADDRINUSE: address already in use 127.0.0.1:${port}`)
  assert.not(server.listening)
  // TCP was let go, too.
  await listen(plain as Server, { port })
  await close(plain as Server)
  await close(other)
})

class ScarceCarrier implements Carrier {
  listenCount = 0
  private readonly failures: number
  constructor(failures: number) {
    this.failures = failures
  }
  dial: Carrier['dial'] = (target, owner) => carrier.dial(target, owner)
  listen(target: ListenTarget, owner: ListenerOwner): Listener {
    this.listenCount += 1
    if (this.listenCount <= this.failures) throw listenException('EADDRINUSE', target)
    return carrier.listen(target, owner)
  }
}

test('port 0 is tried again until a number is free both ways', async () => {
  const scarce = new ScarceCarrier(15)
  setCarrier(scarce)
  const server = hello()
  let listeningCount = 0
  server.on('listening', () => {
    listeningCount += 1
  })
  const port = await listen(server)
  assert.is(scarce.listenCount, 16)
  assert.equal(await fetchFrom(port, 'udp'), ['udp', 'udp'])
  assert.is(listeningCount, 1)
  await close(server)
})

test('port 0 gives up after 16 numbers', async () => {
  const scarce = new ScarceCarrier(Number.POSITIVE_INFINITY)
  setCarrier(scarce)
  const server = hello()
  const error = await listen(server).catch((reason: NodeJS.ErrnoException) => reason)
  assert.is((error as NodeJS.ErrnoException).code, 'EADDRINUSE')
  assert.is(scarce.listenCount, 16)
  assert.not(server.listening)
})

test('connections of both ways are counted together', async () => {
  const sockets: builtin.Socket[] = []
  const server = net.createServer((socket) => sockets.push(socket.resume()))
  const port = await listen(server)
  const clients = (['tcp', 'udp'] as const).map((transport) =>
    net.connect({ port, host: '127.0.0.1', transport }).resume(),
  )
  while (sockets.length < 2) await new Promise((resolve) => setImmediate(resolve))
  const count = await new Promise((resolve) => server.getConnections((_, n) => resolve(n)))
  assert.is(count, 2)
  for (const socket of sockets) {
    assert.instance(socket, net.Socket)
    assert.instance(socket, builtin.Socket)
  }
  for (const client of clients) client.end()
  await close(server)
})

test('the call is stronger than the object, that than configure, that than the environment', async () => {
  const server = net.createServer({ transport: 'udp' }, (socket) => socket.end('x'))
  const port = await listen(server)
  process.env['PUNCHLINE_TRANSPORT'] = 'udp'
  assert.equal(await fetchFrom(port), ['x', 'udp'])
  configure({ transport: 'tcp' })
  const refused = await fetchFrom(port).catch((reason: Error) => reason)
  assert.match(String(refused), /ECONNREFUSED/)
  assert.equal(await fetchFrom(port, 'udp'), ['x', 'udp'])
  const socket = new net.Socket({ transport: 'udp' })
  let text = ''
  socket.on('data', (data) => {
    text += data.toString()
  })
  socket.connect(port, '127.0.0.1')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.equal([text, socket.stats().transport], ['x', 'udp'])
  await close(server)
})

test('values that make no sense are refused at once', () => {
  const bad = 'sctp' as TransportChoice
  assert.is(
    codeOf(() => net.connect({ port: 1, transport: bad })),
    'ERR_PUNCHLINE_TRANSPORT_INVALID',
  )
  assert.is(
    codeOf(() => net.createServer({ transport: bad }).listen(0)),
    'ERR_PUNCHLINE_TRANSPORT_INVALID',
  )
  assert.is(
    codeOf(() => configure({ transport: bad })),
    'ERR_PUNCHLINE_TRANSPORT_INVALID',
  )
  process.env['PUNCHLINE_TRANSPORT'] = 'pigeon'
  assert.is(
    codeOf(() => net.connect(1, '127.0.0.1')),
    'ERR_PUNCHLINE_TRANSPORT_INVALID',
  )
})

test('a protection that does not exist is refused at once', () => {
  const security = 'required' as 'none'
  const expected = 'ERR_PUNCHLINE_SECURITY_UNSUPPORTED'
  const dial = { port: 1, host: '127.0.0.1', transport: 'udp', security } as const
  assert.is(
    codeOf(() => net.connect(dial)),
    expected,
  )
  assert.is(
    codeOf(() => new net.Socket({ security, transport: 'udp' }).connect(1)),
    expected,
  )
  const server = net.createServer({ transport: 'udp', security })
  assert.is(
    codeOf(() => server.listen(0)),
    expected,
  )
  assert.not(server.listening)
})

test('without a carrier UDP is refused at once', () => {
  setCarrier(null)
  const registry = netRegistry()
  const makeDefault = registry.makeDefaultCarrier
  registry.makeDefaultCarrier = null
  const expected = 'ERR_PUNCHLINE_NO_CARRIER'
  try {
    assert.is(
      codeOf(() => net.connect({ port: 1, transport: 'udp' })),
      expected,
    )
    assert.is(
      codeOf(() => net.createServer({ transport: 'udp' }).listen(0)),
      expected,
    )
  } finally {
    registry.makeDefaultCarrier = makeDefault
  }
})

test('path and stats tell the way', async () => {
  const server = hello()
  const port = await listen(server)
  for (const transport of ['tcp', 'udp'] as const) {
    const client = net.connect({ port, host: '127.0.0.1', transport })
    assert.is(client.path, undefined)
    await new Promise((resolve) => client.once('connect', resolve))
    const { path } = client
    assert.equal([path?.transport, path?.kind, path?.remotePort], [transport, 'ip', port])
    assert.equal([path?.localPort, path?.family], [client.localPort, 'IPv4'])
    client.resume()
    await new Promise((resolve) => client.once('close', resolve))
    assert.is(client.stats().transport, transport)
    assert.is(client.path, undefined)
  }
  await close(server)
})

test('a name that may be of the cloud says that there is no mediator', async () => {
  const unknown = Object.assign(new Error('getaddrinfo ENOTFOUND'), { code: 'ENOTFOUND' })
  const causeOf = (host: string, transport?: TransportChoice) =>
    new Promise<unknown>((resolve) => {
      const error = Object.assign(new Error(unknown.message), { code: unknown.code })
      const lookup = ((_host, _options, callback) => callback(error, '', 4)) as net.LookupFunction
      const socket = net.connect({ host, port: 1, transport, lookup })
      socket.on('error', ({ code, cause }: NodeJS.ErrnoException) => {
        assert.is(code, 'ENOTFOUND')
        resolve((cause as SocketError | undefined)?.code)
      })
    })
  assert.is(await causeOf('server-1.shop'), 'ERR_PUNCHLINE_NO_MEDIATOR')
  assert.is(await causeOf('shop'), 'ERR_PUNCHLINE_NO_MEDIATOR')
  assert.is(await causeOf('www.example.org'), undefined)
  assert.is(await causeOf('shop', 'tcp'), undefined)
})

test('a peer that never answers is ETIMEDOUT after connectTimeoutMs', async () => {
  const client = net.connect({
    port: 9,
    host: '192.0.2.1',
    transport: 'udp',
    connectTimeoutMs: 30,
  })
  const error = await new Promise<NodeJS.ErrnoException>((resolve) => client.once('error', resolve))
  const { code, syscall, message } = error
  assert.equal([code, syscall, message], ['ETIMEDOUT', 'connect', 'connect ETIMEDOUT 192.0.2.1:9'])
})

test('a silent first address is left after the attempt timeout', async () => {
  setCarrier(new MemoryCarrier({ silentAddresses: ['127.0.0.9'] }))
  const server = hello()
  const port = await listen(server, { transport: 'udp' } as builtin.ListenOptions)
  const events: string[] = []
  const lookup = (_host: string, _options: object, callback: (...args: unknown[]) => void) =>
    setImmediate(callback, null, [
      { address: '127.0.0.9', family: 4 },
      { address: '127.0.0.1', family: 4 },
    ])
  const client = net.connect({
    port,
    host: 'two.addresses',
    transport: 'udp',
    lookup: lookup as never,
    autoSelectFamilyAttemptTimeout: 10,
  })
  for (const event of ['connectionAttempt', 'connectionAttemptTimeout', 'connect'] as const) {
    client.on(event, (ip?: string) => events.push(`${event} ${ip ?? ''}`))
  }
  client.resume()
  await new Promise((resolve) => client.once('close', resolve))
  assert.equal(events, [
    'connectionAttempt 127.0.0.9',
    'connectionAttemptTimeout 127.0.0.9',
    'connectionAttempt 127.0.0.1',
    'connect ',
  ])
  await close(server)
})

test.run()
