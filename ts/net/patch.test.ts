/**
 * The built-in module itself, patched as under `punchline/register`: over UDP it must do what it
 * does over TCP, and over TCP nothing may have changed.
 */
import net from 'node:net'
import tls from 'node:tls'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { setCarrier } from './carrier.ts'
import { runBoth, type Side, scenarios } from './differential/index.ts'
import ours, { configure } from './index.ts'
import { MemoryCarrier } from './memory-carrier.ts'
import { patchBuiltin } from './patch.ts'

const before = { connect: net.Socket.prototype.connect, listen: net.Server.prototype.listen }
patchBuiltin()

const overTcp: Side = { net, enter: () => configure({ transport: 'tcp' }) }
const overUdp: Side = { net, enter: () => configure({ transport: 'udp' }) }

test.before(() => setCarrier(new MemoryCarrier()))

test.after(() => {
  setCarrier(null)
  configure({ transport: undefined })
})

test('patches once and keeps names', () => {
  const { connect } = net.Socket.prototype
  const tlsConnect = tls.connect
  assert.is.not(connect, before.connect)
  assert.is.not(net.Server.prototype.listen, before.listen)
  patchBuiltin()
  assert.is(net.Socket.prototype.connect, connect)
  assert.is(tls.connect, tlsConnect)
  assert.equal(
    [connect.name, net.Server.prototype.listen.name, tlsConnect.name],
    ['connect', 'listen', 'connect'],
  )
})

test('leaves sockets that go over TCP alone', () => {
  const socket = new net.Socket()
  const names = Object.getOwnPropertyNames(socket)
  assert.not(names.includes('bytesRead'))
  assert.not(names.includes('pending'))
  assert.equal((socket as unknown as { stats(): object }).stats(), { transport: 'tcp' })
})

test('our own classes decide for themselves', async () => {
  configure({ transport: 'udp' })
  const server = ours.createServer((socket) => socket.end())
  await new Promise<void>((resolve) => {
    server.listen({ port: 0, host: '127.0.0.1', transport: 'tcp' } as net.ListenOptions, resolve)
  })
  const { port } = server.address() as net.AddressInfo
  const client = new ours.Socket()
  client.connect({ port, host: '127.0.0.1', transport: 'tcp' } as net.NetConnectOpts)
  client.resume()
  await new Promise((resolve) => client.once('close', resolve))
  assert.equal((client as unknown as { stats(): object }).stats(), { transport: 'tcp' })
  await new Promise<void>((resolve) => server.close(() => resolve()))
})

for (const scenario of scenarios) {
  test(`patched: ${scenario.name}`, async () => {
    const { expected, actual } = await runBoth(scenario, [overTcp, overUdp])
    assert.equal(actual, expected)
  })
}

test.run()
