import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Core } from '../../bindings/core.ts'
import {
  type Connection,
  Endpoint,
  type EndpointSecurity,
  type Stream,
} from '../transport/index.ts'
import type { Host } from './host.ts'
import { World } from './world.ts'

const SECOND = 1_000_000
const RTT_MICROS = 60_000
const RATE = 4e6
const MEGABYTES = 10
const PORT = 4_433
const CHUNK = new Uint8Array(65_536)

interface Side {
  readonly endpoint: Endpoint
  readonly wake: () => void
}

/** A client behind a NAT and a server; `isUpload`: which way 10 MB go. */
class Scene {
  readonly world: World
  readonly nat
  readonly client: Side
  readonly server: Side
  readonly connection: Connection
  accepted: Connection | undefined
  received = 0
  isEnded = false
  readonly failures: number[] = []
  readonly moves: string[] = []
  private readonly core = Core.create()

  constructor(options: {
    outside: readonly string[]
    isUpload: boolean
    security?: EndpointSecurity
    lossRate?: number
  }) {
    this.world = new World(7)
    const { outside, isUpload, security = {}, lossRate = 0 } = options
    const link = {
      delayMicros: RTT_MICROS / 4,
      rateBitsPerSecond: RATE,
      queueBytes: 60_000,
      lossRate,
    }
    this.nat = this.world.nat('nat', outside, { filtering: 'address-and-port' })
    this.world.access(this.nat).set(link)
    const clientHost = this.world.host('client', '10.0.0.2', { behind: this.nat })
    const serverHost = this.world.host('server', '198.51.100.1')
    this.world.access(serverHost).set({ delayMicros: RTT_MICROS / 4 })
    this.client = this.side(clientHost, 0, security)
    this.server = this.side(serverHost, PORT, security)
    this.server.endpoint.setListening(true)
    this.server.endpoint.owner = {
      connection: (connection) => {
        assert.is(this.accepted, undefined, 'a second connection')
        this.accepted = connection
        connection.owner = { moved: () => this.moves.push(connection.remote.address) }
      },
      stream: (stream) => this.use(stream, !isUpload),
    }
    const to = { socketIndex: 0, address: serverHost.address, port: PORT }
    this.connection = this.client.endpoint.connect(clientHost.now, to, {
      closed: (code) => this.failures.push(code),
    }) as Connection
    this.open(isUpload)
  }

  private open(isUpload: boolean): void {
    const owner = this.owner(() => stream as Stream, isUpload)
    const stream = this.connection.openStream(1, owner)
    owner.writable()
  }

  private use(stream: Stream, isSender: boolean) {
    const owner = this.owner(() => stream, isSender)
    this.world.at(this.world.now, () => {
      owner.writable()
      this.server.wake()
    })
    return owner
  }

  private owner(stream: () => Stream, isSender: boolean) {
    let left = isSender ? MEGABYTES * 1e6 : 0
    const scratch = new Uint8Array(65_536)
    return {
      readable: () => {
        while (true) {
          const size = stream().readInto(scratch)
          if (size === 0) break
          this.received += size
        }
        if (stream().ended && !isSender) this.isEnded = true
      },
      writable: () => {
        while (left > 0) {
          const size = stream().write(CHUNK.subarray(0, Math.min(left, CHUNK.length)))
          left -= size
          if (size === 0) return
        }
        stream().finish()
      },
      failed: (code: number) => this.failures.push(code),
    }
  }

  private side(host: Host, port: number, security: EndpointSecurity): Side {
    const endpoint = new Endpoint({ core: this.core, random: host.random, now: host.now, security })
    const attachment = host.attach(endpoint, [{ port }])
    endpoint.onWork = () => attachment.wake()
    return { endpoint, wake: () => attachment.wake() }
  }

  /** Longest time without a byte until the transfer is over. */
  run(until: number): number {
    const { world } = this
    let longest = 0
    let last = -1
    while (!this.isEnded && world.now < until) {
      const before = this.received
      world.run(() => this.received > before || this.isEnded, { until })
      if (last >= 0) longest = Math.max(longest, world.now - last)
      last = world.now
    }
    return longest
  }

  close(): void {
    this.client.endpoint.destroy()
    this.server.endpoint.destroy()
  }
}

for (const security of ['noise', 'none'] as const) {
  for (const isUpload of [true, false]) {
    for (const outside of [['203.0.113.1'], ['203.0.113.1', '203.0.113.2']]) {
      const what = `${outside.length === 1 ? 'port' : 'address'}, ${isUpload ? 'upload' : 'download'}, ${security}`
      test(`a NAT that changes the ${what} at 1 s and then each 5 s does not stop 10 MB`, () => {
        const scene = new Scene({ outside, isUpload, security: { mode: security } })
        let reboots = 0
        for (let at = 1; at < 200; at += 5) {
          scene.world.at(at * SECOND, () => {
            if (scene.isEnded) return
            scene.nat.reboot()
            reboots += 1
          })
        }
        const longest = scene.run(200 * SECOND)
        assert.ok(scene.isEnded, `${scene.received} bytes`)
        assert.is(scene.received, MEGABYTES * 1e6)
        assert.equal(scene.failures, [])
        assert.ok(reboots >= 4)
        const { challenges, moves } = scene.server.endpoint.counters()
        assert.is(moves, reboots)
        assert.is(challenges, reboots, 'one challenge for each new place')
        // Two round trips and the probe timeout, with the queue in front of the bottleneck.
        const { probeTimeoutMicros, rttSmoothedMicros } = scene.connection.figures()
        const bound = 2 * rttSmoothedMicros + probeTimeoutMicros + 2 * RTT_MICROS
        assert.ok(longest <= bound, `${longest} µs of ${bound}`)
        const last = scene.moves.at(-1)
        assert.is(last, outside[reboots % outside.length])
        assert.is(scene.accepted?.remote.address, last)
        scene.close()
      })
    }
  }
}

test('a server that changes its address is followed, too', () => {
  const world = new World(3)
  const core = Core.create()
  const clientHost = world.host('client', '192.0.2.1')
  const serverHost = world.host('server', ['198.51.100.1', '198.51.100.2'])
  world.link(clientHost, serverHost, { delayMicros: RTT_MICROS / 2, rateBitsPerSecond: RATE })
  const make = (host: Host, sockets: { port?: number; address?: string }[]) => {
    const endpoint = new Endpoint({ core, random: host.random, now: host.now })
    const attachment = host.attach(endpoint, sockets)
    endpoint.onWork = () => attachment.wake()
    return endpoint
  }
  const client = make(clientHost, [{}])
  const server = make(serverHost, [
    { port: PORT },
    { port: PORT + 1 },
    { port: PORT, address: '198.51.100.2' },
  ])
  let accepted: Connection | undefined
  let received = 0
  const failures: number[] = []
  server.owner = {
    connection: (connection) => {
      accepted = connection
    },
    stream: (stream) => ({
      readable: () => {
        const scratch = new Uint8Array(65_536)
        for (let size = stream.readInto(scratch); size > 0; size = stream.readInto(scratch)) {
          received += size
        }
      },
      writable: () => {},
      failed: (code) => failures.push(code),
    }),
  }
  server.setListening(true)
  const places: string[] = []
  const to = { socketIndex: 0, address: '198.51.100.1', port: PORT }
  const connection = client.connect(clientHost.now, to, {
    moved: () => places.push(`${connection.remote.address}:${connection.remote.port}`),
    closed: (code) => failures.push(code),
  }) as Connection
  const write = () => {
    while (stream.write(CHUNK) > 0);
  }
  const stream: Stream = connection.openStream(1, {
    readable: () => {},
    writable: write,
    failed: (code) => failures.push(code),
  }) as Stream
  write()
  for (const [at, socketIndex] of [
    [1, 1],
    [2, 2],
    [3, 0],
  ] as const) {
    world.at(at * SECOND, () => accepted?.moveTo(socketIndex))
  }
  for (let second = 1; second <= 4; second++) {
    const before = received
    world.run(second * SECOND)
    assert.ok(received - before > (RATE / 8) * 0.6, `second ${second}: ${received - before} bytes`)
  }
  assert.equal(places, ['198.51.100.1:4434', '198.51.100.2:4433', '198.51.100.1:4433'])
  assert.equal(failures, [])
  client.destroy()
  server.destroy()
})

test('an endpoint on three ports is one node, and a lost port is replaced without a lost byte', () => {
  const world = new World(4)
  const core = Core.create()
  const make = (name: string, address: string, ports: readonly number[]) => {
    const host = world.host(name, address)
    const endpoint = new Endpoint({ core, random: host.random, now: host.now })
    const attachment = host.attach(
      endpoint,
      ports.map((port) => ({ port })),
    )
    endpoint.onWork = () => attachment.wake()
    return { host, endpoint }
  }
  const server = make('server', '198.51.100.1', [PORT, PORT + 1, PORT + 2])
  const client = make('client', '192.0.2.1', [5_000, 5_001])
  world.link(client.host, server.host, { delayMicros: RTT_MICROS / 2, rateBitsPerSecond: RATE })
  const received = new Map<number, number>()
  const accepted: Connection[] = []
  server.endpoint.setListening(true)
  server.endpoint.owner = {
    connection: (connection) => {
      accepted.push(connection)
    },
    stream: (stream) => {
      const scratch = new Uint8Array(65_536)
      const readable = () => {
        for (let size = stream.readInto(scratch); size > 0; size = stream.readInto(scratch)) {
          received.set(stream.port, (received.get(stream.port) ?? 0) + size)
        }
      }
      return { readable, writable: () => {}, failed: () => {} }
    },
  }
  const failures: number[] = []
  const failed = (code: number) => failures.push(code)
  const connections = [0, 1, 2].map((index) => {
    const to = { socketIndex: 0, address: '198.51.100.1', port: PORT + index }
    const connection = client.endpoint.connect(client.host.now, to, {
      closed: failed,
    }) as Connection
    const write = () => {
      while (stream.write(CHUNK) > 0);
    }
    const owner = { readable: () => {}, writable: write, failed }
    const stream = connection.openStream(index, owner) as Stream
    write()
    return connection
  })
  world.runFor(SECOND)
  assert.is(new Set(connections.map(({ security }) => security?.remote?.nodeId.toString())).size, 1)
  assert.equal(
    accepted.map(({ remote }) => remote.port),
    [5_000, 5_000, 5_000],
  )
  client.endpoint.replaceSocket(client.host.now, 0, 1)
  world.runFor(SECOND)
  assert.equal(
    accepted.map(({ remote }) => remote.port),
    [5_001, 5_001, 5_001],
  )
  const before = new Map(received)
  world.runFor(2 * SECOND)
  for (const [port, size] of received) assert.ok(size > (before.get(port) ?? 0), `stream ${port}`)
  assert.equal(failures, [])
  client.endpoint.destroy()
  server.endpoint.destroy()
})

test('a way that breaks where nobody says so is left for another socket, and back', () => {
  const world = new World(5)
  const core = Core.create()
  const clientHost = world.host('client', '192.0.2.1')
  const serverHost = world.host('server', '198.51.100.1')
  world.link(clientHost, serverHost, { delayMicros: RTT_MICROS / 2, rateBitsPerSecond: RATE })
  const make = (host: Host, socketCount: number) =>
    new Endpoint({ core, random: host.random, now: host.now, socketCount })
  const client = make(clientHost, 2)
  const server = make(serverHost, 1)
  /** Sockets of the client from which nothing gets through. */
  const broken = new Set<number>()
  let sent = 0
  const collect = client.collect.bind(client)
  client.collect = (take) =>
    collect((to, bytes) => {
      sent += 1
      if (!broken.has(to.socketIndex)) take(to, bytes)
    })
  const attachment = clientHost.attach(client, [{ port: 5_000 }, { port: 5_001 }])
  client.onWork = () => attachment.wake()
  const listening = serverHost.attach(server, [{ port: PORT }])
  server.onWork = () => listening.wake()
  let received = 0
  const scratch = new Uint8Array(65_536)
  server.owner = {
    stream: (stream) => ({
      readable: () => {
        for (let size = stream.readInto(scratch); size > 0; size = stream.readInto(scratch)) {
          received += size
        }
      },
      writable: () => {},
      failed: () => {},
    }),
  }
  server.setListening(true)
  const told: string[] = []
  const to = { socketIndex: 0, address: '198.51.100.1', port: PORT }
  const connection = client.connect(clientHost.now, to, {
    silent: () => told.push('silent'),
    closed: (code) => told.push(`closed ${code}`),
  }) as Connection
  const write = () => {
    while (stream.write(CHUNK) > 0);
  }
  const failed = (code: number) => told.push(`failed ${code}`)
  const stream = connection.openStream(1, { readable() {}, writable: write, failed }) as Stream
  write()
  /** Which socket is in use after so many seconds; undefined when little has arrived. */
  const workingAfter = (seconds: number) => {
    const before = received
    world.runFor(seconds * SECOND)
    return received - before > RATE / 16 ? connection.remote.socketIndex : undefined
  }
  assert.is(workingAfter(2), 0)
  broken.add(0)
  assert.is(workingAfter(3), 1)
  broken.delete(0)
  broken.add(1)
  assert.is(workingAfter(3), 0)
  assert.equal(told, ['silent', 'silent'])
  // Both are: they are tried in turn, with hardly more probes than one socket has.
  broken.add(0)
  world.runFor(10 * SECOND)
  const before = sent
  world.runFor(10 * SECOND)
  assert.ok(sent - before <= 3 * 10, `${sent - before} packets in 10 s of silence`)
  assert.equal(told, ['silent', 'silent', 'silent'])
  // Whichever comes back is found.
  broken.delete(1)
  assert.is(workingAfter(8), 1)
  broken.add(1)
  world.runFor(20 * SECOND)
  broken.delete(0)
  assert.is(workingAfter(8), 0)
  assert.equal(told, ['silent', 'silent', 'silent', 'silent'])
  const { moves } = server.counters()
  // What lasts a moment only is no reason to forget a way.
  broken.add(0)
  world.runFor(0.4 * SECOND)
  broken.delete(0)
  assert.is(workingAfter(2), 0)
  assert.is(client.counters().moves, 0)
  assert.is(server.counters().moves, moves)
  client.destroy()
  server.destroy()
})

test.run()
