/** What `punchline/net` has beside `node:net`: promises, iteration, signals, disposal. */
import diagnosticsChannel from 'node:diagnostics_channel'
import { once } from 'node:events'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import net, { promises, type Server, type Socket } from './index.ts'

const where = { host: '127.0.0.1', port: 0 }

function portOf(server: Server): number {
  return (server.address() as net.AddressInfo).port
}

/** The name of what a promise fails with. */
function failureOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing',
    (error: NodeJS.ErrnoException) => error.code ?? error.name,
  )
}

for (const transport of ['tcp', 'udp'] as const) {
  test(`connect, listen and close as promises over ${transport}`, async () => {
    const server = await promises.listen({ ...where, transport }, (socket) => socket.pipe(socket))
    const port = portOf(server)
    const socket = await promises.connect({ port, host: where.host, transport })
    assert.is(socket.readyState, 'open')
    assert.is(socket.path?.transport, transport)
    socket.write('echo')
    const [data] = await once(socket, 'data')
    assert.is(String(data), 'echo')
    const second = promises.listen({ port, host: where.host, transport })
    assert.is(await failureOf(second), 'EADDRINUSE')
    await promises.close(socket)
    await promises.close(server)
    assert.is(await failureOf(promises.close(server)), 'ERR_SERVER_NOT_RUNNING')
    const late = promises.connect({ port, host: where.host, transport })
    assert.is(await failureOf(late), 'ECONNREFUSED')
  })

  test(`a server's connections as they come over ${transport}`, async () => {
    const server = await promises.listen({ ...where, transport })
    const port = portOf(server)
    const clients: Socket[] = []
    const dial = () => {
      const socket = net.connect({ port, host: where.host, transport })
      clients.push(socket.on('error', () => {}))
      return socket
    }
    const closed = [dial(), dial(), dial()].map((socket) => once(socket.resume(), 'close'))
    let count = 0
    for await (const socket of server) {
      socket.end()
      count += 1
      if (count === 3) break
    }
    await Promise.all(closed)
    // Left, the server listens on; closed, the iteration ends.
    assert.is(server.listenerCount('connection'), 0)
    const rest: Socket[] = []
    const iteration = (async () => {
      for await (const socket of server) {
        rest.push(socket)
        socket.end()
        server.close()
      }
    })()
    await once(dial().resume(), 'close')
    await iteration
    assert.is(rest.length, 1)
  })

  test(`a failing server ends the iteration with its error over ${transport}`, async () => {
    const server = await promises.listen({ ...where, transport })
    const iteration = failureOf(server[Symbol.asyncIterator]().next())
    server.emit('error', Object.assign(new Error('gone'), { code: 'EGONE' }))
    assert.is(await iteration, 'EGONE')
    await promises.close(server)
  })

  test(`signals give up connecting and listening over ${transport}`, async () => {
    const server = await promises.listen({ ...where, transport })
    const port = portOf(server)
    const abort = new AbortController()
    const options = { port, host: where.host, transport, signal: abort.signal }
    const plain = net.connect(options as net.NetConnectOpts)
    const failed = failureOf(once(plain, 'connect'))
    const promised = failureOf(promises.connect(options))
    abort.abort()
    assert.is(await failed, 'ABORT_ERR')
    assert.is(await promised, 'ABORT_ERR')
    const again = new AbortController()
    const socket = new net.Socket()
    socket.connect({ port, host: where.host, transport, signal: again.signal })
    await once(socket, 'connect')
    again.abort()
    await once(socket, 'close').catch(() => {})
    assert.is((socket.errored as NodeJS.ErrnoException).code, 'ABORT_ERR')
    // The next connection of the same object is not the old signal's business.
    socket.connect({ port, host: where.host, transport })
    await once(socket, 'connect')
    socket.destroy()
    await once(socket, 'close')
    socket.connect({ port, host: where.host, transport, signal: again.signal })
    assert.is(await failureOf(once(socket, 'connect')), 'ABORT_ERR')
    const wrong = { port, host: where.host, transport, signal: 'no signal' as never }
    assert.throws(() => new net.Socket().connect(wrong), /"signal" argument/)
    const stop = new AbortController()
    const other = net.createServer({ transport })
    other.listen({ ...where, signal: stop.signal })
    await once(other, 'listening')
    stop.abort()
    await once(other, 'close')
    other.listen({ ...where, transport, signal: stop.signal })
    await once(other, 'close')
    await promises.close(server)
  })

  test(`disposal closes sockets and servers over ${transport}`, async () => {
    const server = await promises.listen({ ...where, transport }, (socket) => {
      socket.on('error', () => {}).resume()
    })
    const opened: Socket[] = []
    {
      await using own = server
      await using socket = await promises.connect({
        port: portOf(own),
        host: where.host,
        transport,
      })
      opened.push(socket.on('error', () => {}))
      assert.is(socket.readyState, 'open')
    }
    assert.ok(opened[0]?.destroyed)
    assert.is(server.listening, false)
  })

  test(`diagnostics channels tell of both ends over ${transport}`, async () => {
    const told: string[] = []
    const onClient = () => told.push('client')
    const onServer = () => told.push('server')
    diagnosticsChannel.subscribe('net.client.socket', onClient)
    diagnosticsChannel.subscribe('net.server.socket', onServer)
    const server = await promises.listen({ ...where, transport }, (socket) => socket.end())
    const client = net.connect({ port: portOf(server), host: where.host, transport })
    await once(client.resume(), 'close')
    diagnosticsChannel.unsubscribe('net.client.socket', onClient)
    diagnosticsChannel.unsubscribe('net.server.socket', onServer)
    await promises.close(server)
    assert.equal(told.sort(), ['client', 'server'])
  })
}

test.run()
