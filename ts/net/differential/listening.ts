/** Servers: forms of `listen`, addresses, errors, closing, limits. */
import { EventEmitter } from 'node:events'
import type net from 'node:net'
import { next, portOf, scenario, turns, until } from './harness.ts'

export const listeningScenarios = [
  scenario('the address is known in the same tick, listening is told later', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    w.note('l', server.address(), server.listening)
    w.note('l', server.listen(0, '127.0.0.1') === server, server.listening, server.address())
    await next(server, 'listening')
    w.note('l', server.close() === server, server.listening, server.address())
    await next(server, 'close')
    w.note('l', server.address())
  }),

  scenario('forms of listen', async (w) => {
    const forms: [string, (server: net.Server, done: () => void) => void][] = [
      ['()', (server, done) => server.listen().on('listening', done)],
      ['(callback)', (server, done) => server.listen(done)],
      ['(0, callback)', (server, done) => server.listen(0, done)],
      ["('0', callback)", (server, done) => server.listen('0' as never, done)],
      ['(null, callback)', (server, done) => server.listen(null as never, done)],
      ['(undefined, callback)', (server, done) => server.listen(undefined, done)],
      ['(0, host, callback)', (server, done) => server.listen(0, '127.0.0.1', done)],
      ['(0, host, backlog, cb)', (server, done) => server.listen(0, '127.0.0.1', 5, done)],
      ['(0, backlog, cb)', (server, done) => server.listen(0, 5, done)],
      ['({port})', (server, done) => server.listen({ port: 0 }, done)],
      ['({port: undefined})', (server, done) => server.listen({ port: undefined }, done)],
      ['({port, host})', (server, done) => server.listen({ port: 0, host: '127.0.0.1' }, done)],
      ['({port, exclusive})', (server, done) => server.listen({ port: 0, exclusive: true }, done)],
    ]
    for (const [name, listen] of forms) {
      const server = w.net.createServer()
      await new Promise<void>((resolve) => listen(server, resolve))
      w.note('l', name, server.address(), Reflect.get(server, '_connectionKey'))
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }),

  scenario('listen on a name looks it up', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    server.listen(0, 'localhost')
    w.note('l', server.listening, server.address())
    await next(server, 'listening')
    w.note('l', server.address())
  }),

  scenario('listen refuses bad arguments', async (w) => {
    const values = [-1, 65_536, 1 / 0, 'a.b', '0x10000', true, [], {}, { port: -1 }, { fd: -1 }]
    for (const value of [...values, { port: '1e10' }, { host: 'x' }, { path: 5 }, { port: null }]) {
      const server = w.net.createServer()
      server.on('error', () => {})
      w.try('l', JSON.stringify(value) ?? String(value), () => {
        server.listen(value as never)
        return server.listening
      })
      server.close()
    }
  }),

  scenario('listen twice throws, after close it works again', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    server.listen(0, '127.0.0.1')
    w.try('l', 'again', () => server.listen(0))
    await next(server, 'listening')
    w.try('l', 'and again', () => server.listen())
    server.close()
    await next(server, 'close')
    server.listen(0, '127.0.0.1')
    await next(server, 'listening')
    w.note('l', server.address())
  }),

  scenario('a taken port gives EADDRINUSE, then another one works', async (w) => {
    const first = await w.serve()
    const server = w.watchServer('l', w.net.createServer())
    server.listen(portOf(first), '127.0.0.1', () => w.note('l', 'callback'))
    w.note('l', server.listening, server.address())
    await next(server, 'error')
    w.note('l', server.listening)
    server.listen(0, '127.0.0.1')
    await next(server, 'listening')
  }),

  scenario('an address that is not ours gives EADDRNOTAVAIL', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    server.listen(8081, '192.0.2.1')
    await next(server, 'error')
    await turns()
  }),

  scenario('close without listening tells the callback', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    server.close((error) => w.note('l', 'callback', error))
    await next(server, 'close')
    w.note('l', server.listening)
  }),

  scenario('close in the tick of listen', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    server.listen(0, '127.0.0.1', () => w.note('l', 'never'))
    server.close((error) => w.note('l', 'closed', error))
    await next(server, 'close')
    await turns()
  }),

  scenario('close waits for all sockets', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    await next(server, 'connection')
    server.close((error) => w.note('l', 'closed', error, Reflect.get(server, '_connections')))
    await turns()
    w.note('l', server.listening, Reflect.get(server, '_connections'))
    client.end()
    await next(server, 'close')
  }),

  scenario('a closed server refuses', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const port = portOf(server)
    const first = w.watch('first', w.net.connect(port, '127.0.0.1'))
    await next(server, 'connection')
    server.close()
    const second = w.watch('second', w.net.connect(port, '127.0.0.1'))
    await next(second, 'close')
    first.end()
    await next(first, 'close')
  }),

  scenario('an abort signal closes', async (w) => {
    for (const isEarly of [false, true]) {
      const abort = new AbortController()
      const server = w.watchServer('l', w.net.createServer())
      if (isEarly) abort.abort()
      server.listen({ port: 0, host: '127.0.0.1', signal: abort.signal })
      if (!isEarly) setImmediate(() => abort.abort())
      await next(server, 'close')
    }
    const server = w.net.createServer()
    w.try('l', 'no signal', () => server.listen({ port: 0, signal: 'INVALID' as never }))
    server.close()
  }),

  scenario('asynchronous disposal closes', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    const dispose: unknown = Reflect.get(server, Symbol.asyncDispose)
    if (typeof dispose !== 'function') return
    await dispose.call(server)
    server.listen(0, '127.0.0.1')
    await next(server, 'listening')
    w.note('l', await dispose.call(server), server.listening)
  }),

  scenario('getConnections counts', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const count = () => new Promise((resolve) => server.getConnections((_, n) => resolve(n)))
    w.note('l', await count())
    const client = w.dial(server)
    await next(server, 'connection')
    w.note('l', await count(), server === server.getConnections(() => {}))
    client.destroy()
    await until(() => Reflect.get(server, '_connections') === 0)
    w.note('l', await count())
  }),

  scenario('maxConnections drops and says what', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    w.watchServer('l', server)
    server.maxConnections = 1
    const first = w.dial(server)
    await next(first, 'connect')
    const second = w.watch('second', w.net.connect(portOf(server), '127.0.0.1'))
    second.resume()
    await next(second, 'close')
    first.end()
    await next(first, 'close')
    await until(() => Reflect.get(server, '_connections') === 0)
    const third = w.watch('third', w.net.connect(portOf(server), '127.0.0.1'))
    await next(third, 'connect')
    third.end()
    await next(third, 'close')
  }),

  scenario('maxConnections 0', async (w) => {
    const server = await w.serve((socket) => socket.end('hello'))
    w.watchServer('l', server)
    server.maxConnections = 0
    const client = w.dial(server).on('data', (data) => w.note('c', data))
    await next(client, 'close')
  }),

  scenario('pauseOnConnect holds the data back', async (w) => {
    let accepted: net.Socket | undefined
    const onSocket = (socket: net.Socket): void => {
      accepted = socket
      socket.on('data', (data) => w.note('s', data))
      w.note('s', socket.isPaused(), socket.readableFlowing)
    }
    const server = await w.serve(onSocket, { pauseOnConnect: true })
    const client = w.dial(server)
    client.end('waiting')
    await next(server, 'connection')
    await turns()
    w.note('s', accepted?.bytesRead)
    accepted?.resume()
    await next(client, 'close')
  }),

  scenario('options of the server reach its sockets', async (w) => {
    const options = { allowHalfOpen: true, noDelay: true, keepAlive: true, highWaterMark: 99 }
    const onSocket = (socket: net.Socket): void => {
      const { allowHalfOpen, readableHighWaterMark, writableHighWaterMark } = socket
      w.note('s', allowHalfOpen, readableHighWaterMark, writableHighWaterMark)
      w.note('s', Reflect.get(socket, 'server') === server, socket.connecting, socket.timeout)
      w.note('s', socket.listenerCount('end'), socket.readyState)
      socket.end()
      socket.resume()
    }
    const server = await w.serve(onSocket, options as net.ServerOpts)
    const client = w.dial(server)
    client.end()
    await next(client, 'close')
  }),

  scenario('what a connection is', async (w) => {
    const server = await w.serve((socket) => {
      w.note('s', socket instanceof w.net.Socket, socket.constructor === w.net.Socket)
      w.note('s', socket.address(), socket.localFamily, socket.localAddress, socket.localPort)
      w.note('s', socket.remoteFamily, socket.remoteAddress, (socket.remotePort ?? 0) > 0)
      w.note('s', socket.bytesRead, socket.bytesWritten, socket.readableFlowing)
      socket.end()
    })
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
  }),

  scenario('ref and unref may come before listen', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    w.note('l', server.unref() === server, Reflect.get(server, '_unref'))
    server.listen(0, '127.0.0.1')
    await next(server, 'listening')
    w.note('l', server.ref() === server, Reflect.get(server, '_unref'))
  }),

  scenario('connections of an IPv4 client at a dual-stack server', async (w) => {
    const server = await w.serve(
      (socket) => {
        w.note('s', socket.remoteAddress, socket.remoteFamily, socket.localAddress)
        socket.end()
      },
      {},
      '::',
    )
    w.note('s', server.address())
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
  }),

  scenario('ipv6Only keeps IPv4 out', async (w) => {
    const server = w.watchServer('l', w.net.createServer())
    server.listen({ port: 0, host: '::', ipv6Only: true })
    await next(server, 'listening')
    const four = w.watch('four', w.net.connect(portOf(server), '127.0.0.1'))
    const [error] = await next(four, 'error')
    w.note('l', Reflect.get(error as object, 'code') === 'ECONNREFUSED')
  }),

  scenario('a rejected listener of connection destroys the socket', async (w) => {
    const before = EventEmitter.captureRejections
    EventEmitter.captureRejections = true
    const server = w.watchServer('l', w.net.createServer())
    EventEmitter.captureRejections = before
    server.on('connection', async (socket) => {
      w.watch('s', socket)
      socket.resume()
      await turns(2)
      throw new Error('kaboom')
    })
    server.listen(0, '127.0.0.1')
    await next(server, 'listening')
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
    await turns()
  }),

  scenario('a block list keeps peers out', async (w) => {
    const blockList = new w.net.BlockList()
    blockList.addAddress('127.0.0.1')
    const server = await w.serve(() => w.note('s', 'accepted'), { blockList } as net.ServerOpts)
    const client = w.dial(server)
    client.resume()
    await turns(50)
    w.note('c', client.bytesRead)
  }),
]
