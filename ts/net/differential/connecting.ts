/** Clients: forms of `connect`, lookup, several addresses, refusal, cancelling, reconnecting. */
import type net from 'node:net'
import { next, pattern, portOf, scenario, turns, until, type World } from './harness.ts'

type Lookup = (
  host: string,
  options: object,
  callback: (error: Error | null, address: unknown, family?: unknown) => void,
) => void

const loopback: Lookup = (_host, options, callback) => {
  const isAll = Reflect.get(options, 'all') === true
  if (isAll) callback(null, [{ address: '127.0.0.1', family: 4 }])
  else callback(null, '127.0.0.1', 4)
}

async function helloServer(w: World): Promise<net.Server> {
  return w.serve((socket) => {
    socket.on('data', (data) => w.note('s', data))
    socket.end('hello')
  })
}

export const connectingScenarios = [
  scenario('forms of connect', async (w) => {
    const server = await helloServer(w)
    const port = portOf(server)
    const { connect, createConnection, Socket } = w.net
    const forms: [string, (done: () => void) => net.Socket][] = [
      ['(port, host, cb)', (done) => connect(port, '127.0.0.1', done)],
      ['(port, cb)', (done) => Reflect.apply(connect, null, [port, done])],
      [
        "('port', host, cb)",
        (done) => Reflect.apply(connect, null, [String(port), '127.0.0.1', done]),
      ],
      ['({port, host}, cb)', (done) => createConnection({ port, host: '127.0.0.1' }, done)],
      ['({port}, cb)', (done) => connect({ port }, done)],
      ["({port: 'n'})", (done) => connect({ port: `${port}` as never }).on('connect', done)],
      ['new Socket().connect', (done) => new Socket().connect(port, '127.0.0.1', done)],
      ['({lookup})', (done) => connect({ port, host: 'x.y', lookup: loopback as never }, done)],
    ]
    for (const [name, make] of forms) {
      const socket = await new Promise<net.Socket>((resolve) => {
        const made: net.Socket = make(() => resolve(made))
        w.note('c', name, made instanceof Socket, made.connecting, made.readyState)
      })
      socket.resume()
      w.note('c', name, socket.remoteAddress, socket.remoteFamily, socket.remotePort === port)
      await next(socket, 'close')
    }
  }),

  scenario('states and events of a connection that the client ends', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    w.note('c', client.connecting, client.pending, client.readyState, client.remoteAddress)
    w.note('c', client.bytesRead, client.bytesWritten, client.destroyed)
    client.resume()
    await next(client, 'connect')
    w.note('c', client.address(), client.localFamily, (client.localPort ?? 0) > 0)
    w.note('c', client.remoteAddress, client.remoteFamily, client.remotePort)
    client.end('bye')
    await next(client, 'close')
    w.note('c', client.bytesWritten, client.bytesRead, client.remoteAddress, client.localAddress)
    w.note('c', client.address(), client.pending, client.bufferSize)
  }),

  scenario('a closed port refuses', async (w) => {
    const port = await w.closedPort()
    const client = w.watch(
      'c',
      w.net.connect(port, '127.0.0.1', () => w.note('c', 'never')),
    )
    client.write('lost', (error) => w.note('c', 'write', error))
    client.end(() => w.note('c', 'end callback'))
    await next(client, 'close')
    await turns()
    w.note('c', client.bytesWritten, client.remoteAddress, client.errored?.message === undefined)
  }),

  scenario('connect refuses bad arguments', async (w) => {
    const cases: unknown[][] = [
      [],
      [{}],
      [() => {}],
      [{ port: -1 }],
      [{ port: 65_536 }],
      [{ port: '0x10000' }],
      [{ port: 'http' }],
      [{ port: null }],
      [{ port: true }],
      [{ port: [] }],
      [{ port: 1.5, host: '127.0.0.1' }],
      [{ port: Number.NaN }],
      [80, '127.0.0.1\0x'],
      [{ port: 80, localAddress: 'foobar' }],
      [{ port: 80, localPort: 'x' }],
      [{ port: 80, localPort: {} }],
      [{ port: 80, host: 'h', lookup: 'foobar' }],
      [{ port: 80, host: 'h', lookup: null, path: null, localPort: true }],
      [{ port: 80, autoSelectFamily: 'INVALID' }],
      [{ port: 80, autoSelectFamilyAttemptTimeout: 'INVALID' }],
      [{ port: 80, autoSelectFamilyAttemptTimeout: 0 }],
      [{ port: 80, objectMode: true }],
      [{ port: 80, host: 'h', hints: 2_147_483_647 }],
    ]
    for (const [index, args] of cases.entries()) {
      w.try('c', String(index), () => {
        const socket = Reflect.apply(w.net.connect, null, args) as net.Socket
        socket.on('error', () => {})
        socket.destroy()
        return socket.connecting
      })
    }
    const socket = new w.net.Socket()
    w.try('m', 'method', () => socket.connect({ port: 99_999 }))
    w.note('m', socket.connecting, socket.destroyed, socket.readyState)
    socket.destroy()
  }),

  scenario('the lookup option is asked as dns.lookup would be', async (w) => {
    const server = await helloServer(w)
    for (const extra of [{}, { family: 4 }, { family: 'IPv4' }, { hints: 0, family: 0 }]) {
      const lookup: Lookup = (host, options, callback) => {
        const { hints, ...rest } = options as { hints: number }
        w.note('c', 'asked', host, rest, typeof hints, hints === 0)
        loopback(host, options, callback)
      }
      const client = w.dial(server, { host: 'some.name', lookup, ...extra })
      client.resume()
      await next(client, 'close')
    }
  }),

  scenario('a lookup that fails', async (w) => {
    const failure = Object.assign(new Error('no such name'), { code: 'ENOTFOUND', syscall: 'x' })
    for (const autoSelectFamily of [true, false]) {
      const lookup: Lookup = (_host, _options, callback) => callback(failure, undefined)
      const options = { port: 80, host: 'some.name', lookup: lookup as never, autoSelectFamily }
      const client = w.watch('c', w.net.connect(options))
      await next(client, 'close')
    }
  }),

  scenario('a name that does not exist', async (w) => {
    const client = w.watch('c', w.net.connect(80, 'does-not-exist.invalid'))
    const [error] = await next(client, 'error')
    // How the resolver says it depends on the machine; that it says it does not.
    w.traces['c'] = []
    w.note('c', Reflect.get(error as object, 'syscall'), client.destroyed)
  }),

  scenario('a lookup that answers nonsense', async (w) => {
    const answers: unknown[][] = [
      [null, 'not an address', 4],
      [null, '127.0.0.1', 100],
      [null, undefined, undefined],
    ]
    for (const answer of answers) {
      const lookup = (_h: string, _o: object, callback: (...args: unknown[]) => void) =>
        callback(...answer)
      const options = { port: 80, host: 'h.h', lookup: lookup as never, family: 4 }
      const client = w.watch('c', w.net.connect(options))
      await next(client, 'close')
    }
    const lists = [[{ address: 'nonsense', family: 4 }], [{ address: '127.0.0.1', family: 99 }]]
    for (const list of lists) {
      const lookup = (_h: string, _o: object, callback: (...args: unknown[]) => void) =>
        callback(null, list)
      const client = w.watch('c', w.net.connect({ port: 80, host: 'h', lookup: lookup as never }))
      await next(client, 'close')
    }
  }),

  scenario('the second address is tried when the first refuses', async (w) => {
    const server = await helloServer(w)
    const lookup = (_h: string, _o: object, callback: (...args: unknown[]) => void) =>
      callback(null, [
        { address: '127.0.0.2', family: 4 },
        { address: '127.0.0.1', family: 4 },
        { address: '127.0.0.1', family: 4 },
      ])
    const client = w.dial(server, { host: 'h', lookup, autoSelectFamily: true })
    client.write('first words')
    client.resume()
    await next(client, 'close')
    w.note('c', Reflect.get(client, 'autoSelectFamilyAttemptedAddresses'))
    w.note('c', client.bytesWritten, client.bytesRead)
  }),

  scenario('all addresses refuse', async (w) => {
    const port = await w.closedPort()
    const lookup = (_h: string, _o: object, callback: (...args: unknown[]) => void) =>
      callback(null, [
        { address: '127.0.0.2', family: 4 },
        { address: '127.0.0.1', family: 4 },
      ])
    const client = w.watch('c', w.net.connect({ port, host: 'h', lookup: lookup as never }))
    await next(client, 'close')
    w.note('c', Reflect.get(client, 'autoSelectFamilyAttemptedAddresses'))
  }),

  scenario('one address only is dialled even when several are known', async (w) => {
    const port = await w.closedPort()
    const lookup: Lookup = (_host, options, callback) => {
      w.note('c', Reflect.get(options, 'all'))
      callback(null, '127.0.0.1', 4)
    }
    const options = { port, host: 'h', lookup: lookup as never, autoSelectFamily: false }
    const client = w.watch('c', w.net.connect(options))
    await next(client, 'close')
  }),

  scenario('the local half can be chosen', async (w) => {
    const localPort = await w.closedPort()
    const server = await w.serve((socket) => {
      w.note('s', socket.remotePort === localPort, socket.remoteAddress)
      socket.end()
    })
    const client = w.dial(server, { localAddress: '127.0.0.3', localPort })
    client.resume()
    await next(client, 'connect')
    w.note('c', client.localPort === localPort, client.localAddress)
    await next(client, 'close')
  }),

  scenario('a local half that is taken or not ours', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const port = portOf(server)
    const taken = w.dial(server, { localPort: port, localAddress: '127.0.0.1' })
    await next(taken, 'close')
    const foreign = w.dial(server, { localAddress: '192.0.2.1' })
    await next(foreign, 'close')
    const otherFamily = w.dial(server, { localAddress: '::1' })
    await next(otherFamily, 'close')
  }),

  scenario('a refusal names the local half that was chosen', async (w) => {
    const localPort = await w.closedPort()
    const port = await w.closedPort()
    const options = { port, host: '127.0.0.1', localPort, localAddress: '127.0.0.1' }
    const client = w.watch('c', w.net.connect(options))
    await next(client, 'close')
  }),

  scenario('what is written before connect arrives', async (w) => {
    let received = ''
    const server = await w.serve((socket) => {
      socket.setEncoding('utf8').on('data', (text) => {
        received += text
      })
      socket.on('end', () => w.note('s', received))
    })
    const client = new w.net.Socket()
    w.watch('c', client).connect(portOf(server), '127.0.0.1')
    w.note(
      'c',
      client.write('one', () => w.note('c', 'one written')),
      client.bytesWritten,
    )
    w.note('c', client.write('zwei\u00e4', 'latin1'), client.bytesWritten, client.writableLength)
    client.write(Buffer.from('three'), () => w.note('c', 'three written', client.bytesWritten))
    client.end('four', () => w.note('c', 'end callback'))
    w.note('c', client.writableEnded, client.writableFinished, client.bytesWritten)
    client.resume()
    await next(client, 'close')
    w.note('c', client.bytesWritten)
  }),

  scenario('a big write before connect arrives whole', async (w) => {
    let size = 0
    const server = await w.serve((socket) => {
      socket.on('data', (data) => {
        size += data.length
      })
      socket.on('end', () => w.note('s', size))
    })
    const client = w.dial(server)
    w.note('c', client.write(pattern(1_500_000)), client.bytesWritten)
    client.end()
    client.resume()
    await next(client, 'close')
    w.note('c', client.bytesWritten)
  }),

  scenario('destroy before the dialling begins', async (w) => {
    const server = await w.serve(() => w.note('s', 'accepted'))
    const client = w.dial(server)
    client.write('x', (error) => w.note('c', 'write', error))
    w.note('c', client.destroy() === client, client.connecting, client.destroyed)
    await next(client, 'close')
    await turns()
  }),

  scenario('destroy with an error while connecting', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    client.on('connectionAttempt', () => {
      process.nextTick(() => client.destroy(new Error('changed my mind')))
    })
    await next(client, 'close')
    await turns()
    // The server hears of it unless the network loses that, and nobody repeats it.
    w.traces['s'] = []
  }),

  scenario('destroy while the name is looked up', async (w) => {
    const lookup: Lookup = (host, options, callback) => {
      setImmediate(() => loopback(host, options, callback))
    }
    const client = w.watch('c', w.net.connect({ port: 9, host: 'h', lookup: lookup as never }))
    client.destroy()
    await next(client, 'close')
    await turns()
  }),

  scenario('a signal that was aborted before', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const signal = AbortSignal.abort()
    const client = w.dial(server, { signal })
    await next(client, 'close')
    // The built-in tells 'close' and connects nevertheless.
    await next(client, 'ready')
    client.destroy()
  }),

  scenario('an abort signal ends an open connection', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const abort = new AbortController()
    const client = w.dial(server, { signal: abort.signal })
    await next(client, 'connect')
    abort.abort()
    await next(client, 'close')
  }),

  scenario('connect on a socket that is connected or connecting', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    await next(client, 'connect')
    await turns(2)
    client.connect(portOf(server), '127.0.0.1', () => w.note('c', 'callback'))
    await next(client, 'ready')
    w.note('c', client.readyState)
    client.resume().end()
    await next(client, 'close')
    const hasty = w.watch('hasty', w.net.connect(portOf(server), '127.0.0.1'))
    hasty.connect(portOf(server), '127.0.0.1')
    const [error] = await next(hasty, 'error')
    w.traces['hasty'] = []
    w.note('hasty', Reflect.get(error as object, 'code'), Reflect.get(error as object, 'syscall'))
  }),

  scenario('the same object connects again and again', async (w) => {
    const server = await w.serve((socket) => socket.end('hello'))
    const client = new w.net.Socket()
    w.watch('c', client)
    for (let round = 0; round < 5; round += 1) {
      client.connect(portOf(server), '127.0.0.1', () => w.note('c', 'callback', round))
      w.note('c', client.bytesRead, client.bytesWritten, client.destroyed, client.readyState)
      client.write('again')
      client.resume()
      await next(client, 'close')
      w.note('c', client.bytesRead, client.bytesWritten, client.destroyed)
    }
  }),

  scenario('connecting again after a refusal', async (w) => {
    const port = await w.closedPort()
    const server = await w.serve((socket) => socket.end('hello'))
    const client = new w.net.Socket()
    w.watch('c', client)
    client.connect(port, '127.0.0.1')
    await next(client, 'close')
    client.connect(portOf(server), '127.0.0.1')
    client.resume()
    await next(client, 'close')
    w.note('c', client.bytesRead)
  }),

  scenario('a block list stops a client', async (w) => {
    const server = await helloServer(w)
    const blockList = new w.net.BlockList()
    blockList.addAddress('127.0.0.1')
    const client = w.dial(server, { blockList })
    client.resume()
    await next(client, 'close')
  }),

  scenario('connect goes through the method of the prototype', async (w) => {
    const server = await helloServer(w)
    const { prototype } = w.net.Socket
    const original = prototype.connect
    Reflect.set(prototype, 'connect', function (this: net.Socket, ...args: unknown[]) {
      w.note('c', 'patched', args.length)
      return Reflect.apply(original, this, args)
    })
    const client = w.dial(server)
    Reflect.set(prototype, 'connect', original)
    client.resume()
    await next(client, 'close')
    await until(() => client.destroyed)
  }),

  scenario('several listeners of lookup and of one attempt', async (w) => {
    const server = await helloServer(w)
    const client = w.dial(server, { host: 'localhost', family: 4 })
    client.once('connectionAttempt', (ip, port, family) => {
      w.note('c', 'attempt', ip, port === portOf(server), family, client.connecting)
    })
    client.resume()
    await next(client, 'close')
  }),
]
