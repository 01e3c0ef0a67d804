import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CODE_IDLE_TIMEOUT, CODE_RESET, Core } from '../../bindings/core.ts'
import {
  type Connection,
  Endpoint,
  type EndpointOptions,
  NodeKey,
  type Stream,
} from '../transport/index.ts'
import type { Host } from './host.ts'
import type { LinkParams } from './link.ts'
import { type LinkPair, World } from './world.ts'

const SECOND = 1_000_000
const HOUR = 3600 * SECOND
const PORT = 4_433
const TO = { socketIndex: 0, address: '198.51.100.1', port: PORT }
const CHUNK = new Uint8Array(65_536)

interface SceneOptions {
  readonly link: Partial<LinkParams>
  readonly client?: Partial<EndpointOptions>
  readonly server?: Partial<EndpointOptions>
}

/** A client and a server that counts the bytes of each stream. */
class Scene {
  readonly world = new World(11)
  readonly pair: LinkPair
  readonly client: Endpoint
  readonly clientHost: Host
  readonly serverHost: Host
  readonly codes: number[] = []
  /** What arrived, by the text that streams begin with: their first byte. */
  readonly received = new Map<number, number>()
  readonly ended: number[] = []
  private readonly core = Core.create()
  private readonly key: NodeKey
  private readonly options: SceneOptions
  private server: Endpoint

  constructor(options: SceneOptions) {
    this.options = options
    this.clientHost = this.world.host('client', '192.0.2.1')
    this.serverHost = this.world.host('server', TO.address)
    this.pair = this.world.link(this.clientHost, this.serverHost, options.link)
    this.key = NodeKey.generate(this.serverHost.random)
    this.client = this.endpoint(this.clientHost, 0, options.client)
    this.server = this.serve()
  }

  private endpoint(host: Host, port: number, options: Partial<EndpointOptions> = {}): Endpoint {
    const security = port === PORT ? { nodeKey: this.key } : {}
    const { core } = this
    const endpoint = new Endpoint({ core, random: host.random, now: host.now, options, security })
    const attachment = host.attach(endpoint, [{ port }])
    endpoint.onWork = () => attachment.wake()
    return endpoint
  }

  private serve(): Endpoint {
    const server = this.endpoint(this.serverHost, PORT, this.options.server)
    server.setListening(true)
    server.owner = {
      stream: (stream) => {
        let name = -1
        const scratch = new Uint8Array(65_536)
        const readable = () => {
          for (let size = stream.readInto(scratch); size > 0; size = stream.readInto(scratch)) {
            if (name < 0) name = scratch[0] as number
            this.received.set(name, (this.received.get(name) ?? 0) + size)
          }
          if (!stream.ended) return
          this.ended.push(name)
          stream.finish()
          stream.release()
        }
        return { readable, writable: () => {}, failed: () => {} }
      },
    }
    return server
  }

  /** The server's power fails, and comes back: it has its key, and has forgotten everything else. */
  restartServer(): void {
    this.serverHost.crash()
    this.server.destroy()
    this.serverHost.restart()
    this.server = this.serve()
  }

  /** Writes `size` bytes with that first byte on a stream of its own. */
  send(connection: Connection, name: number, size: number): void {
    let left = size
    const write = () => {
      while (left > 0) {
        const bytes = CHUNK.subarray(0, Math.min(left, CHUNK.length))
        bytes[0] = name
        const written = stream.write(bytes)
        left -= written
        if (written === 0) return
      }
      stream.finish()
      stream.release()
    }
    const failed = (code: number) => {
      left = 0
      stream.release()
      this.codes.push(code)
    }
    const stream = connection.openStream(1, {
      readable: () => {},
      writable: write,
      failed,
    }) as Stream
    write()
  }

  has(name: number, size: number): boolean {
    return this.received.get(name) === size && this.ended.includes(name)
  }

  close(): void {
    this.client.destroy()
    this.server.destroy()
  }
}

test('10 MB arrive over a link that is 5 s on and 2 s off', () => {
  const scene = new Scene({ link: { delayMicros: 25_000, rateBitsPerSecond: 5e6 } })
  const connection = scene.client.connect(scene.clientHost.now, TO, {
    closed: (code) => scene.codes.push(code),
  }) as Connection
  scene.send(connection, 1, 10e6)
  for (let at = 5; at < 100; at += 7) scene.pair.blackout(at * SECOND, (at + 2) * SECOND)
  scene.world.run(() => scene.has(1, 10e6), { until: 100 * SECOND })
  assert.ok(scene.has(1, 10e6), `${scene.received.get(1)} bytes`)
  assert.equal(scene.codes, [])
  // 16 s without an outage at the bottleneck, 5 of 7 s of use, and a second to notice each return.
  assert.ok(scene.world.now < 33 * SECOND, `${scene.world.now / SECOND} s`)
  scene.close()
})

test('a connection without an idle limit lives through an hour of blackout, and probes seldom', () => {
  const options = { idleTimeoutMs: 0 }
  const link = { delayMicros: 25_000, rateBitsPerSecond: 5e6 }
  const scene = new Scene({ link, client: options, server: options })
  const connection = scene.client.connect(scene.clientHost.now, TO, {
    closed: (code) => scene.codes.push(code),
  }) as Connection
  scene.send(connection, 1, 2e6)
  scene.world.run(2 * SECOND)
  scene.pair.blackout(2 * SECOND, 2 * SECOND + HOUR)
  const received = scene.received.get(1) ?? 0
  assert.ok(received > 0 && received < 2e6)
  const { probes } = scene.client.counters()
  scene.world.run(2 * SECOND + HOUR)
  const attempts = scene.client.counters().probes - probes
  assert.ok(attempts > 100 && attempts <= 3600, `${attempts} attempts in an hour`)
  scene.world.run(() => (scene.received.get(1) ?? 0) > received, { until: 3 * HOUR })
  const late = scene.world.now - HOUR - 2 * SECOND
  assert.ok(late <= 5 * SECOND, `${late / SECOND} s after the link`)
  scene.world.run(() => scene.has(1, 2e6), { until: scene.world.now + 20 * SECOND })
  assert.ok(scene.has(1, 2e6))
  assert.equal(scene.codes, [])
  scene.close()
})

test('a pinned peer that has forgotten us meanwhile is reached again within 5 s', () => {
  const scene = new Scene({ link: { delayMicros: 25_000, rateBitsPerSecond: 5e6 } })
  const epochs: number[] = []
  const codes: number[] = []
  scene.client.pin(scene.clientHost.now, TO, {
    opened: (connection, epoch) => {
      epochs.push(epoch)
      scene.send(connection, epoch, 50_000)
    },
    closed: (code) => codes.push(code),
  })
  scene.world.run(() => scene.has(1, 50_000), { until: 10 * SECOND })
  assert.ok(scene.has(1, 50_000))
  // Without streams another connection would be closed by now.
  scene.world.run(60 * SECOND)
  assert.equal(epochs, [1])
  scene.pair.blackout(60 * SECOND, 60 * SECOND + HOUR)
  const sent = scene.client.counters().datagramsSent
  scene.world.run(60 * SECOND + HOUR)
  assert.equal(epochs, [1])
  const attempts = scene.client.counters().datagramsSent - sent
  assert.ok(attempts <= 3600, `${attempts} datagrams in an hour`)
  assert.is(codes[0], CODE_IDLE_TIMEOUT)
  scene.world.run(() => scene.has(2, 50_000), { until: 3 * HOUR })
  const late = scene.world.now - HOUR - 60 * SECOND
  assert.ok(late <= 5 * SECOND, `${late / SECOND} s after the link`)
  assert.equal(epochs, [1, 2])
  scene.close()
})

test('a pinned peer that restarts says so, and gets a new connection: nothing arrives twice', () => {
  const scene = new Scene({ link: { delayMicros: 25_000, rateBitsPerSecond: 5e6 } })
  const codes: number[] = []
  const pin = scene.client.pin(scene.clientHost.now, TO, {
    opened: (connection, epoch) => scene.send(connection, epoch, 1e6),
    closed: (code) => codes.push(code),
  })
  scene.world.run(SECOND)
  assert.is(pin.epoch, 1)
  const first = scene.received.get(1) ?? 0
  assert.ok(first > 0 && first < 1e6)
  scene.restartServer()
  const at = scene.world.now
  scene.world.run(() => pin.epoch === 2, { until: 60 * SECOND })
  assert.ok(scene.world.now - at < SECOND, `${scene.world.now - at} µs`)
  assert.equal(codes, [CODE_RESET])
  scene.world.run(() => scene.has(2, 1e6), { until: 60 * SECOND })
  assert.ok(scene.has(2, 1e6))
  scene.world.run(scene.world.now + 60 * SECOND)
  // What the first connection had sent is gone with it.
  assert.is(scene.received.get(1), first)
  assert.is(scene.received.get(2), 1e6)
  assert.equal(scene.ended, [2])
  // Let go, it ends as others do that have no streams any more.
  pin.release()
  scene.world.run(scene.world.now + 60 * SECOND)
  assert.ok(pin.connection === undefined)
  assert.is(pin.epoch, 2)
  assert.is(scene.client.gauges().connections, 0)
  scene.close()
})

test.run()
