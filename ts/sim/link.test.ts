import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FATES, type Fate } from './event-log.ts'
import type { Host } from './host.ts'
import { DEFAULT_LINK_PARAMS, type JitterShape, type LinkParams } from './link.ts'
import { Probe } from './probe.ts'
import { SeededRandom } from './random.ts'
import { drawLinkParams, SWARM_RANGES } from './scenario.ts'
import { type LinkPair, World } from './world.ts'

/** A sender, a receiver, and the link under test from the one to the other. */
class Bench {
  readonly world: World
  readonly pair: LinkPair
  readonly sender: Probe
  readonly receiver: Probe
  private readonly receiverHost: Host

  constructor(params: Partial<LinkParams>, { seed = 1, ipv6 = false } = {}) {
    this.world = new World(seed)
    const options = { clockOffsetMicros: 0 }
    const a = this.world.host('a', ipv6 ? '2001:db8::a' : '192.0.2.1', options)
    const b = this.world.host('b', ipv6 ? '2001:db8::b' : '192.0.2.2', options)
    this.receiverHost = b
    this.pair = this.world.link(a, b, params)
    this.sender = new Probe(a)
    this.receiver = new Probe(b, [{ port: 9 }])
  }

  get link() {
    return this.pair.forward
  }

  /** Sends a datagram now that carries a number in its first bytes. */
  send(number: number, size = 100): void {
    const bytes = new Uint8Array(size)
    new DataView(bytes.buffer).setUint32(0, number)
    this.sender.send({ address: this.receiverHost.address, port: 9 }, bytes)
  }

  /** Sends `count` datagrams, one every `gapMicros`, and lets all arrive. */
  sendMany(count: number, gapMicros: number, size = 100): void {
    for (let number = 0; number < count; number++) {
      this.world.at(this.world.now + number * gapMicros, () => this.send(number, size))
    }
    this.world.run(() => false)
  }

  get times(): number[] {
    return this.receiver.received.map(({ at }) => at)
  }

  get numbers(): number[] {
    return this.receiver.received.map(numberOf)
  }

  count(fate: Fate): number {
    return this.link.count(fate)
  }
}

function numberOf({ bytes }: { bytes: Uint8Array }): number {
  return (
    (bytes[0] as number) * 2 ** 24 +
    (bytes[1] as number) * 2 ** 16 +
    (bytes[2] as number) * 256 +
    (bytes[3] as number)
  )
}

function near(actual: number, expected: number, tolerance: number): void {
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not near ${expected}`)
}

test('a perfect link delivers at once, in order, unchanged', () => {
  const bench = new Bench({})
  bench.sendMany(100, 0)
  assert.equal(bench.numbers, [...Array(100).keys()])
  assert.equal(new Set(bench.times), new Set([0]))
})

test('delays by exactly its delay', () => {
  const bench = new Bench({ delayMicros: 12_345 })
  bench.sendMany(3, 7)
  assert.equal(bench.times, [12_345, 12_352, 12_359])
})

for (const jitterShape of ['uniform', 'bell', 'exponential', 'pareto'] as JitterShape[]) {
  test(`${jitterShape} jitter has its mean and may overtake only when allowed`, () => {
    const params = { delayMicros: 1000, jitterMicros: 500, jitterShape }
    const free = new Bench({ ...params, jitterReorders: true })
    free.sendMany(20_000, 10)
    const extra = free.receiver.received.map((datagram) => {
      return datagram.at - 1000 - 10 * numberOf(datagram)
    })
    assert.ok(Math.min(...extra) >= 0)
    near(extra.reduce((sum, value) => sum + value, 0) / 20_000, 500, 60)
    assert.not.equal(free.numbers, [...Array(20_000).keys()])

    const ordered = new Bench(params)
    ordered.sendMany(2_000, 10)
    assert.equal(ordered.numbers, [...Array(2_000).keys()])
  })
}

test('the bottleneck spaces datagrams by their size, headers included', () => {
  // 972 + 28 bytes at 1 Mbit/s are 8 ms.
  const bench = new Bench({ rateBitsPerSecond: 1e6, delayMicros: 5 })
  bench.sendMany(3, 0, 972)
  assert.equal(bench.times, [8_005, 16_005, 24_005])
})

test('the bottleneck keeps its rate where a datagram takes fractions of a microsecond', () => {
  // 72 + 28 bytes at 3 Gbit/s are 0.2667 µs: rounded up each time, the rate would be a quarter.
  const bench = new Bench({ rateBitsPerSecond: 3e9, queueBytes: 1e9 })
  bench.sendMany(30_000, 0, 72)
  assert.is(bench.times.at(-1), 8_000)
})

test('the queue drops what does not fit in bytes, and is empty again afterwards', () => {
  const bench = new Bench({ rateBitsPerSecond: 1e6, queueBytes: 3_000 })
  bench.sendMany(10, 0, 972)
  assert.equal(bench.numbers, [0, 1, 2, 3]) // One in service, three waiting.
  assert.is(bench.count('queue-full'), 6)
  assert.is(bench.link.queuePeakBytes, 3_000)
  bench.sendMany(1, 0, 972)
  assert.is(bench.receiver.received.length, 5)
})

test('the queue drops what does not fit in number', () => {
  const bench = new Bench({ rateBitsPerSecond: 1e6, queueLength: 2 })
  bench.sendMany(10, 0)
  assert.equal(bench.numbers, [0, 1, 2])
  const none = new Bench({ rateBitsPerSecond: 1e6, queueLength: 0 })
  none.sendMany(3, 0)
  assert.equal(none.numbers, [0])
})

test('a changed rate is felt by what waits in the queue', () => {
  const bench = new Bench({ rateBitsPerSecond: 1e6 })
  bench.link.setAt(4_000, { rateBitsPerSecond: 2e6 })
  bench.sendMany(3, 0, 972)
  assert.equal(bench.times, [8_000, 12_000, 16_000])
  const opened = new Bench({ rateBitsPerSecond: 1e6 })
  opened.link.setAt(4_000, { rateBitsPerSecond: Number.POSITIVE_INFINITY })
  opened.sendMany(3, 0, 972)
  assert.equal(opened.times, [8_000, 8_000, 8_000])
})

test('loses its share', () => {
  const bench = new Bench({ lossRate: 0.3 })
  bench.sendMany(20_000, 1)
  near(bench.count('lost') / 20_000, 0.3, 0.01)
  assert.is(bench.receiver.received.length + bench.count('lost'), 20_000)
})

test('loses in bursts of the length asked for', () => {
  const bench = new Bench({ burstEnterRate: 0.01, burstLeaveRate: 0.2 })
  bench.sendMany(50_000, 1)
  const { numbers } = bench
  let bursts = 0
  for (let index = 1; index < numbers.length; index++) {
    if ((numbers[index] as number) - (numbers[index - 1] as number) > 1) bursts += 1
  }
  near(bench.count('lost-in-burst') / bursts, 5, 0.5)
  near(bench.count('lost-in-burst') / 50_000, 0.01 / 0.21, 0.005)
  assert.is(bench.count('lost'), 0)
})

test('a burst ends with time, however little is sent', () => {
  const params = { burstEnterRate: 1, burstLeaveRate: 0, burstMicrosMax: 1_000 }
  const bench = new Bench(params)
  bench.sendMany(1, 0)
  bench.link.set({ burstEnterRate: 1e-9 })
  bench.sendMany(20, 100)
  // The first came at 0 and began the burst; what came from 1,000 µs on is free.
  assert.equal(
    bench.numbers,
    [...Array(10).keys()].map((index) => index + 10),
  )
})

test('a mask drops exactly the datagrams named, counted from now', () => {
  const bench = new Bench({})
  bench.link.mask(0, 2, 5)
  bench.sendMany(8, 1)
  assert.equal(bench.numbers, [1, 3, 4, 6, 7])
  assert.is(bench.count('masked'), 3)
  bench.link.mask(1)
  bench.sendMany(3, 1)
  assert.equal(bench.numbers.slice(5), [0, 2])
})

test('dropWhen sees the bytes', () => {
  const bench = new Bench({})
  bench.link.dropWhen = (bytes, index) => bytes[3] === 1 || index === 4
  bench.sendMany(6, 1)
  assert.equal(bench.numbers, [0, 2, 3, 5])
})

test('duplicates its share, and the copy is the same', () => {
  const bench = new Bench({ duplicateRate: 0.25 })
  bench.sendMany(10_000, 1)
  near(bench.count('duplicated') / 10_000, 0.25, 0.02)
  assert.is(bench.receiver.received.length, 10_000 + bench.count('duplicated'))
  assert.is(new Set(bench.numbers).size, 10_000)
})

test('corrupts one to so many bits, anywhere, and never by none', () => {
  const bench = new Bench({ corruptRate: 1, corruptBitsMax: 4, corruptPassesChecksum: true })
  for (let count = 0; count < 2_000; count++) bench.sender.send(TARGET, new Uint8Array(8))
  bench.world.run(() => false)
  const bits = bench.receiver.received.map(({ bytes }) => {
    return bytes.reduce((sum, byte) => sum + byte.toString(2).replaceAll('0', '').length, 0)
  })
  assert.is(bits.length, 2_000)
  assert.ok(Math.min(...bits) >= 1 && Math.max(...bits) <= 4)
  assert.is(new Set(bits).size, 4)
  const hit = new Set(
    bench.receiver.received.flatMap(({ bytes }) =>
      [...bytes.keys()].filter((at) => bytes[at] !== 0),
    ),
  )
  assert.is(hit.size, 8)
})

const TARGET = { address: '192.0.2.2', port: 9 }

test('the UDP checksum drops corrupted datagrams unless told otherwise', () => {
  const bench = new Bench({ corruptRate: 1 })
  bench.sendMany(10, 1)
  assert.is(bench.receiver.received.length, 0)
  assert.is(bench.count('bad-checksum'), 10)
})

test('an empty datagram arrives, and can not be corrupted', () => {
  const bench = new Bench({ corruptRate: 1, corruptPassesChecksum: true })
  bench.sender.send(TARGET, new Uint8Array(0))
  bench.world.run(() => false)
  assert.is(bench.receiver.received[0]?.bytes.length, 0)
  assert.is(bench.count('corrupted'), 0)
})

test('holds its share back, so that later ones pass', () => {
  const bench = new Bench({ delayMicros: 10, reorderRate: 0.1, reorderHoldMicros: 500 })
  bench.sendMany(5_000, 10)
  near(bench.count('held-back') / 5_000, 0.1, 0.015)
  const late = bench.receiver.received.filter((datagram) => {
    return datagram.at !== 10 + 10 * numberOf(datagram)
  })
  assert.is(late.length, bench.count('held-back'))
  for (const datagram of late) assert.is(datagram.at, 510 + 10 * numberOf(datagram))
})

test('the MTU counts IP and UDP headers', () => {
  for (const [ipv6, header] of [
    [false, 28],
    [true, 48],
  ] as const) {
    const bench = new Bench({ mtuBytes: 1_500 }, { ipv6 })
    bench.send(1, 1_500 - header)
    bench.send(2, 1_501 - header)
    bench.world.run(() => false)
    assert.equal(bench.numbers, [1])
    assert.is(bench.count('too-big'), 1)
  }
})

test('blackouts may overlap, and hit one direction', () => {
  const bench = new Bench({})
  bench.link.blackout(20, 60)
  bench.link.blackout(40, 80)
  bench.sendMany(10, 10)
  assert.equal(bench.numbers, [0, 1, 8, 9])
  assert.is(bench.count('link-down'), 6)
  assert.is(bench.pair.backward.count('link-down'), 0)
})

test('what waits when the link goes down is lost', () => {
  const bench = new Bench({ rateBitsPerSecond: 1e6 })
  bench.link.blackout(10_000, 20_000)
  bench.sendMany(5, 0, 972)
  assert.equal(bench.times, [8_000, 24_000, 32_000, 40_000])
})

test('healing ends all disturbance, planned blackouts included; delay and rate stay', () => {
  const params = { lossRate: 1, duplicateRate: 1, corruptRate: 1, reorderRate: 1, isDown: true }
  const bench = new Bench({ ...params, delayMicros: 100, burstEnterRate: 1 })
  bench.link.blackout(0, 1_000)
  bench.link.blackout(1, 50)
  bench.link.mask(0, 1, 2, 3)
  bench.link.dropWhen = () => true
  bench.world.run(10)
  bench.world.heal()
  bench.sendMany(20, 10)
  assert.equal(bench.numbers, [...Array(20).keys()])
  assert.is(bench.times[0], 110)
  bench.link.blackout(bench.world.now, bench.world.now + 10)
  bench.sendMany(1, 0)
  assert.is(bench.count('link-down'), 1)
})

test('parameters change by schedule', () => {
  const bench = new Bench({})
  bench.pair.setAt(25, { delayMicros: 1_000 })
  bench.pair.setAt(45, { delayMicros: 0 })
  bench.sendMany(7, 10)
  // Without permission to reorder, what follows a slow datagram waits for it.
  assert.equal(bench.times, [0, 10, 20, 1_030, 1_040, 1_040, 1_040])
})

test('parameters out of range are refused by name, at once', () => {
  const wrong: Partial<LinkParams>[] = [
    { lossRate: 1.1 },
    { lossRate: Number.NaN },
    { duplicateRate: -0.1 },
    { delayMicros: 0.5 },
    { delayMicros: -1 },
    { rateBitsPerSecond: 0 },
    { mtuBytes: Number.NaN },
    { queueBytes: -1 },
    { corruptBitsMax: 0 },
  ]
  const bench = new Bench({})
  for (const params of wrong) {
    const named = (error: Error) =>
      error instanceof RangeError && error.message.includes(Object.keys(params)[0] as string)
    assert.throws(() => bench.link.set(params), named)
    assert.throws(() => bench.link.setAt(1, params), named)
  }
  assert.equal(bench.link.params, DEFAULT_LINK_PARAMS)
})

test('no datagram is unaccounted for, whatever the parameters', () => {
  const DROPS = FATES.filter(
    (fate) => !['sent', 'delivered', 'duplicated', 'corrupted', 'held-back'].includes(fate),
  )
  for (let seed = 0; seed < 60; seed++) {
    const params = drawLinkParams(new SeededRandom(seed), SWARM_RANGES)
    const bench = new Bench(params, { seed })
    bench.link.blackout(10_000, 12_000)
    bench.sendMany(400, 50, 1 + (seed % 3) * 700 + 10)
    const drops = DROPS.reduce((sum, fate) => sum + bench.count(fate), 0)
    assert.is(bench.count('sent'), 400)
    assert.is(bench.count('delivered') + drops, 400 + bench.count('duplicated'), `seed ${seed}`)
    assert.is(bench.world.datagramsInFlight, 0)
  }
})

test('two links never disturb each other', () => {
  const run = (backward: Partial<LinkParams>) => {
    const bench = new Bench({ lossRate: 0.5 })
    bench.pair.backward.set(backward)
    bench.receiver.onDatagram = ({ from, bytes }) => bench.receiver.send(from, bytes)
    bench.sendMany(200, 10)
    return bench.numbers
  }
  assert.equal(run({}), run({ lossRate: 0.5, duplicateRate: 0.5 }))
})

test.run()
