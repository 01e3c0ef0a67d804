// slow: minutes of virtual time at high rates
/**
 * What congestion control promises, in virtual time. PUNCHLINE_LONG=1 takes the full durations and
 * several seeds.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Bulk } from './bulk.ts'
import { KernelBbr } from './testing/kernel-bbr.ts'

const IS_LONG = process.env['PUNCHLINE_LONG'] === '1'
const SEEDS = IS_LONG ? [1, 2, 3, 4, 5] : [1]
/** User bytes of what the link carries. */
const PAYLOAD_SHARE = 1172 / 1228
const PACKET = 1228

/** User bytes that arrive in [from, to), as a share of what the link could carry. */
function share(bulk: Bulk, rate: number, from: number, to: number): number {
  bulk.runUntil(from)
  const before = bulk.receivedBytes
  bulk.runUntil(to)
  return ((bulk.receivedBytes - before) * 8) / (to - from) / (rate * PAYLOAD_SHARE)
}

test('a second of queue stays nearly empty and the link full', () => {
  const rate = 20e6
  const link = { rateBitsPerSecond: rate, delayMicros: 20_000, queueBytes: rate / 8 }
  const bulk = new Bulk({ link })
  const delays: number[] = []
  const to = IS_LONG ? 60 : 20
  const sample = () => {
    delays.push((bulk.pair.forward.waitingBytes * 8e6) / rate)
    bulk.world.after(1_000, sample)
  }
  bulk.world.at(5e6, sample)
  const goodput = share(bulk, rate, 5, to)
  delays.sort((a, b) => a - b)
  const p95 = delays[Math.floor(delays.length * 0.95)] as number
  assert.ok(goodput >= 0.95, `${goodput} of the possible`)
  assert.ok(p95 <= 60_000, `p95 of the queueing delay: ${p95} µs`)
  bulk.close()
})

test('a queue of a twentieth of the path is enough', () => {
  const rate = 100e6
  const bulk = new Bulk({
    link: { rateBitsPerSecond: rate, delayMicros: 25_000, queueBytes: 32_000 },
  })
  const goodput = share(bulk, rate, 2, IS_LONG ? 30 : 7)
  assert.ok(goodput >= 0.85, `${goodput} of the possible`)
  bulk.close()
})

for (const congestion of ['bbr', 'cubic'] as const) {
  test(`equal flows of ${congestion} share a link equally after 30 s`, () => {
    const rate = 50e6
    const rttMicros = 50_000
    const queueBytes = (rate * rttMicros) / 8e6
    const link = { rateBitsPerSecond: rate, delayMicros: rttMicros / 2, queueBytes }
    for (const flowCount of [2, 4, 8]) {
      // The packet size of the goodput table, and what most links carry.
      for (const packetBytesMax of IS_LONG || flowCount === 8 ? [1_200, 1_472] : [1_200]) {
        for (const seed of SEEDS) {
          const bulk = new Bulk({ seed, congestion, flowCount, link, endpoint: { packetBytesMax } })
          bulk.runUntil(30)
          const before = bulk.flows.map(({ receivedBytes }) => receivedBytes)
          bulk.runUntil(50)
          const bytes = bulk.flows.map((flow, index) => flow.receivedBytes - (before[index] ?? 0))
          const sum = bytes.reduce((total, each) => total + each, 0)
          const squares = bytes.reduce((total, each) => total + each * each, 0)
          // Jain's index: 1 when all are equal, 1 / n when one has everything.
          const fairness = (sum * sum) / squares / flowCount
          const message = `${flowCount} flows, ${packetBytesMax} bytes, seed ${seed}: ${bytes}`
          assert.ok(fairness >= 0.95, `${fairness} of ${message}`)
          bulk.close()
        }
      }
    }
  })
}

test('next to a flow of the kernel’s BBR each has a quarter of the link at least', () => {
  const rate = 50e6
  const rttMicros = 50_000
  for (const seed of SEEDS) {
    // Both begin at once, or the rival comes to a link that ours has filled.
    for (const rivalFrom of [0, 8]) {
      const queueBytes = (rate * rttMicros) / 8e6
      const link = { rateBitsPerSecond: rate, delayMicros: rttMicros / 2, queueBytes }
      const bulk = new Bulk({ seed, link, endpoint: { packetBytesMax: 1_200 } })
      bulk.runUntil(rivalFrom)
      // Any phase but the second.
      const rival = new KernelBbr(...bulk.hosts, 2 + (seed % 6))
      bulk.runUntil(rivalFrom + 5)
      const [ours, theirs] = [bulk.receivedBytes, rival.receivedBytes]
      bulk.runUntil(rivalFrom + 25)
      const taken = bulk.receivedBytes - ours
      const all = taken + rival.receivedBytes - theirs
      const message = `seed ${seed}, rival from ${rivalFrom} s: ${taken} of ${all} bytes`
      assert.ok(all * 8 >= 0.93 * rate * 20, message)
      assert.ok(taken >= 0.25 * all && taken <= 0.75 * all, message)
      bulk.close()
    }
  }
})

test('packets that overtake each other are not taken for lost', () => {
  for (const [what, disturbance] of [
    ['0.5 % held back by 10 ms', { reorderRate: 0.005, reorderHoldMicros: 10_000 }],
    ['30 % change places', { reorderRate: 0.3, reorderHoldMicros: 750 }],
  ] as const) {
    const path = { rateBitsPerSecond: 20e6, delayMicros: 30_000, queueBytes: 1e6 }
    const bulk = new Bulk({ link: { ...path, ...disturbance }, back: path })
    bulk.runUntil(IS_LONG ? 60 : 10)
    const { forward } = bulk.pair
    assert.ok(forward.count('held-back') > 50)
    assert.is(forward.count('queue-full'), 0)
    const spurious = bulk.counters().packetsRetransmitted / forward.count('sent')
    assert.ok(spurious < 0.001, `${what}: ${spurious} sent again`)
    bulk.close()
  }
})

test('a round trip that grows twentyfold at once makes hardly anything be sent again', () => {
  const rate = 20e6
  const bulk = new Bulk({
    link: { rateBitsPerSecond: rate, delayMicros: 5_000, queueBytes: (rate / 8) * 0.2 },
  })
  bulk.runUntil(5)
  const sentBefore = bulk.pair.forward.count('sent')
  const before = bulk.counters().packetsRetransmitted
  bulk.pair.set({ delayMicros: 100_000 })
  bulk.runUntil(IS_LONG ? 60 : 15)
  const again = bulk.counters().packetsRetransmitted - before
  const sent = bulk.pair.forward.count('sent') - sentBefore
  assert.ok(again / sent < 0.01, `${again} of ${sent}`)
  bulk.close()
})

test('one lost packet of a hundred is there within one and a half round trips', () => {
  const rttMicros = 50_000
  const link = { rateBitsPerSecond: 20e6, delayMicros: rttMicros / 2 }
  const bulk = new Bulk({ link })
  bulk.runUntil(3)
  const { forward } = bulk.pair
  const probesBefore = bulk.counters().probes
  let longest = 0
  for (let round = 0; round < 20; round++) {
    const received = bulk.receivedBytes
    // The hundredth packet from now on; those behind it arrive and wait.
    forward.mask(100)
    bulk.world.run(() => forward.count('masked') > round)
    const lostAt = bulk.world.now
    bulk.world.run(() => bulk.receivedBytes >= received + 100 * 1_172, { until: lostAt + 1e6 })
    // It would have arrived after half a round trip.
    longest = Math.max(longest, bulk.world.now - lostAt - rttMicros / 2)
    bulk.world.runFor(500_000)
  }
  assert.ok(longest <= 1.5 * rttMicros, `${longest} µs later than it would have come`)
  assert.is(bulk.counters().probes, probesBefore)
  assert.is(forward.count('masked'), 20)
  bulk.close()
})

test('a reader that stops stops the sender, memory stays flat, and all goes on', () => {
  const rate = 100e6
  const bulk = new Bulk({ link: { rateBitsPerSecond: rate, delayMicros: 10_000 }, flowCount: 2 })
  bulk.runUntil(3)
  const [stalled, other] = bulk.flows
  assert.ok(stalled && other)
  stalled.isStalled = true
  bulk.runUntil(5)
  const memory = [bulk.sender, bulk.receiver].map((side) => side.gauges().memoryBytes)
  const taken = stalled.receivedBytes
  const goodput = share(bulk, rate, 5, IS_LONG ? 65 : 15)
  assert.ok(goodput > 0.95, `the other one gets ${goodput} of the possible`)
  for (const [index, side] of [bulk.sender, bulk.receiver].entries()) {
    const grown = side.gauges().memoryBytes - (memory[index] as number)
    assert.ok(grown < 4 * 1024 * 1024, `${grown} bytes more`)
  }
  assert.is(stalled.receivedBytes, taken)
  bulk.resume(stalled)
  bulk.world.runFor(2e6)
  assert.ok(stalled.receivedBytes > taken + 1e6)
  bulk.close()
})

test('urgent streams come first, background ones when no other has anything to send', () => {
  const rate = 20e6
  const bulk = new Bulk({ link: { rateBitsPerSecond: rate, delayMicros: 10_000 }, streamCount: 4 })
  const [first, second, urgent, background] = bulk.flows
  assert.ok(first && second && urgent && background)
  urgent.stream.setPriority('urgent')
  background.stream.setPriority('background')
  const shares = (from: number, to: number) => {
    bulk.runUntil(from)
    const before = bulk.flows.map(({ receivedBytes }) => receivedBytes)
    const all = share(bulk, rate, from, to)
    const bytes = bulk.flows.map((flow, index) => flow.receivedBytes - (before[index] as number))
    const sum = bytes.reduce((total, each) => total + each, 0)
    assert.ok(all > 0.9, `${all} of the possible`)
    return bytes.map((each) => Math.round((each / sum) * 100))
  }
  assert.equal(shares(2, 4), [0, 0, 100, 0])
  urgent.isStalled = true
  const [a = 0, b = 0, ...others] = shares(6, 8)
  assert.equal(others, [0, 0])
  assert.ok(a >= 48 && b >= 48, `${a} % and ${b} %`)
  first.stream.setPriority('background')
  assert.equal(shares(9, 11), [0, 100, 0, 0])
  second.stream.setPriority('background')
  for (const each of shares(12, 14).filter((_, index) => index !== 2)) {
    assert.ok(each >= 31, `${each} % of three equal ones`)
  }
  bulk.resume(urgent)
  assert.equal(shares(15, 16), [0, 0, 100, 0])
  bulk.close()
})

test('windows that were all at zero open again, whatever was lost of the news', () => {
  for (let seed = 1; seed <= (IS_LONG ? 200 : 20); seed++) {
    const bulk = new Bulk({
      seed,
      link: { rateBitsPerSecond: 20e6, delayMicros: 10_000, lossRate: 0.2 },
      // The connection's window is at zero before all of the streams' are, or with them.
      endpoint: {
        streamWindowBytes: 8_192,
        connectionWindowBytes: seed % 2 === 0 ? 16_384 : 65_536,
        memoryBytes: 1024 * 1024,
      },
      streamCount: 4,
    })
    bulk.runUntil(2)
    for (let round = 0; round < 5; round++) {
      for (const flow of bulk.flows) flow.isStalled = true
      bulk.world.runFor(5e6)
      const sent = bulk.counters().streamBytesSent
      bulk.world.runFor(5e6)
      assert.is(bulk.counters().streamBytesSent, sent, `seed ${seed}: nobody reads, yet it sends`)
      const before = bulk.flows.map(({ receivedBytes }) => receivedBytes)
      for (const flow of bulk.flows) bulk.resume(flow)
      const goesOn = () =>
        bulk.flows.every((flow, index) => flow.receivedBytes > (before[index] as number) + 100_000)
      const end = bulk.world.run(goesOn, { until: bulk.world.now + 10e6 })
      assert.is(end, 'condition', `seed ${seed}, round ${round}: stuck`)
    }
    bulk.close()
  }
})

test('one stream of many that nobody reads does not hold up the others', () => {
  const rate = 50e6
  const streamCount = IS_LONG ? 1_000 : 200
  const run = (isStalled: boolean) => {
    const bulk = new Bulk({
      link: { rateBitsPerSecond: rate, delayMicros: 10_000 },
      memoryBytes: 512 * 1024 * 1024,
      endpoint: { memoryBytes: 512 * 1024 * 1024 },
      streamCount,
    })
    const [first] = bulk.flows
    if (isStalled && first) first.isStalled = true
    const goodput = share(bulk, rate, 3, 8)
    bulk.close()
    return goodput
  }
  const usual = run(false)
  const others = run(true)
  assert.ok(others >= 0.95 * usual, `${others} instead of ${usual} of the possible`)
})

test('a fat path fills up when memory allows it', () => {
  const rate = IS_LONG ? 500e6 : 50e6
  const rttMicros = 600_000
  const memoryBytes = IS_LONG ? 2 ** 30 : 2 ** 27
  const queueBytes = (rate * rttMicros) / 8e6
  const bulk = new Bulk({
    link: { rateBitsPerSecond: rate, delayMicros: rttMicros / 2, queueBytes },
    memoryBytes,
    endpoint: { memoryBytes },
  })
  const goodput = share(bulk, rate, 20, 30)
  assert.ok(goodput >= 0.9, `${goodput} of the possible`)
  bulk.close()
})

test('no train is longer than a millisecond of the rate and its host can make up for', () => {
  const rate = 50e6
  const bulk = new Bulk({
    link: { rateBitsPerSecond: rate, delayMicros: 25_000, queueBytes: 1e6 },
  })
  bulk.runUntil(3)
  let at = -1
  let size = 0
  let longest = 0
  bulk.pair.forward.dropWhen = (bytes) => {
    size = bulk.world.now === at ? size + bytes.length : bytes.length
    at = bulk.world.now
    longest = Math.max(longest, size)
    return false
  }
  bulk.runUntil(6)
  // A quarter more while more is tried, one packet that began in time.
  const most = (rate / 8e3) * 1.4 + PACKET
  assert.ok(longest > PACKET && longest <= most, `${longest} of ${most} bytes`)
  bulk.close()
})

test.run()
