// slow: tens of thousands of packets
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Bulk } from './bulk.ts'
import type { LinkParams } from './link.ts'
import { BytePattern, Transfer } from './transfer.ts'
import { transportHarness } from './transport-harness.ts'
import { type LinkPair, World } from './world.ts'

const isLong = process.env['PUNCHLINE_LONG'] === '1'
const SECOND = 1e6
const MODES = ['noise', 'none'] as const
const CONTROLLERS = ['bbr', 'cubic'] as const
type Setup = { mode: (typeof MODES)[number]; congestion: (typeof CONTROLLERS)[number] }

/** One stream each way over one link; every byte is checked at its place as it arrives. */
function exchange(
  { mode, congestion }: Setup,
  upBytes: number,
  params: Partial<LinkParams>,
  prepare: (pair: LinkPair, world: World) => void = () => {},
): { world: World; pair: LinkPair; reads: readonly number[] } {
  const world = new World(7)
  const endpoint = { congestion, packetBytesMax: 1_200 }
  const run = transportHarness({ security: { mode }, endpoint }).open(world)
  const [client, server] = [world.host('client', '192.0.2.1'), world.host('server', '192.0.2.2')]
  const pair = world.link(client, server, params)
  prepare(pair, world)
  const [up, down] = [new BytePattern(1), new BytePattern(2)]
  const side = (name: string, isClient: boolean) =>
    new Transfer({
      world,
      name,
      random: world.generator(name),
      sendBytes: isClient ? upBytes : 10_000,
      receiveBytes: isClient ? 10_000 : upBytes,
      sendPattern: isClient ? up : down,
      receivePattern: isClient ? down : up,
      readDelayMicrosMax: 0,
    })
  const [ours, theirs] = [side('ours', true), side('theirs', false)]
  run.endpoint({
    host: server,
    port: 4_433,
    accept: () => ({
      stream: (stream) => {
        theirs.begin(stream)
        return theirs
      },
    }),
  })
  const closed = (reason: string | undefined) => assert.unreachable(`closed: ${reason}`)
  const connection = run.endpoint({ host: client }).connect('192.0.2.2', 4_433, {
    opened: () => ours.begin(connection.openStream(ours)),
    closed,
  })
  const reads: number[] = []
  try {
    for (let at = SECOND; !(ours.isDone && theirs.isDone); at += SECOND) {
      assert.ok(at < 86_400 * SECOND, `a day has passed at ${theirs.receivedBytes} bytes`)
      world.run(() => ours.isDone && theirs.isDone, { until: at })
      reads.push(theirs.receivedBytes)
    }
  } finally {
    run.close()
  }
  return { world, pair, reads }
}

/** Packets of data, at least; the long form is that of the acceptance. */
const CORRUPTED_PACKETS = isLong ? 1e7 : 10_000
const CORRUPT_RATE = isLong ? 1e-3 : 2e-2

for (const mode of MODES) {
  test(`${mode}: of ${CORRUPTED_PACKETS} packets, altered below the checksum of UDP, nothing altered is delivered`, () => {
    const { pair } = exchange({ mode, congestion: 'bbr' }, CORRUPTED_PACKETS * 1_200, {
      delayMicros: 2_500,
      rateBitsPerSecond: 200e6,
      corruptRate: CORRUPT_RATE,
      // Any number of bits: few of them are what a CRC finds for certain.
      corruptBitsMax: 200,
      corruptPassesChecksum: true,
    })
    const { forward, backward } = pair
    assert.ok(forward.count('sent') >= CORRUPTED_PACKETS)
    const altered = forward.count('corrupted') + backward.count('corrupted')
    assert.ok(altered >= 0.7 * CORRUPT_RATE * CORRUPTED_PACKETS, `${altered} altered`)
    if (isLong) console.log(`${mode}: ${forward.count('sent')} packets, ${altered} altered`)
  })
}

for (const mode of MODES) {
  for (const congestion of CONTROLLERS) {
    test(`${mode}, ${congestion}: 10 MB over a link that is 5 s on and 2 s off`, () => {
      const { world, reads } = exchange(
        { mode, congestion },
        10e6,
        { delayMicros: 20_000, rateBitsPerSecond: 4e6 },
        (pair) => {
          for (let at = 5; at < 300; at += 7) pair.blackout(at * SECOND, (at + 2) * SECOND)
        },
      )
      // 20 s at the bottleneck, and nothing in two of seven: 28 s when nothing is lost by it.
      assert.ok(world.now < 42 * SECOND, `${world.now / SECOND} s`)
      // A probe may have left just before the link was back, and the next waits twice as long.
      for (let second = 10; second < reads.length; second += 7) {
        const [before = 0, after = 0] = [reads[second - 4], reads[second - 1]]
        assert.ok(after > before, `nothing arrived by second ${second}`)
      }
    })
  }
}

const STALL_SECONDS = [1, 5, 20, 40, 1, 5]

test('windows that close to nothing open again, whatever is lost meanwhile', () => {
  for (let seed = 1; seed <= (isLong ? 500 : 25); seed += 1) {
    const lossRate = (seed % 5) * 0.1
    // Where two of five are lost each way, cubic hardly sends more than probes: the slowest round of
    // 500 seeds had 14,155 bytes.
    const bytesMin = lossRate > 0.3 ? 10_000 : 20_000
    const bulk = new Bulk({
      seed,
      link: { delayMicros: 30_000, rateBitsPerSecond: 20e6, lossRate },
      streamCount: 3,
      congestion: seed % 2 === 0 ? 'bbr' : 'cubic',
      endpoint: { streamWindowBytes: 4_096, connectionWindowBytes: 8_192, idleTimeoutMs: 120_000 },
    })
    const { flows, world } = bulk
    for (let round = 0; round < STALL_SECONDS.length; round += 1) {
      for (const flow of flows) flow.isStalled = true
      bulk.runUntil(world.now / SECOND + (STALL_SECONDS[round] as number))
      // The network is gone when the reader comes back: what opens the window is lost.
      const isCut = round % 2 === 1
      if (isCut) bulk.pair.blackout(world.now, world.now + 3 * SECOND)
      const before = flows.map(({ receivedBytes }) => receivedBytes)
      for (const flow of flows) bulk.resume(flow)
      bulk.runUntil(world.now / SECOND + 20)
      for (const [index, { receivedBytes }] of flows.entries()) {
        const grown = receivedBytes - (before[index] ?? 0)
        assert.ok(grown > bytesMin, `seed ${seed}, round ${round}: ${grown} bytes in 20 s`)
      }
    }
    bulk.close()
  }
})

test.run()
