/** Timers, options, and what other parts of Node see of sockets. */
import { AsyncLocalStorage } from 'node:async_hooks'
import diagnosticsChannel from 'node:diagnostics_channel'
import { once } from 'node:events'
import type net from 'node:net'
import { finished } from 'node:stream/promises'
import { inspect } from 'node:util'
import { next, portOf, scenario, turns, until } from './harness.ts'

export const surroundingsScenarios = [
  scenario('timeout is told once per idle time', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    await next(client, 'connect')
    w.note('c', client.setTimeout(30, () => w.note('c', 'callback')) === client, client.timeout)
    await next(client, 'timeout')
    await new Promise((resolve) => setTimeout(resolve, 80))
    client.write('activity')
    await next(client, 'timeout')
    w.note('c', client.destroyed, client.readyState)
    client.setTimeout(0)
    w.note('c', client.timeout)
  }),

  scenario('a timeout that is cancelled', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    await next(client, 'connect')
    const never = (): void => w.note('c', 'never')
    client.setTimeout(20, never)
    client.setTimeout(0, never)
    await new Promise((resolve) => setTimeout(resolve, 60))
    client.setTimeout(20, never)
    client.destroy()
    await new Promise((resolve) => setTimeout(resolve, 60))
  }),

  scenario('the timeout option counts from connecting', async (w) => {
    // Nothing is watched: whether it is connected by then is the network's affair.
    const server = w.net.createServer((socket) => socket.resume()).listen(0, '127.0.0.1')
    await next(server, 'listening')
    const client = w.net.connect({ port: portOf(server), host: '127.0.0.1', timeout: 40 })
    w.note('c', client.timeout)
    await next(client, 'timeout')
    w.note('c', 'timeout', client.destroyed)
    client.destroy()
    server.close()
    await next(server, 'close')
  }),

  scenario('a timeout before connecting', async (w) => {
    const socket = w.watch('c', new w.net.Socket())
    socket.setTimeout(20, () => w.note('c', 'callback', socket.connecting))
    await next(socket, 'timeout')
  }),

  scenario('setTimeout refuses bad values', async (w) => {
    const socket = new w.net.Socket()
    for (const value of [-1, Number.NaN, Infinity, '100', null, undefined, {}]) {
      w.try('c', String(value), () => socket.setTimeout(value as never).timeout)
    }
    w.try('c', 'callback', () => socket.setTimeout(1, 'no' as never))
    socket.destroy()
  }),

  scenario('received data is activity', async (w) => {
    const server = await w.serve((socket) => {
      let count = 0
      const timer = setInterval(() => {
        count += 1
        if (count < 8) socket.write('x')
        else {
          clearInterval(timer)
          socket.end()
        }
      }, 30)
      socket.resume()
    })
    const client = w.dial(server, { timeout: 2_000 })
    client.resume()
    await next(client, 'close')
  }),

  scenario('switches before, during and after a connection', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = new w.net.Socket({ noDelay: true, keepAlive: true } as never)
    w.watch('c', client)
    w.note('c', client.setNoDelay(false) === client, client.setKeepAlive(true, 5_000) === client)
    client.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
    await next(client, 'connect')
    w.note('c', client.setNoDelay() === client, client.setNoDelay(true) === client)
    w.note('c', client.setKeepAlive() === client, client.setKeepAlive(true, 1_000) === client)
    w.note('c', client.setKeepAlive(false) === client)
    w.note('c', client.ref() === client, client.unref() === client, client.ref() === client)
    const setTos: unknown = Reflect.get(client, 'setTypeOfService')
    if (typeof setTos === 'function') w.note('c', setTos.call(client, 0) === client)
    client.resume().end()
    await next(client, 'close')
  }),

  scenario('ref and unref before connecting listen for connect', async (w) => {
    const socket = new w.net.Socket()
    socket.unref()
    w.note('c', socket.listenerCount('connect'))
    socket.ref()
    w.note('c', socket.listenerCount('connect'))
    socket.destroy()
  }),

  scenario('numbers of listeners', async (w) => {
    const server = await w.serve((socket) => {
      for (const event of ['end', 'error', 'close', 'data', 'connect', 'drain'] as const) {
        w.note('s', event, socket.listenerCount(event))
      }
      socket.resume()
    })
    const client = w.net.connect((server.address() as net.AddressInfo).port, '127.0.0.1')
    client.write('x')
    for (const event of ['end', 'error', 'close', 'connect'] as const) {
      w.note('c', event, client.listenerCount(event))
    }
    await once(client, 'connect')
    for (const event of ['end', 'error', 'close', 'connect'] as const) {
      w.note('c', event, client.listenerCount(event))
    }
    w.watch('c', client).end()
    client.resume()
    await next(client, 'close')
  }),

  scenario('AsyncLocalStorage follows a connection', async (w) => {
    const storage = new AsyncLocalStorage<string>()
    const server = await storage.run('listening', () =>
      w.serve((socket) => {
        w.note('s', 'connection', storage.getStore())
        socket.on('data', () => w.note('s', 'data', storage.getStore()))
        socket.on('end', () => w.note('s', 'end', storage.getStore()))
        socket.on('close', () => w.note('s', 'close', storage.getStore()))
        socket.end('x')
      }),
    )
    const client = storage.run('dialling', () => {
      const made = w.dial(server)
      for (const event of ['connect', 'data', 'end', 'close'] as const) {
        made.on(event, () => w.note('c', event, storage.getStore()))
      }
      made.end('y', () => w.note('c', 'written', storage.getStore()))
      return made
    })
    await next(client, 'close')
    await turns()
  }),

  scenario('diagnostics channels tell of sockets', async (w) => {
    const onClient = (message: unknown): void => {
      w.note('d', 'client', (message as { socket: object }).socket instanceof w.net.Socket)
    }
    const onServer = (message: unknown): void => {
      w.note('d', 'server', (message as { socket: object }).socket instanceof w.net.Socket)
    }
    diagnosticsChannel.subscribe('net.client.socket', onClient)
    diagnosticsChannel.subscribe('net.server.socket', onServer)
    const server = await w.serve((socket) => socket.end())
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
    diagnosticsChannel.unsubscribe('net.client.socket', onClient)
    diagnosticsChannel.unsubscribe('net.server.socket', onServer)
  }),

  scenario('diagnostics channels tell of listening', async (w) => {
    const channel = diagnosticsChannel.tracingChannel('net.server.listen')
    const handlers = {
      asyncStart: () => w.note('d', 'start'),
      asyncEnd: () => w.note('d', 'end'),
      error: () => w.note('d', 'error'),
    }
    channel.subscribe(handlers as never)
    const server = await w.serve()
    const other = w.watchServer('l', w.net.createServer())
    other.listen((server.address() as net.AddressInfo).port, '127.0.0.1')
    await next(other, 'error')
    channel.unsubscribe(handlers as never)
  }),

  scenario('events.once and stream.finished', async (w) => {
    const server = await w.serve((socket) => socket.end('x'))
    const client = w.dial(server)
    const [data] = await once(client, 'data')
    w.note('c', data)
    await finished(client)
    w.note('c', client.readableEnded, client.writableFinished)
    const port = await w.closedPort()
    await finished(w.net.connect(port, '127.0.0.1')).catch((error: unknown) => w.note('d', error))
  }),

  scenario('programs may hang things on a socket', async (w) => {
    const server = await w.serve((socket) => {
      Object.assign(socket, { parser: 1, _httpMessage: 2, _paused: true, server: 3, path: '/x' })
      w.note('s', Reflect.get(socket, 'parser'), Reflect.get(socket, 'path'))
      w.note('s', Object.isExtensible(socket), Object.isFrozen(socket))
      socket.end()
    })
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
  }),

  scenario('inspect shows the class', async (w) => {
    const server = await w.serve((socket) => {
      w.note('s', inspect(socket).split(' ')[0])
      socket.end()
    })
    const client = w.dial(server)
    w.note('c', inspect(client, { depth: 0 }).split(' ')[0], inspect(server).split(' ')[0])
    client.resume()
    await next(client, 'close')
  }),

  scenario('pipes are the built-in', async (w) => {
    const path = process.platform === 'win32' ? '\\\\.\\pipe\\pl' : `\0punchline-${process.pid}`
    const server = w.watchServer(
      'l',
      w.net.createServer((socket) => socket.end('by pipe')),
    )
    server.listen(path)
    await next(server, 'listening')
    w.note('l', server.address() === path)
    const client = w.watch('c', w.net.connect(path))
    client.on('data', (data) => w.note('c', data))
    await next(client, 'close')
    w.note('c', client.remoteAddress, client.bytesRead)
    w.try('c', 'bad path', () => w.net.connect({ path: 5 as never }))
    const missing = w.watch('missing', w.net.connect(`${path}-missing`))
    await next(missing, 'close')
  }),

  scenario('sockets of one server are independent', async (w) => {
    const order: number[] = []
    const server = await w.serve((socket) => socket.pipe(socket), { allowHalfOpen: true })
    const port = portOf(server)
    const clients = [0, 1, 2, 3, 4, 5, 6, 7].map((index) => {
      const client = w.net.connect(port, '127.0.0.1')
      let size = 0
      client.on('data', (data) => {
        size += data.length
      })
      client.on('end', () => {
        order.push(index)
        w.note(`c${index}`, size)
      })
      client.end(Buffer.alloc(index * 20_000))
      return client
    })
    await until(() => clients.every((client) => client.destroyed))
    w.note('c', order.length)
  }),
]
