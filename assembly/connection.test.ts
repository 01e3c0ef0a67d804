/** Connections from the first packet to the last, as hosts and the network see them. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  CODE_CLOSED,
  CODE_IDLE_TIMEOUT,
  CODE_PROTOCOL,
  COUNT_DROPPED_MALFORMED,
  COUNT_PACKETS_DUPLICATE,
} from '../bindings/core.ts'
import { collect, connected, DELAY_MICROS, pair } from '../bindings/testing/connected.ts'
import { forge, seal, streamFrame } from '../bindings/testing/mutate.ts'
import { constant } from '../bindings/testing/names.ts'
import { type Datagram, pattern } from '../bindings/testing/rig.ts'
import { CN_PATHS } from './connection.ts'
import { PATH_PACE_NEXT, PATH_PACING_RATE } from './path.ts'
import { FRAME_PING, LONG_LENGTH, LONG_SIZE, SHORT_NUMBER } from './wire.ts'

const SECOND = 1e6

test('a path that repeats every datagram falls silent like any other', async () => {
  const { rig, client, server, connection } = await connected({ keepAlive: 0 })
  rig.network = () => [DELAY_MICROS, DELAY_MICROS + 500, DELAY_MICROS + 700]
  collect(server)
  client.write(client.open(connection), pattern(0, 0, 5000))
  rig.runFor(5 * SECOND)
  assert.ok(server.counter(COUNT_PACKETS_DUPLICATE) > 0)
  const before = client.sentCount + server.sentCount
  rig.runFor(5 * SECOND)
  assert.is(client.sentCount + server.sentCount, before)
  rig.close()
})

test('an idle connection lives, whoever has the shorter idle limit', async () => {
  for (const [mine, yours] of [
    [3 * SECOND, 30 * SECOND],
    [30 * SECOND, 3 * SECOND],
    [2 * SECOND, 2 * SECOND],
  ] as const) {
    const { rig } = await pair()
    const client = rig.peer({ idleTimeout: mine })
    const server = rig.peer({ idleTimeout: yours })
    const connection = client.connect(server)
    client.open(connection)
    rig.runFor(120 * SECOND)
    assert.ok(connection.isOpen, `${mine}, ${yours}: closed with ${connection.closedCode}`)
    assert.ok(server.lastConnection().isOpen)
    rig.close()
  }
})

test('a keep-alive that pacing holds back waits for it, and does not keep the host busy', async () => {
  const { rig, client, connection } = await connected({ keepAlive: 2 * SECOND })
  client.open(connection)
  rig.runFor(SECOND)
  // As after a collapse of the rate: the last packet has used up five seconds.
  const path = (rig.core.i32[(connection.handle + CN_PATHS) >> 2] as number) >> 3
  rig.core.f64[path + (PATH_PACING_RATE >> 3)] = 1e-6
  rig.core.f64[path + (PATH_PACE_NEXT >> 3)] = rig.now + 5 * SECOND
  // The rig throws when an endpoint has a deadline that has passed and nothing to do about it.
  rig.runFor(4 * SECOND)
  const before = client.sentCount
  assert.ok(rig.run(() => client.sentCount > before, 2 * SECOND))
  rig.close()
})

test('a dead peer is noticed after the idle limit, a silent one with keep-alive off as well', async () => {
  for (const keepAlive of [0, 10 * SECOND]) {
    const { rig, client, connection, accepted } = await connected({ keepAlive })
    client.open(connection)
    rig.settle()
    rig.network = () => []
    const start = rig.now
    assert.ok(rig.run(() => connection.closedCode !== undefined, 100 * SECOND))
    assert.is(connection.closedCode, CODE_IDLE_TIMEOUT)
    assert.ok(rig.now - start <= 30 * SECOND && rig.now - start > 29 * SECOND)
    assert.ok(rig.run(() => accepted.closedCode !== undefined, SECOND))
    rig.close()
  }
})

test('a handshake that took long does not count as time without streams', async () => {
  const { rig, client, server } = await pair({ emptyTimeout: 5 * SECOND })
  rig.network = () => []
  const connection = client.connect(server)
  rig.runFor(8 * SECOND)
  rig.network = () => [DELAY_MICROS]
  assert.ok(rig.run(() => connection.isOpen))
  rig.runFor(4 * SECOND)
  assert.ok(connection.isOpen)
  rig.runFor(2 * SECOND)
  assert.is(connection.closedCode, CODE_CLOSED)
  rig.close()
})

test('a handshake message longer than ours can be takes no memory', async () => {
  const { rig, client, server } = await pair()
  client.connect(server)
  const [initial] = client.collect()
  assert.ok(initial)
  const before = server.gauges().memoryUsed
  for (const length of [1101, 5000, 60_000, 65_400]) {
    const bytes = new Uint8Array(LONG_SIZE + length + 4)
    bytes.set(initial.bytes.subarray(0, LONG_SIZE))
    bytes[2] = length & 0xff
    new DataView(bytes.buffer).setUint16(LONG_LENGTH, length, true)
    server.ingest([{ ...initial, bytes: seal(bytes) }])
  }
  assert.is(server.gauges().memoryUsed, before)
  assert.is(server.counter(COUNT_DROPPED_MALFORMED), 4)
  server.ingest([initial])
  assert.is(server.gauges().halfOpen, 1)
  rig.close()
})

test('packet numbers may jump, but not beyond what is exact', async () => {
  const { rig, client, server, connection, accepted } = await connected()
  client.write(client.open(connection), pattern(0, 0, 1))
  const [packet] = client.collect() as [Datagram]
  server.ingest([packet])
  server.collect()
  const ping = { type: FRAME_PING, integers: [] }
  const send = (ahead: number) => {
    server.ingest([{ ...packet, bytes: forge(packet.bytes, [ping], ahead) }])
    return server.collect().length
  }
  assert.is(send(2 ** 31 - 1), 1, 'as far ahead as a packet can claim')
  // Millions of such jumps later:
  const path = rig.core.i32[(accepted.handle + constant('connection.ts', 'CN_PATHS')) >> 2] ?? 0
  const field = (path + constant('path.ts', 'PATH_LARGEST_RECEIVED')) >> 3
  const number = new DataView(packet.bytes.buffer).getUint32(SHORT_NUMBER, true)
  const near = 2 ** 53 - 2 ** 32 + number
  rig.core.f64[field] = near
  // One that follows the last would be acknowledged a little later.
  assert.is(send(2), 1)
  rig.core.f64[field] = near + 2 ** 32 - 2 ** 31
  const before = server.counter(COUNT_DROPPED_MALFORMED)
  assert.is(send(2 ** 32 - number), 0, 'a number of 2^53')
  assert.is(server.counter(COUNT_DROPPED_MALFORMED), before + 1)
  assert.is(accepted.closedCode, undefined)
  rig.close()
})

test('frames that break the protocol close the connection, and both hosts know why', async () => {
  const { rig, client, server, connection, accepted } = await connected()
  const stream = client.open(connection)
  client.write(stream, pattern(0, 0, 100))
  const [packet] = client.collect() as [Datagram]
  server.ingest([packet])
  // The final size changes.
  const frames = [streamFrame(0, 0, new Uint8Array(10), true)]
  server.ingest([{ ...packet, bytes: forge(packet.bytes, frames) }])
  assert.is(accepted.closedCode, CODE_PROTOCOL)
  assert.ok(rig.run(() => connection.closedCode === CODE_PROTOCOL))
  rig.runFor(20 * SECOND)
  for (const peer of [client, server]) assert.is(peer.gauges().memoryUsed, 0)
  rig.close()
})

test.run()
