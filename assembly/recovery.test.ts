/** Round-trip times, losses and probes, as the figures of a connection and its packets show them. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  COUNT_PACKETS_LOST,
  COUNT_PACKETS_RETRANSMITTED,
  COUNT_PROBES,
  COUNT_STREAM_BYTES_RETRANSMITTED,
  DESC_SEGMENT,
  FIGURE_BYTES_IN_FLIGHT,
  FIGURE_CONGESTION_WINDOW,
  FIGURE_PROBE_TIMEOUT,
  FIGURE_RTT_MIN,
  FIGURE_RTT_SMOOTHED,
  FIGURE_RTT_VARIANCE,
} from '../bindings/core.ts'
import { collect, connected, DELAY_MICROS } from '../bindings/testing/connected.ts'
import { pattern, type RigOptions } from '../bindings/testing/rig.ts'
import { SeededRandom } from '../ts/sim/random.ts'

const SECOND = 1e6
const RTT = 2 * DELAY_MICROS

test('the round-trip time is that of the network', async () => {
  const { rig, client, server, connection } = await connected()
  collect(server)
  const stream = client.open(connection)
  for (let round = 0; round < 100; round += 1) {
    client.write(stream, pattern(0, 0, 100))
    rig.runFor(50_000)
  }
  assert.is(client.figure(connection, FIGURE_RTT_MIN), RTT)
  assert.is(client.figure(connection, FIGURE_RTT_SMOOTHED), RTT)
  assert.ok(client.figure(connection, FIGURE_RTT_VARIANCE) < 1)
  // RFC 9002 §6.2.1: smoothed + max(4 × variance, 1 ms) + the peer's acknowledgement delay.
  assert.ok(Math.abs(client.figure(connection, FIGURE_PROBE_TIMEOUT) - (RTT + 11_000)) < 2)
  assert.is(client.counter(COUNT_PACKETS_LOST), 0)
  rig.close()
})

test('one lost packet of many is sent again once, after three later ones', async () => {
  const { rig, client, server, connection } = await connected()
  const received = collect(server)
  const stream = client.open(connection)
  let count = 0
  rig.network = ({ from }) => {
    count += from === client.port ? 1 : 0
    return count === 3 && from === client.port ? [] : [DELAY_MICROS]
  }
  client.write(stream, pattern(0, 0, 10_000))
  const start = rig.now
  rig.run(() => received().length === 10_000)
  // Sent in trains, the gap seen, sent again.
  assert.ok(rig.now - start <= 3 * DELAY_MICROS + 3_000, `${rig.now - start} µs`)
  rig.runFor(SECOND)
  assert.is(client.counter(COUNT_PACKETS_LOST), 1)
  // Its bytes need a few more now, because something may follow them: one or two packets.
  assert.ok(client.counter(COUNT_PACKETS_RETRANSMITTED) <= 2)
  assert.is(client.counter(COUNT_PROBES), 0)
  assert.ok(client.counter(COUNT_STREAM_BYTES_RETRANSMITTED) <= 1200)
  rig.close()
})

test('packets that change places by one or two are not taken for lost', async () => {
  const { rig, client, server, connection } = await connected()
  const received = collect(server)
  let count = 0
  rig.network = ({ from }) => {
    if (from === server.port) return [DELAY_MICROS]
    count += 1
    return [DELAY_MICROS + (count % 5000) * 10 + (count % 3 === 0 ? 0 : 25)]
  }
  client.write(client.open(connection), pattern(0, 0, 200_000))
  assert.ok(rig.run(() => received().length === 200_000))
  assert.is(client.counter(COUNT_PACKETS_LOST), 0)
  rig.close()
})

test('probes come at doubling intervals, two seconds at most, until the peer is back', async () => {
  const { rig, client, server, connection } = await connected({ idleTimeout: 300 * SECOND })
  const received = collect(server)
  const stream = client.open(connection)
  client.write(stream, pattern(0, 0, 100))
  rig.runFor(SECOND)
  const times: number[] = []
  rig.network = ({ from }) => {
    if (from === client.port && times.at(-1) !== rig.now) times.push(rig.now)
    return []
  }
  client.write(stream, pattern(0, 100, 100))
  rig.runFor(60 * SECOND)
  const intervals = times.slice(1).map((time, index) => time - (times[index] as number))
  for (const [index, interval] of intervals.entries()) {
    const expected = Math.min((intervals[0] as number) * 2 ** index, 2 * SECOND)
    assert.ok(Math.abs(interval - expected) < 20, `probe ${index} after ${interval}`)
  }
  assert.is(client.counter(COUNT_PROBES), intervals.length)
  rig.network = () => [DELAY_MICROS]
  assert.ok(rig.run(() => received().length === 200, 2 * SECOND))
  rig.close()
})

test('probes leave one by one: a router may drop a train for the size of its first packet', async () => {
  const { rig, client, connection } = await connected({ idleTimeout: 300 * SECOND })
  const stream = client.open(connection)
  client.write(stream, pattern(0, 0, 100))
  rig.runFor(SECOND)
  rig.network = () => []
  const { core } = rig
  const { flush } = core.exports
  /** Sizes of the segments of trains that left before the first probe, and since; 0: one packet. */
  const [before, since]: [number[], number[]] = [[], []]
  core.exports = {
    ...core.exports,
    flush: (endpoint, now) => {
      const count = flush(endpoint, now)
      for (let index = 0; index < count; index++) {
        const segment = core.i32[core.sendDescriptor(index) + (DESC_SEGMENT >> 2)] as number
        ;(client.counter(COUNT_PROBES) > 0 ? since : before).push(segment)
      }
      return count
    },
  }
  client.write(stream, pattern(0, 100, 20_000))
  rig.run(() => since.length >= 6, 10 * SECOND)
  assert.ok(
    before.some((size) => size > 0),
    'the bytes leave as trains',
  )
  assert.equal(since, [0, 0, 0, 0, 0, 0])
  rig.close()
})

test('everything lost for long collapses the window to two packets', async () => {
  const { rig, client, server, connection } = await connected({ streamWindow: 1 << 20 })
  collect(server)
  const stream = client.open(connection)
  client.write(stream, pattern(0, 0, 200_000))
  rig.runFor(SECOND)
  const before = client.figure(connection, FIGURE_CONGESTION_WINDOW)
  rig.network = () => []
  client.write(stream, pattern(0, 0, 200_000))
  rig.runFor(5 * SECOND)
  rig.network = () => [DELAY_MICROS]
  assert.ok(rig.run(() => client.counter(COUNT_PACKETS_LOST) > 0, 5 * SECOND))
  const after = client.figure(connection, FIGURE_CONGESTION_WINDOW)
  assert.ok(before > 20_000, String(before))
  // And grows again by what the acknowledgement that shows it acknowledges: both probes.
  assert.ok(after <= 4 * 1200, String(after))
  rig.close()
})

test('packets larger than the first window leave one at a time at first', async () => {
  for (const [packetBytesMax, burstBytes, delay] of [
    [20_000, 131_072, DELAY_MICROS],
    [65_507, 131_072, DELAY_MICROS],
    // A near peer with a small socket buffer.
    [9_000, 4_096, 100],
  ] as const) {
    const { rig, client, server, connection } = await connected({ packetBytesMax, burstBytes })
    rig.network = () => [delay]
    const received = collect(server)
    const stream = client.open(connection)
    const written = client.write(stream, pattern(0, 0, 150_000))
    assert.is(written, 150_000)
    const isThere = () => received().length === written
    rig.settle()
    assert.ok(rig.run(isThere, 10 * SECOND), `${packetBytesMax} bytes`)
    assert.equal(received(), Buffer.from(pattern(0, 0, written)))
    rig.close()
  }
})

test('no packet is larger than agreed, whatever it carries', async () => {
  const random = new SeededRandom(4)
  for (const packetBytesMax of [548, 1200, 16_400, 16_500, 65_507]) {
    const { rig, client, server, connection } = await connected({ packetBytesMax })
    let largest = 0
    rig.network = ({ bytes }) => {
      largest = Math.max(largest, bytes.length)
      return random.chance(0.05) ? [] : [DELAY_MICROS]
    }
    collect(server)
    const streams = Array.from({ length: 5 }, () => client.open(connection))
    for (let round = 0; round < 300; round += 1) {
      // Sizes for which one byte more or less decides how the length is written.
      const size = random.pick([1, 60, 1100, 16_300]) + random.below(200)
      client.write(random.pick(streams), pattern(0, 0, size))
      rig.runFor(random.below(2) * 5_000)
    }
    rig.runFor(SECOND)
    for (const stream of streams) client.write(stream, pattern(0, 0, 16_384))
    rig.runFor(20 * SECOND)
    assert.ok(largest <= packetBytesMax, `${largest} of ${packetBytesMax}`)
    assert.ok(largest > packetBytesMax - 40, `${largest} of ${packetBytesMax}`)
    rig.close()
  }
})

test('a connection that cannot remember another packet probes all the same, and not too often', async () => {
  const options: RigOptions = { memoryBytes: 65_536, idleTimeout: 100 * SECOND }
  const { rig, client, server, connection } = await connected(options)
  const received = collect(server)
  const stream = client.open(connection)
  rig.network = () => []
  // Every write leaves in a packet of its own, until there is no memory for a larger ring.
  let written = 0
  while (written < 1500) {
    written += client.write(stream, pattern(0, written, 1))
    rig.settle()
  }
  assert.ok(client.figure(connection, FIGURE_BYTES_IN_FLIGHT) > 0)
  let wakes = 0
  const timeout = client.timeout.bind(client)
  client.timeout = () => {
    const isDue = timeout()
    if (isDue) wakes += 1
    return isDue
  }
  rig.runFor(20 * SECOND)
  assert.ok(wakes < 20 * 25, `${wakes} wakes in 20 s`)
  rig.network = () => [DELAY_MICROS]
  assert.ok(rig.run(() => received().length === written, 20 * SECOND))
  assert.equal(received(), Buffer.from(pattern(0, 0, written)))
  rig.close()
})

test.run()
