/** The ways a connection ends. */
import type net from 'node:net'
import { next, pattern, scenario, turns, until } from './harness.ts'

export const endingScenarios = [
  scenario('the client ends, the server follows', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    client.resume()
    client.end('data')
    await next(client, 'close')
    await turns()
  }),

  scenario('the server ends, the client follows', async (w) => {
    const server = await w.serve((socket) => socket.end('data'))
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
    await turns()
  }),

  scenario('destroy with nothing unread ends the peer cleanly', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    await next(client, 'connect')
    w.note('c', client.destroy() === client, client.destroyed, client.readyState)
    await next(client, 'close')
    await turns()
  }),

  scenario('destroy after a write still delivers it', async (w) => {
    const server = await w.serve((socket) => {
      let received = 0
      socket.on('data', (data) => {
        received += data.length
      })
      socket.on('end', () => w.note('s', received))
    })
    const client = w.dial(server)
    await next(client, 'connect')
    client.write(pattern(10_000), () => client.destroy())
    await next(client, 'close')
    await turns()
  }),

  scenario('destroy with an error', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    await next(client, 'connect')
    client.destroy(new Error('enough'))
    client.destroy(new Error('ignored'))
    await next(client, 'close')
    w.note('c', client.errored)
    await turns()
  }),

  scenario('destroy in the callback of connect', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    client.on('connect', () => client.destroy())
    await next(client, 'close')
    await turns()
  }),

  scenario('destroy with unread data resets the peer', async (w) => {
    let accepted: net.Socket | undefined
    const take = (socket: net.Socket) => {
      accepted = socket
    }
    const server = await w.serve(take, { pauseOnConnect: true })
    const client = w.dial(server)
    // So few bytes travel with the opening: a bad network loses both or none.
    client.write(pattern(100))
    await until(() => accepted !== undefined)
    await turns(50)
    accepted?.destroy()
    const [error] = await next(client, 'error')
    w.note('c', Reflect.get(error as object, 'code'))
    await next(client, 'close')
  }),

  scenario('data for a destroyed socket resets the sender', async (w) => {
    const server = await w.serve((socket) => socket.destroy())
    const client = w.dial(server, { allowHalfOpen: true })
    const seen: unknown[] = []
    client.on('error', (error) => seen.push(Reflect.get(error, 'code')))
    client.resume()
    await next(client, 'end')
    client.write('nobody there')
    const closed = next(client, 'close')
    // Who does not read hears of the reset with the first write after it.
    for (await turns(50); !client.destroyed; await turns(50)) client.write('really')
    await closed
    w.traces['c'] = []
    w.note('c', seen.length, seen[0] === 'ECONNRESET' || seen[0] === 'EPIPE')
  }),

  scenario('resetAndDestroy', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    await next(client, 'connect')
    await turns()
    w.note('c', client.resetAndDestroy() === client, client.destroyed)
    await next(client, 'close')
    await turns()
  }),

  scenario('resetAndDestroy on the server', async (w) => {
    const server = await w.serve((socket) => {
      setImmediate(() => setImmediate(() => socket.resetAndDestroy()))
    })
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
    await turns()
  }),

  scenario('resetAndDestroy before connect waits for it', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    w.note('c', client.resetAndDestroy() === client, client.destroyed)
    await next(client, 'close')
    await turns()
  }),

  scenario('resetAndDestroy without a connection', async (w) => {
    const client = w.watch('c', new w.net.Socket())
    client.resetAndDestroy()
    await next(client, 'close')
    const server = await w.serve((socket) => socket.resume())
    const other = w.dial(server)
    await next(other, 'connect')
    other.destroy()
    other.resetAndDestroy()
    await next(other, 'close')
  }),

  scenario('destroySoon lets the writes out', async (w) => {
    const server = await w.serve((socket) => {
      let received = 0
      socket.on('data', (data) => {
        received += data.length
      })
      socket.on('end', () => w.note('s', received))
    })
    const client = w.dial(server)
    await next(client, 'connect')
    client.write(pattern(700_000))
    client.destroySoon()
    w.note('c', client.destroyed, client.writableEnded)
    await next(client, 'close')
    client.destroySoon()
  }),

  scenario('a socket that never connected', async (w) => {
    const client = w.watch('c', new w.net.Socket())
    w.note(
      'c',
      client.write('x', (error) => w.note('c', 'write', error)),
    )
    await next(client, 'close')
    const ended = w.watch('ended', new w.net.Socket())
    ended.destroy()
    ended.destroy()
    await next(ended, 'close')
    w.note('ended', ended.readyState, ended.destroyed)
  }),

  scenario('use after close', async (w) => {
    const server = await w.serve((socket) => socket.end())
    const client = w.dial(server)
    client.resume()
    await next(client, 'close')
    w.note(
      'c',
      client.write('x', (error) => w.note('c', 'write', error)),
    )
    w.try('c', 'end', () => client.end('y') === client)
    w.try('c', 'pause', () => client.pause() === client)
    w.try('c', 'read', () => client.read())
    w.try('c', 'setTimeout', () => client.setTimeout(1, () => w.note('c', 'never')) === client)
    w.try('c', 'unref', () => client.unref() === client)
    w.try('c', 'setNoDelay', () => client.setNoDelay(true) === client)
    w.try('c', 'setKeepAlive', () => client.setKeepAlive(true, 10) === client)
    w.note('c', client.readyState, client.address(), client.bytesRead, client.pending)
    await turns()
  }),

  scenario('a write that waits when the socket is destroyed', async (w) => {
    const server = await w.serve((socket) => socket.pause())
    const client = w.dial(server)
    await next(client, 'connect')
    // More than anybody takes at once, so that the next write stays where it is.
    client.write(Buffer.alloc(48 << 20))
    client.write('waiting', (error) => w.note('c', 'waiting', error))
    client.end(w.callback('c', 'end'))
    await turns()
    client.destroy()
    await next(client, 'close')
    await turns()
  }),

  scenario('both sides destroy at once', async (w) => {
    const server = await w.serve((socket) => {
      socket.resume()
      setImmediate(() => socket.destroy())
    })
    const client = w.dial(server)
    await next(client, 'connect')
    client.destroy()
    await next(client, 'close')
    await until(() => Reflect.get(server, '_connections') === 0)
  }),

  scenario('an error without a listener is thrown at the process', async (w) => {
    const port = await w.closedPort()
    const caught = new Promise<Error>((resolve) => {
      process.once('uncaughtException', (error) => resolve(error))
    })
    const client = w.net.connect(port, '127.0.0.1')
    w.note('c', await caught)
    w.note('c', client.destroyed)
    await turns()
  }),

  scenario('an exception in a listener of data does not stop the socket', async (w) => {
    const server = await w.serve((socket) => socket.end(pattern(100_000)))
    const thrown: string[] = []
    const onException = (error: Error): void => void thrown.push(error.message)
    process.on('uncaughtException', onException)
    const client = w.dial(server)
    let received = 0
    client.on('data', (data) => {
      received += data.length
      if (thrown.length === 0) throw new Error('in data')
    })
    await next(client, 'close')
    process.off('uncaughtException', onException)
    w.note('c', thrown, received)
  }),

  scenario('an exception in a listener of connect keeps the rest from happening', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const thrown: string[] = []
    const onException = (error: Error): void => void thrown.push(error.message)
    process.on('uncaughtException', onException)
    const client = w.dial(server)
    client.on('connect', () => {
      throw new Error('in connect')
    })
    await until(() => thrown.length > 0)
    await turns()
    process.off('uncaughtException', onException)
    w.note('c', thrown, client.readyState, client.connecting)
    client.destroy()
    await next(client, 'close')
  }),
]
