/** Peers that are kept, and servers with more than one port. */
import { once } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { until } from '../io/testing/until.ts'
import { getCarrier } from './carrier.ts'
import net, { promises, type Server, type Socket } from './index.ts'
import type { UdpCarrier } from './udp-carrier.ts'

const HOST = '127.0.0.1'
const UDP = { host: HOST, transport: 'udp' } as const

const portOf = (server: Server) => (server.address() as net.AddressInfo).port
const opened = () => (getCarrier() as UdpCarrier).totals().connectionsOpened

function echo(socket: Socket): void {
  socket.on('error', () => {}).pipe(socket)
}

/** What comes back of a text over a socket of its own. */
async function ask(port: number, options: object = {}): Promise<string> {
  const socket = await promises.connect({ ...UDP, port, ...options })
  socket.write('echo')
  const [data] = await once(socket, 'data')
  await promises.close(socket)
  return String(data)
}

test('a pinned peer has a connection that sockets share, and gets another after a restart', async () => {
  const server = await promises.listen({ ...UDP, port: 0 }, echo)
  const port = portOf(server)
  const told: string[] = []
  const peer = net.pin({
    host: HOST,
    port,
    connected: (epoch) => told.push(`connected ${epoch}`),
    lost: () => told.push('lost'),
  })
  assert.is(peer.isConnected, false)
  await until(() => peer.isConnected, 'the first connection')
  const before = opened()
  assert.is(await ask(port), 'echo')
  assert.is(await ask(port), 'echo')
  assert.is(opened(), before, 'no further connection')
  assert.equal(told, ['connected 1'])
  // The server's program ends; and another one starts on its port.
  await promises.close(server)
  await until(() => !peer.isConnected, 'the farewell')
  const next = await promises.listen({ ...UDP, port }, echo)
  await until(() => peer.epoch === 2, 'the second connection')
  assert.equal(told, ['connected 1', 'lost', 'connected 2'])
  assert.is(await ask(port), 'echo')
  peer.unpin()
  peer.unpin()
  assert.is(await ask(port), 'echo')
  await promises.close(next)
  await until(() => !peer.isConnected, 'the end')
  assert.is(peer.epoch, 2)
})

test('what is asked of a pinned peer is asked each time; others do not share its connection', async () => {
  const server = await promises.listen({ ...UDP, port: 0, security: 'none' }, echo)
  const port = portOf(server)
  const peer = net.pin({ host: HOST, port, security: 'none' })
  await until(() => peer.isConnected, 'a connection')
  assert.is(await ask(port, { security: 'none' }), 'echo')
  const error = await promises
    .connect({ ...UDP, port, security: 'noise' })
    .catch((reason) => reason)
  assert.is(error.code, 'EPROTO')
  assert.ok(peer.isConnected)
  peer[Symbol.dispose]()
  await promises.close(server)
  assert.throws(
    () => net.pin({ host: 'localhost', port }),
    (thrown: NodeJS.ErrnoException) => thrown.code === 'ERR_INVALID_IP_ADDRESS',
  )
})

for (const transport of ['udp', 'auto'] as const) {
  test(`a server with more ports is one server: ${transport}`, async () => {
    let count = 0
    const server = await promises.listen(
      { host: HOST, port: 0, transport, morePorts: [0, 0] },
      (socket) => {
        count += 1
        echo(socket)
      },
    )
    const ports = server.udpPorts
    assert.is(new Set(ports).size, 3)
    assert.is(ports[0], portOf(server))
    for (const port of ports) assert.is(await ask(port), 'echo')
    assert.is(count, 3)
    const taken = promises.listen({ ...UDP, port: 0, morePorts: [ports[1] as number] })
    assert.is((await taken.catch((error) => error)).code, 'EADDRINUSE')
    await promises.close(server)
    assert.equal(server.udpPorts, [])
    for (const port of ports) {
      const error = await promises.connect({ ...UDP, port }).catch((reason) => reason)
      assert.is(error.code, 'ECONNREFUSED')
    }
  })
}

test('ports that are none are refused as the built-in refuses them', () => {
  for (const morePorts of [[65_536], [-1], ['x'], 7]) {
    assert.throws(
      () => new net.Server().listen({ ...UDP, port: 0, morePorts } as never),
      (error: NodeJS.ErrnoException) => error.code === 'ERR_SOCKET_BAD_PORT',
    )
  }
})

test.run()
