import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CODE_ABORTED, CODE_CLOSED, Core } from '../../bindings/core.ts'
import { type Connection, Endpoint, type Stream } from '../transport/index.ts'
import type { LinkParams } from './link.ts'
import { World } from './world.ts'

const SECOND = 1_000_000
const RTT_MICROS = 50_000
const PORT = 4_433
const SIZE = 300_000

/** A client with three streams to a server that logs what it hears, in order. */
function scene(link: Partial<LinkParams>) {
  const world = new World(5)
  const core = Core.create()
  const log: string[] = []
  const [client, server] = ['client', 'server'].map((name, index) => {
    const host = world.host(name, `192.0.2.${index + 1}`)
    const endpoint = new Endpoint({ core, random: host.random, now: host.now })
    const attachment = host.attach(endpoint, [{ port: index * PORT }])
    endpoint.onWork = () => attachment.wake()
    return { host, endpoint }
  }) as [Part, Part]
  world.link(client.host, server.host, { delayMicros: RTT_MICROS / 2, ...link })
  server.endpoint.setListening(true)
  const received = [0, 0, 0]
  server.endpoint.owner = {
    connection: (connection) => {
      connection.owner = { closed: (code) => log.push(`server: closed ${code}`) }
    },
    stream: (stream) => ({
      readable: () => {
        received[stream.port] = (received[stream.port] ?? 0) + (stream.read(SIZE)?.length ?? 0)
        while (stream.readableSize > 0) {
          received[stream.port] = (received[stream.port] ?? 0) + (stream.read()?.length ?? 0)
        }
        if (stream.ended) log.push(`server: end of ${stream.port}`)
      },
      writable: () => {},
      failed: (code) => log.push(`server: ${stream.port} failed ${code}`),
    }),
  }
  const to = { socketIndex: 0, address: server.host.address, port: PORT }
  const connection = client.endpoint.connect(client.host.now, to, {
    closed: (code) => log.push(`client: closed ${code}`),
  }) as Connection
  const streams = received.map((_, port) => {
    const owner = { readable: () => {}, writable: () => {}, failed: () => {} }
    return connection.openStream(port, owner) as Stream
  })
  const close = () => {
    client.endpoint.destroy()
    server.endpoint.destroy()
  }
  return { world, client, connection, streams, received, log, close }
}

interface Part {
  readonly host: ReturnType<World['host']>
  readonly endpoint: Endpoint
}

test('a graceful close delivers everything before either side hears of it', () => {
  const { world, connection, streams, received, log, close } = scene({ lossRate: 0.1 })
  const written = streams.map((stream) => stream.write(new Uint8Array(SIZE)))
  world.run(SECOND)
  connection.end()
  world.run(() => log.filter((line) => line.includes('closed')).length === 2, {
    until: 60 * SECOND,
  })
  assert.equal(received, written)
  assert.ok(Math.min(...written) > 100_000)
  assert.equal(log.slice(0, 3).sort(), ['server: end of 0', 'server: end of 1', 'server: end of 2'])
  const ends = log.filter((line) => line.includes('closed')).sort()
  assert.equal(ends, [`client: closed ${CODE_CLOSED}`, `server: closed ${CODE_CLOSED}`])
  close()
})

test('an abort is heard within a round trip', () => {
  const { world, connection, streams, log, close } = scene({ rateBitsPerSecond: 20e6 })
  for (const stream of streams) stream.write(new Uint8Array(SIZE))
  world.run(SECOND)
  streams[1]?.write(new Uint8Array(SIZE))
  streams[1]?.reset()
  let at = world.now
  const isReset = () => log.includes(`server: 1 failed ${CODE_ABORTED}`)
  world.run(isReset, { until: 60 * SECOND })
  assert.ok(isReset() && world.now - at <= RTT_MICROS, `${world.now - at} µs`)
  connection.close()
  at = world.now
  const isClosed = () => log.includes(`server: closed ${CODE_CLOSED}`)
  world.run(isClosed, { until: 60 * SECOND })
  assert.ok(isClosed() && world.now - at <= RTT_MICROS, `${world.now - at} µs`)
  close()
})

test.run()
