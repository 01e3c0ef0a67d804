/** The runtime's own errors are the oracle: each is provoked and compared with ours. */
import net from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  attemptsException,
  codeOf,
  errnoException,
  hostPortException,
  isSystemErrorCode,
  listenException,
  nodeError,
} from './system-errors.ts'

function describe(error: Error): object {
  return {
    kind: error.constructor.name,
    name: error.name,
    message: error.message,
    text: String(error),
    firstLine: error.stack?.split('\n')[0],
    fields: { ...error },
  }
}

function failureOf(emitter: net.Socket | net.Server): Promise<Error> {
  return new Promise((resolve) => emitter.once('error', resolve))
}

async function closedPort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  await new Promise<void>((resolve) => server.close(() => resolve()))
  return port
}

test('a refusal', async () => {
  const port = await closedPort()
  const expected = await failureOf(net.connect(port, '127.0.0.1'))
  const actual = hostPortException('ECONNREFUSED', 'connect', { address: '127.0.0.1', port })
  assert.equal(describe(actual), describe(expected))
})

test('a local address that cannot be bound', async () => {
  const expected = await failureOf(
    net.connect({ port: 9, host: '127.0.0.1', localAddress: '192.0.2.1' }),
  )
  const actual = hostPortException('EADDRNOTAVAIL', 'bind', { address: '192.0.2.1' })
  assert.equal(describe(actual), describe(expected))
})

test('a taken port and an address that is not ours', async () => {
  const first = net.createServer()
  await new Promise<void>((resolve) => first.listen(0, '127.0.0.1', resolve))
  const { port } = first.address() as net.AddressInfo
  const taken = await failureOf(net.createServer().listen(port, '127.0.0.1'))
  first.close()
  const address = '127.0.0.1'
  assert.equal(describe(listenException('EADDRINUSE', { address, port })), describe(taken))
  const foreign = await failureOf(net.createServer().listen(0, '192.0.2.1'))
  const actual = listenException('EADDRNOTAVAIL', { address: '192.0.2.1', port: 0 })
  assert.equal(describe(actual), describe(foreign))
})

test('errors of an open connection', async () => {
  const server = net.createServer((socket) => socket.on('error', () => {}).resume())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve))
  const client = net.connect(port, '127.0.0.1')
  const failure = accepted.then(failureOf)
  await accepted
  client.resetAndDestroy()
  assert.equal(describe(errnoException('ECONNRESET', 'read')), describe(await failure))
  server.close()
})

test("the runtime's own codes", async () => {
  const socket = new net.Socket()
  const closed = failureOf(socket)
  socket.resetAndDestroy()
  assert.equal(describe(nodeError('ERR_SOCKET_CLOSED')), describe(await closed))
  const other = net.connect(9, '127.0.0.1')
  const cut = new Promise<Error>((resolve) => other.write('x', (error) => resolve(error as Error)))
  other.destroy()
  const expected = describe(await cut)
  assert.equal(describe(nodeError('ERR_SOCKET_CLOSED_BEFORE_CONNECTION')), expected)
  const lookup = (_host: string, _options: object, callback: (...args: unknown[]) => void) =>
    callback(null, 'nonsense', 4)
  const invalid = await failureOf(
    net.connect({ port: 9, host: 'x', family: 4, lookup: lookup as never }),
  )
  const actual = nodeError('ERR_INVALID_IP_ADDRESS', 'Invalid IP address: nonsense')
  assert.equal(describe(actual), describe(invalid))
})

test('all attempts together', () => {
  const errors = ['ECONNREFUSED', 'ETIMEDOUT'].map((code) => errnoException(code, 'connect'))
  const all = attemptsException(errors)
  assert.instance(all, AggregateError)
  assert.equal(all.errors, errors)
  assert.equal(describe(all), {
    ...describe(new AggregateError(errors)),
    fields: { code: 'ECONNREFUSED' },
  })
})

test('keeps a cause and knows codes', () => {
  const cause = new Error('below')
  assert.is(errnoException('EPROTO', 'read', cause).cause, cause)
  assert.not('cause' in errnoException('EPROTO', 'read'))
  assert.ok(isSystemErrorCode('EADDRINUSE'))
  assert.not(isSystemErrorCode('ERR_PUNCHLINE_NO_CARRIER'))
  assert.is(codeOf(errnoException('EPIPE', 'write')), 'EPIPE')
  for (const other of [undefined, 'EPIPE', new Error('x'), { code: 'x' }]) {
    assert.is(codeOf(other), undefined)
  }
})

test.run()
