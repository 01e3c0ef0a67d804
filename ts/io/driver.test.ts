/** Endpoints over real sockets, the same on every tier. */
import { fork } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Stream, StreamOwner } from '../transport/index.ts'
import type { BackendChoice } from './backend.ts'
import { nowMicros } from './clock.ts'
import type { DatagramRefusal, UdpBinding } from './datagram-socket.ts'
import { Driver, type DriverSetup } from './driver.ts'
import { Loop } from './loop.ts'
import { Route } from './route.ts'
import { availableBackends } from './testing/backends.ts'
import { until } from './testing/until.ts'

const WAIT_MS = 30_000
const LOCAL: UdpBinding = { address: '127.0.0.1', port: 0, family: 4 }

/** Reads a stream to its end and counts. */
class Sink implements StreamOwner {
  readonly hash = createHash('sha256')
  size = 0
  isEnded = false
  failure: number | undefined
  stream: Stream | undefined
  onWritable: () => void = () => {}

  readable(): void {
    for (let piece = this.stream?.read(); piece; piece = this.stream?.read()) {
      this.size += piece.length
      this.hash.update(piece)
    }
    this.isEnded = this.stream?.ended ?? false
  }
  writable(): void {
    this.onWritable()
  }
  failed(code: number): void {
    this.failure = code
  }
}

/** Writes all of `bytes`, and says that nothing follows if it is the last. */
function send(stream: Stream, sink: Sink, bytes: Buffer, isLast = true): void {
  let done = 0
  const go = () => {
    while (done < bytes.length) {
      const size = stream.write(bytes.subarray(done))
      if (size === 0) return
      done += size
    }
    sink.onWritable = () => {}
    if (isLast) stream.finish()
  }
  sink.onWritable = go
  go()
}

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

for (const choice of availableBackends()) {
  /** A case with a loop of its own on this tier, closed in any case. */
  const check = (name: string, run: (world: World) => Promise<void> | void) => {
    test(`${choice.backend}: ${name}`, async () => {
      const world = new World(choice)
      try {
        await run(world)
      } finally {
        world.close()
      }
    })
  }

  check('streams carry bytes in both directions', async (world) => {
    const server = world.drive()
    const client = world.drive()
    assert.is(server.backend, choice.backend)
    assert.is(server.socket.address, '127.0.0.1')
    const bytes = Buffer.alloc(3_000_000, 'the same engine on every tier. ')
    const sinks = world.serve(server, (sink) => send(sink.stream as Stream, sink, bytes))
    const sink = world.dial(client, server)
    send(sink.stream as Stream, sink, bytes)
    await until(() => sink.isEnded && sinks[0]?.isEnded === true, 'both directions')
    assert.is(sink.hash.digest('hex'), digest(bytes))
    assert.is(sinks[0]?.hash.digest('hex'), digest(bytes))
    assert.is(client.endpoint.counters().droppedDescriptor, 0)
  })

  check('an answer and the acknowledgement of the question are one packet', async (world) => {
    const server = world.drive()
    const client = world.drive()
    const echo = (sink: Sink) => {
      sink.readable = () => {
        const bytes = sink.stream?.read()
        if (bytes) process.nextTick(() => sink.stream?.write(bytes))
      }
      // The first question came with the stream, and was read.
      sink.stream?.write(Buffer.alloc(sink.size))
    }
    world.serve(server, echo)
    const sink = world.dial(client, server)
    const question = Buffer.alloc(64)
    let rounds = 0
    sink.readable = () => {
      if (!sink.stream?.read()) return
      rounds += 1
      process.nextTick(() => sink.stream?.write(question))
    }
    sink.stream?.write(question)
    await until(() => rounds > 20, 'the first rounds')
    const before = [client, server].map(({ endpoint }) => endpoint.counters().datagramsSent)
    const from = rounds
    await until(() => rounds > from + 100, 'a hundred rounds')
    for (const [index, { endpoint }] of [client, server].entries()) {
      const packets = endpoint.counters().datagramsSent - (before[index] as number)
      assert.ok(packets < (rounds - from) * 1.2, `${packets} packets in ${rounds - from} rounds`)
    }
  })

  check('twenty endpoints share one memory', async (world) => {
    const server = world.drive()
    const bytes = Buffer.alloc(200_000, 'twenty')
    const sinks = world.serve(server, () => {})
    for (let index = 0; index < 20; index++) {
      const sink = world.dial(world.drive(), server)
      send(sink.stream as Stream, sink, bytes)
    }
    const all = () => sinks.length === 20 && sinks.every(({ isEnded }) => isEnded)
    await until(all, 'twenty streams')
    for (const sink of sinks) assert.is(sink.hash.digest('hex'), digest(bytes))
  })

  check('one dual-stack socket serves IPv4 and IPv6', async (world) => {
    const server = world.drive({ binding: { address: '', port: 0, family: 6 } })
    assert.is(server.socket.address, '::')
    const bytes = Buffer.alloc(100_000, 'x')
    const sinks = world.serve(server, () => {})
    const clients = [
      world.drive(),
      world.drive({ binding: { address: '::1', port: 0, family: 6 } }),
    ]
    for (const [index, client] of clients.entries()) {
      const sink = world.dial(client, server, index === 0 ? '127.0.0.1' : '::1')
      send(sink.stream as Stream, sink, bytes)
    }
    await until(() => sinks.length === 2 && sinks.every(({ isEnded }) => isEnded), 'both')
  })

  check('one node on three ports: a closed port costs time, not bytes', async (world) => {
    const server = world.drive({ more: [LOCAL, LOCAL] })
    const lost: number[] = []
    const client = world.drive({ more: [LOCAL], onSocketLost: (index) => lost.push(index) })
    const ports = server.sockets.map(({ inner }) => inner.port)
    assert.is(new Set(ports).size, 3)
    const nodes = new Set<string>()
    const sources = new Set<number>()
    const sinks = world.serve(server, () => {})
    server.endpoint.owner.connection = (connection) => {
      nodes.add(String(connection.security?.remote?.nodeId))
      sources.add(connection.remote.port)
    }
    const bytes = Buffer.alloc(3_000_000, 'three ports, one node. ')
    const dials = ports.map((port) => world.dial(client, { socket: { port } }))
    const ids = () =>
      new Set(dials.map(({ stream }) => String(stream?.connection.security?.remote?.nodeId)))
    const third = bytes.length / 3
    const sendThird = (index: number) => {
      const piece = bytes.subarray(index * third, (index + 1) * third)
      for (const sink of dials) send(sink.stream as Stream, sink, piece, index === 2)
    }
    const has = (size: number) => () =>
      sinks.length === 3 && sinks.every((sink) => sink.size >= size)
    sendThird(0)
    await until(has(third), 'the first third')
    server.closeSocket(0)
    sendThird(1)
    await until(has(2 * third), 'the second third')
    // The system says that a socket is of no use any more.
    client.sockets[0]?.failed(new Error('gone'))
    sendThird(2)
    await until(() => sinks.every(({ isEnded }) => isEnded), 'all bytes')
    for (const sink of sinks) assert.is(sink.hash.digest('hex'), digest(bytes))
    assert.equal(
      [...dials, ...sinks].map(({ failure }) => failure),
      Array(6).fill(undefined),
    )
    assert.is(nodes.size, 1)
    assert.is(ids().size, 1)
    assert.equal([...sources], [client.sockets[0]?.inner.port])
    assert.equal(lost, [0])
    // Whoever still names the lost socket is served by another one.
    const late = world.dial(client, { socket: { port: ports[2] as number } })
    late.stream?.finish()
    await until(() => sinks[3]?.isEnded === true, 'a connection that was opened later')
    assert.is(late.stream?.connection.remote.socketIndex, 1)
    assert.is(server.endpoint.gauges().connections, 4)
    assert.throws(() => client.closeSocket(1), /last socket/)
    const mixed = [{ address: '::1', port: 0, family: 6 } as const]
    assert.throws(() => world.drive({ more: mixed }), /one family/)
  })

  check(
    'a port that is taken fails the whole endpoint, and leaves no other bound',
    async (world) => {
      const taken = world.drive()
      const free = world.drive()
      const { port } = free.socket
      free.close()
      await new Promise((resolve) => setImmediate(resolve))
      const binding = { ...LOCAL, port }
      const more = [{ ...LOCAL, port: taken.socket.port }]
      assert.is(
        Reflect.get(
          errorOf(() => world.drive({ binding, more })),
          'code',
        ),
        'EADDRINUSE',
      )
      await new Promise((resolve) => setImmediate(resolve))
      assert.is(world.drive({ binding }).socket.port, port)
    },
  )

  check('lost, doubled, altered and late datagrams cost time, not bytes', async (world) => {
    const faults = 'loss=5%,duplicate=2%,corrupt=1%,reorder=5%:1ms'
    // Hundreds of datagrams, so that some are dropped for certain.
    const options = { packetBytesMax: 1_200 }
    const server = world.drive({ faults, options })
    const client = world.drive({ faults, options })
    const bytes = Buffer.alloc(500_000, 'through a bad network. ')
    const sinks = world.serve(server, () => {})
    const sink = world.dial(client, server)
    send(sink.stream as Stream, sink, bytes)
    await until(() => sinks[0]?.isEnded === true, 'all bytes')
    assert.is(sinks[0]?.hash.digest('hex'), digest(bytes))
    assert.ok(client.faultsDropped > 0)
  })

  check('binding fails as node:dgram fails', async (world) => {
    const taken = world.drive()
    const reference = createSocket('udp4')
    for (const binding of [
      { ...LOCAL, port: taken.socket.port },
      { ...LOCAL, address: '192.0.2.1' },
    ]) {
      const error = errorOf(() => world.drive({ binding }))
      const socket = createSocket('udp4')
      const failed = once(socket, 'error')
      socket.bind({ port: binding.port, address: binding.address, exclusive: true })
      const [expected] = await failed
      socket.close()
      for (const field of ['code', 'errno', 'syscall', 'address', 'message']) {
        assert.is(Reflect.get(error, field), Reflect.get(expected, field), field)
      }
      assert.is(Reflect.get(error, 'port') || undefined, expected.port || undefined)
    }
    reference.close()
    assert.throws(
      () => world.drive({ options: { packetBytesMax: 1 } }),
      (error: Error) => error instanceof RangeError,
    )
  })

  if (choice.backend !== 'dgram') {
    check('a refusal is told with the address it is about', async (world) => {
      const refusals: DatagramRefusal[] = []
      const client = world.drive({ onRefused: (refusal) => refusals.push(refusal) })
      const gone = world.drive()
      const { port } = gone.socket
      gone.close()
      world.dial(client, { socket: { port } })
      await until(() => refusals.length > 0, 'the refusal')
      assert.equal(refusals[0], { code: 'ECONNREFUSED', address: '127.0.0.1', port, mtuBytes: 0 })
    })

    check('packets are never cut on their way, however large they may be', (world) => {
      for (const binding of [LOCAL, { address: '', port: 0, family: 6 } as const]) {
        assert.is(world.drive({ binding }).socket.figures().neverFragments, true)
      }
    })
  }

  check('figures count calls', async (world) => {
    const server = world.drive()
    const client = world.drive()
    const sinks = world.serve(server, () => {})
    const sink = world.dial(client, server)
    send(sink.stream as Stream, sink, Buffer.alloc(1_000_000))
    await until(() => sinks[0]?.isEnded === true, 'all bytes')
    const { sendCalls = 0 } = client.socket.figures()
    const { datagramsSent } = client.endpoint.counters()
    assert.ok(sendCalls > 0 && sendCalls <= datagramsSent)
    if (choice.backend !== 'dgram') assert.ok(sendCalls < datagramsSent / 4, String(sendCalls))
    server.close()
    assert.ok((client.socket.figures().sendCalls ?? 0) >= sendCalls)
  })

  check('closing in the middle of traffic leaves nothing behind', async (world) => {
    const server = world.drive()
    const client = world.drive()
    const sinks = world.serve(server, () => {})
    const sink = world.dial(client, server)
    send(sink.stream as Stream, sink, Buffer.alloc(50_000_000))
    await until(() => (sinks[0]?.size ?? 0) > 1_000_000, 'the first megabyte')
    server.close()
    await until(() => sink.failure !== undefined, 'the farewell')
    client.close()
    client.close()
    client.flush()
  })

  const refProgram = fileURLToPath(new URL('./testing/ref-process.ts', import.meta.url))
  for (const [action, ends] of [
    ['unref', true],
    ['close', true],
    ['ref-again', false],
    ['nothing', false],
  ] as const) {
    test(`${choice.backend}: after ${action} the process ${ends ? 'ends' : 'stays'}`, async () => {
      const env = { ...process.env, PUNCHLINE_BACKEND: choice.backend }
      const child = fork(refProgram, [action], { execArgv: ['--import', 'tsx'], env })
      const exited = once(child, 'exit')
      const [backend] = await once(child, 'message')
      assert.is(backend, choice.backend)
      // One that stays takes the message; one that ends by itself does not wait for it.
      if (!ends) child.send('go')
      const timer = setTimeout(() => child.kill('SIGKILL'), WAIT_MS)
      const [code] = await exited
      clearTimeout(timer)
      assert.is(code, 0)
    })
  }
}

test('a route knows where it starts from, or why there is none', async () => {
  const nobody = { refused() {}, unreachable() {} }
  for (const [address, family] of [
    ['127.0.0.1', 4],
    ['::1', 6],
  ] as const) {
    const route = new Route(address, 9, family, nobody)
    assert.is(route.localAddress, address)
    route.close()
    route.close()
  }
  const told = new Promise<NodeJS.ErrnoException>((resolve) => {
    const route = new Route('not an address', 9, 4, { refused() {}, unreachable: resolve })
    assert.is(route.localAddress, undefined)
  })
  assert.type((await told).code, 'string')
})

class World {
  private readonly loop: Loop
  private readonly drivers: Driver[] = []

  constructor(backend: BackendChoice) {
    this.loop = new Loop({ backend })
  }

  drive(setup: Partial<DriverSetup> = {}): Driver {
    const driver = new Driver({ loop: this.loop, binding: LOCAL, faults: '', ...setup })
    this.drivers.push(driver)
    return driver
  }

  serve(driver: Driver, opened: (sink: Sink) => void): Sink[] {
    const sinks: Sink[] = []
    driver.endpoint.owner = {
      stream(stream) {
        const sink = new Sink()
        sink.stream = stream
        sinks.push(sink)
        process.nextTick(() => opened(sink))
        return sink
      },
    }
    driver.endpoint.setListening(true)
    return sinks
  }

  dial(
    driver: Driver,
    server: { readonly socket: { readonly port: number } },
    address = '127.0.0.1',
  ): Sink {
    const to = { socketIndex: 0, address, port: server.socket.port }
    const sink = new Sink()
    sink.stream = driver.endpoint.connect(nowMicros(), to, {})?.openStream(0, sink)
    assert.ok(sink.stream)
    return sink
  }

  close(): void {
    for (const driver of this.drivers) driver.close()
    this.loop.close()
  }
}

function errorOf(action: () => unknown): Error {
  try {
    action()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing failed')
}

test.run()
