// slow: thousands of handshakes
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Core } from '../../bindings/core.ts'
import { type Connection, Endpoint, type EndpointOptions } from '../transport/index.ts'
import { World } from './world.ts'

const IS_LONG = process.env['PUNCHLINE_LONG'] === '1'
const SECOND = 1_000_000
const PORT = 4_433
const TO = { socketIndex: 0, address: '192.0.2.2', port: PORT }

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function heapBytes(): number {
  for (let round = 0; round < 4; round++) collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Two endpoints that take thousands of connections. */
function scene(options: Partial<EndpointOptions> = {}) {
  const world = new World(1)
  const core = Core.create({ memoryBytes: 256 * 1024 * 1024 })
  const [client, server] = ['client', 'server'].map((name, index) => {
    const host = world.host(name, `192.0.2.${index + 1}`, { receiveBufferBytes: 2 ** 28 })
    const endpoint = new Endpoint({
      core,
      random: host.random,
      now: host.now,
      options: { memoryBytes: 100 * 1024 * 1024, connectionsMax: 20_000, ...options },
    })
    const attachment = host.attach(endpoint, [{ port: index * PORT }])
    endpoint.onWork = () => attachment.wake()
    return { host, endpoint, attachment }
  }) as unknown as [Part, Part]
  world.link(client.host, server.host, { delayMicros: 1_000 })
  server.endpoint.setListening(true)
  return { world, client, server }
}

interface Part {
  readonly host: ReturnType<World['host']>
  readonly endpoint: Endpoint
}

function open({ world, client }: ReturnType<typeof scene>, count: number): Connection[] {
  const connections: Connection[] = []
  for (let index = 0; index < count; index++) {
    const connection = client.endpoint.connect(client.host.now, TO, {})
    assert.ok(connection)
    connections.push(connection)
    // No faster than what calls for cookies.
    if (index % 100 === 99) world.runFor(SECOND / 10)
  }
  world.runFor(SECOND)
  return connections
}

test('an idle connection takes less than 6 KiB on each side, all told', () => {
  const count = IS_LONG ? 10_000 : 1_000
  const all = scene({ emptyTimeoutMs: 10_000_000 })
  const { client, server, world } = all
  const kept = open(all, 100)
  const before = heapBytes()
  const sides = [client.endpoint, server.endpoint]
  const used = () => sides.reduce((sum, each) => sum + each.gauges().memoryBytes, 0)
  const coreBefore = used()
  kept.push(...open(all, count))
  const each = (heapBytes() - before + used() - coreBefore) / count / 2
  assert.is(server.endpoint.gauges().connections, kept.length)
  assert.ok(each < 6 * 1024, `${each} bytes`)
  if (IS_LONG) console.log(`${count} idle: ${each.toFixed(0)} bytes each on a side`)
  // One small packet each way in ten seconds, and nothing else.
  const { datagramsSent } = server.endpoint.counters()
  world.runFor(100 * SECOND)
  const rate = (server.endpoint.counters().datagramsSent - datagramsSent) / kept.length / 100
  assert.ok(rate > 0.05 && rate < 0.15, `${rate} datagrams per connection and second`)
  assert.ok(kept.every((connection) => connection.isOpen))
  client.endpoint.destroy()
  server.endpoint.destroy()
})

test('connections that were opened and closed leave nothing behind', () => {
  const size = IS_LONG ? 1_000 : 300
  const rounds = IS_LONG ? 100 : 4
  const all = scene()
  const { client, server, world } = all
  const round = () => {
    for (const connection of open(all, size)) connection.close()
    world.runFor(30 * SECOND)
  }
  round()
  const before = heapBytes()
  for (let index = 0; index < rounds; index++) round()
  const grown = heapBytes() / before - 1
  const memory = `${(grown * 100).toFixed(2)} % more memory`
  if (IS_LONG) console.log(`${rounds * size} opened and closed: ${memory}`)
  assert.ok(grown < 0.05, `${memory} after ${rounds * size}`)
  for (const { endpoint } of [client, server]) {
    const { connections, halfOpen, streams, memoryBytes } = endpoint.gauges()
    assert.equal({ connections, halfOpen, streams }, { connections: 0, halfOpen: 0, streams: 0 })
    assert.is(memoryBytes, 0)
    assert.ok(endpoint.nextTimeout() === Number.POSITIVE_INFINITY)
  }
  assert.is(client.endpoint.counters().connectionsOpened, (rounds + 1) * size)
  client.endpoint.destroy()
  server.endpoint.destroy()
})

test('fifty endpoints of one core: closing one leaves the others alone', () => {
  const world = new World(2)
  const core = Core.create()
  const serverHost = world.host('server', TO.address)
  const server = new Endpoint({ core, random: serverHost.random, now: serverHost.now })
  const wake = serverHost.attach(server, [{ port: PORT }])
  server.onWork = () => wake.wake()
  server.setListening(true)
  const connections: Connection[] = []
  const endpoints = Array.from({ length: 50 }, (_, index) => {
    const host = world.host(`client ${index}`, `198.51.100.${index + 1}`)
    world.link(host, serverHost, { delayMicros: 1_000 })
    const options = { memoryBytes: 100_000 + index, idleTimeoutMs: 10_000 + index }
    const endpoint = new Endpoint({ core, random: host.random, now: host.now, options })
    const attachment = host.attach(endpoint)
    endpoint.onWork = () => attachment.wake()
    connections.push(endpoint.connect(host.now, TO, {}) as Connection)
    return { endpoint, host, attachment }
  })
  world.runFor(SECOND)
  assert.ok(connections.every(({ isOpen }) => isOpen))
  const [first] = endpoints
  first?.endpoint.close(first.host.now)
  world.runFor(SECOND)
  first?.attachment.detach()
  first?.endpoint.destroy()
  world.runFor(5 * SECOND)
  assert.is(connections.filter(({ isOpen }) => isOpen).length, 49)
  assert.is(server.gauges().connections, 49)
  for (const { endpoint, attachment } of endpoints.slice(1)) {
    attachment.detach()
    endpoint.destroy()
  }
  server.destroy()
})

test.run()
