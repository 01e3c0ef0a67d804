// slow: a transfer for each kind of link
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Bulk } from './bulk.ts'

const SECOND = 1_000_000
/** IPv4 and UDP headers. */
const HEADER_BYTES = 28
/** A path of 100 ms at 50 Mbit/s whose routers say nothing about what they drop. */
const LINK = { delayMicros: 50_000, rateBitsPerSecond: 50e6 }
/** Packets that take more than a millisecond are not tried: jumbo frames are for fast links. */
const FAST = { delayMicros: 5_000, rateBitsPerSecond: 1e9 }

/** The search ends when what is known and what failed are that near. */
const GRAIN = 128

function packetBytes(bulk: Bulk): number {
  return bulk.flows[0]?.connection.figures().packetBytes as number
}

/** Runs until bytes arrive in order, and a little on; gives when they did, in seconds. */
function firstArrival(bulk: Bulk): number {
  bulk.world.run(() => bulk.receivedBytes > 0, { until: 20 * SECOND })
  return bulk.world.now / SECOND
}

for (const [mtuBytes, exactly] of [
  [65_535, 65_507],
  [9_000, 8_972],
  [1_500, 1_472],
  [1_492, undefined],
  [1_400, 1_372],
  [1_330, undefined],
  [1_280, 1_252],
  [900, undefined],
  [576, 548],
] as const) {
  // What no link is known to have takes more steps, and a second search if chance misled the first.
  const seconds = exactly === undefined ? 10 : 2
  test(`a link of ${mtuBytes} bytes: handshake, packets that fit it within ${seconds} s, by few probes`, () => {
    const link = { ...(mtuBytes > 1_500 ? FAST : LINK), mtuBytes }
    const bulk = new Bulk({ link, back: link })
    const opened = firstArrival(bulk)
    bulk.runUntil(opened + seconds)
    const size = packetBytes(bulk)
    assert.ok(size + HEADER_BYTES <= mtuBytes, `${size} B`)
    if (exactly === undefined) assert.ok(size + HEADER_BYTES > mtuBytes - GRAIN, `${size} B`)
    else assert.is(size, exactly)
    const { mtuProbes } = bulk.counters()
    assert.ok(mtuProbes <= (exactly === undefined ? 20 : 10), `${mtuProbes} probes`)
    // Probes that get lost do not slow the sender down, and nobody stalls.
    const before = bulk.receivedBytes
    bulk.runUntil(opened + seconds + 4)
    const rate = ((bulk.receivedBytes - before) * 8) / 4 / link.rateBitsPerSecond
    assert.ok(rate > 0.8, `${rate} of the link`)
    bulk.close()
  })
}

for (const [from, to] of [
  [1_500, 1_400],
  [1_500, 1_280],
  [9_000, 1_500],
  [1_500, 576],
  [1_280, 576],
] as const) {
  test(`a link that shrinks from ${from} to ${to} bytes in the middle of a transfer: no stall over 2 s`, () => {
    const bulk = new Bulk({ link: { ...(from > 1_500 ? FAST : LINK), mtuBytes: from } })
    bulk.runUntil(5)
    assert.is(packetBytes(bulk), from - HEADER_BYTES)
    bulk.pair.set({ mtuBytes: to })
    let longest = 0
    let last = bulk.world.now
    let received = bulk.receivedBytes
    while (bulk.world.now < 15 * SECOND) {
      bulk.world.run(() => bulk.receivedBytes > received, { until: 15 * SECOND })
      longest = Math.max(longest, bulk.world.now - last)
      last = bulk.world.now
      received = bulk.receivedBytes
    }
    assert.ok(longest < 2 * SECOND, `${longest / SECOND} s`)
    assert.is(packetBytes(bulk), to - HEADER_BYTES)
    bulk.close()
  })
}

test('a link that became wider is used in full ten minutes later', () => {
  const bulk = new Bulk({ link: { ...LINK, rateBitsPerSecond: 1e6, mtuBytes: 1_280 } })
  bulk.runUntil(600)
  assert.is(packetBytes(bulk), 1_252)
  assert.ok(bulk.counters().mtuProbes <= 60, `${bulk.counters().mtuProbes} probes`)
  bulk.pair.set({ mtuBytes: 1_500 })
  bulk.runUntil(1_210)
  assert.is(packetBytes(bulk), 1_472)
  bulk.close()
})

test('loss by chance does not make packets small for long', () => {
  for (const seed of [1, 2, 3, 4, 5]) {
    const bulk = new Bulk({ seed, link: { ...LINK, mtuBytes: 1_500, lossRate: 0.2 } })
    let small = 0
    for (let second = 3; second < 33; second++) {
      bulk.runUntil(second)
      if (packetBytes(bulk) < 1_372) small += 1
    }
    assert.ok(small <= 10, `seed ${seed}: ${small} of 30 s`)
    bulk.close()
  }
})

test('who has little to send does not probe', () => {
  const bulk = new Bulk({ link: LINK, flowCount: 0 })
  const connection = bulk.sender.connect(
    bulk.sender.now,
    {
      socketIndex: 0,
      address: '192.0.2.2',
      port: 4_433,
    },
    {},
  )
  bulk.runUntil(1)
  assert.ok(connection?.isOpen)
  bulk.runUntil(60)
  assert.is(bulk.counters().mtuProbes, 0)
  bulk.close()
})

test.run()
