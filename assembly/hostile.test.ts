/** A peer that has a connection and uses it against us: it loses that, and nobody else anything. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  CODE_FLOW_CONTROL,
  CODE_LIMIT,
  CODE_PROTOCOL,
  COUNT_CHALLENGES,
  COUNT_MOVES,
} from '../bindings/core.ts'
import { collect, connected, DELAY_MICROS } from '../bindings/testing/connected.ts'
import { type Frame, forge, streamFrame } from '../bindings/testing/mutate.ts'
import { type Datagram, pattern, type RigOptions } from '../bindings/testing/rig.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import {
  FRAME_ACCEPT,
  FRAME_ACK,
  FRAME_ACK_PATH,
  FRAME_MAX_DATA,
  FRAME_MAX_STREAM_DATA,
  FRAME_MAX_STREAMS,
  FRAME_OPEN,
  FRAME_PATH_CHALLENGE,
  FRAME_PING,
  FRAME_RESET,
  FRAME_STOP,
  FRAME_STREAM,
  STREAM_LENGTH_BIT,
} from './wire.ts'

const SECOND = 1e6
const LARGEST = 2 ** 53 - 1

/** A server with an honest client and a hostile one, whose packets are forged from here. */
async function scene(options: RigOptions = {}) {
  const { rig, client: hostile, server, connection, accepted } = await connected(options)
  hostile.open(connection)
  const [template] = hostile.collect() as [Datagram]
  server.ingest([template])
  server.collect()
  const honest = rig.peer(options)
  const good = honest.connect(server)
  assert.ok(rig.run(() => good.isOpen))
  // From here on the hostile peer's own endpoint is out of the game.
  rig.network = ({ to }) => (to === hostile.port ? [] : [DELAY_MICROS])
  let ahead = 0
  const attack = (frames: readonly Frame[], from = hostile.port) => {
    ahead += 1
    const bytes = forge(template.bytes, frames, ahead)
    server.ingest([{ ...template, from, bytes }])
    return bytes.length
  }
  const goodWorks = () => {
    const received = collect(server)
    const stream = honest.open(good)
    honest.write(stream, pattern(3, 0, 20_000))
    assert.ok(
      rig.run(() => received().length === 20_000, 20 * SECOND),
      'the honest peer',
    )
  }
  return { rig, server, accepted, attack, goodWorks, hostile }
}

const bytes = (size: number) => new Uint8Array(size)

const ATTACKS: readonly (readonly [name: string, code: number, frames: readonly Frame[]])[] = [
  [
    'acknowledges what was never sent',
    CODE_PROTOCOL,
    [{ type: FRAME_ACK, integers: [2 ** 40, 0, 0, 0] }],
  ],
  ['acknowledges numbers below 0', CODE_PROTOCOL, [{ type: FRAME_ACK, integers: [0, 0, 0, 5] }]],
  [
    'acknowledges with gaps below 0',
    CODE_PROTOCOL,
    [{ type: FRAME_ACK, integers: [0, 0, 1, 0, 3, 0] }],
  ],
  ['has a thousand ranges', CODE_PROTOCOL, [{ type: FRAME_ACK, integers: [0, 0, 1000, 0] }]],
  [
    'acknowledges on a path that is not',
    CODE_PROTOCOL,
    [{ type: FRAME_ACK_PATH, integers: [7, 0, 0, 0, 0] }],
  ],
  ['ends beyond 2^53', CODE_PROTOCOL, [streamFrame(0, LARGEST - 5, bytes(10))]],
  ['ends just below 2^53', CODE_FLOW_CONTROL, [streamFrame(0, LARGEST - 20, bytes(10))]],
  ['ends beyond its window', CODE_FLOW_CONTROL, [streamFrame(0, 256 * 1024, bytes(1))]],
  [
    'says that it had 2^53 bytes',
    CODE_FLOW_CONTROL,
    [{ type: FRAME_RESET, integers: [0, 0, LARGEST] }],
  ],
  [
    'lies about a length',
    CODE_PROTOCOL,
    [{ type: FRAME_STREAM | STREAM_LENGTH_BIT, integers: [0, 0, 5000] }],
  ],
  [
    'lies about a length of 2^53',
    CODE_PROTOCOL,
    [{ type: FRAME_STREAM | STREAM_LENGTH_BIT, integers: [0, 0, LARGEST] }],
  ],
  [
    'ends twice, elsewhere',
    CODE_PROTOCOL,
    [streamFrame(0, 0, bytes(9), true), streamFrame(0, 0, bytes(8), true)],
  ],
  ['opens too many streams', CODE_LIMIT, [{ type: FRAME_OPEN, integers: [2 * 10_000, 1] }]],
  ['opens stream 2^53', CODE_PROTOCOL, [{ type: FRAME_OPEN, integers: [LARGEST - 1, 1] }]],
  [
    'speaks of a stream that we never opened',
    CODE_PROTOCOL,
    [{ type: FRAME_MAX_STREAM_DATA, integers: [5, 9] }],
  ],
  ['accepts its own stream', CODE_PROTOCOL, [{ type: FRAME_ACCEPT, integers: [0] }]],
  ['stops a stream that is not', CODE_PROTOCOL, [{ type: FRAME_STOP, integers: [77, 0] }]],
  ['cuts a challenge short', CODE_PROTOCOL, [{ type: FRAME_PATH_CHALLENGE, integers: [1, 2, 3] }]],
  ['invents a frame', CODE_PROTOCOL, [{ type: 0x3f, integers: [] }]],
]

for (const [name, code, frames] of ATTACKS) {
  test(`who ${name} loses the connection, with code ${code}, and nobody else`, async () => {
    const { rig, server, accepted, attack, goodWorks } = await scene()
    attack(frames)
    assert.is(accepted.closedCode, code)
    goodWorks()
    rig.runFor(20 * SECOND)
    assert.is(server.gauges().connections, 1)
    rig.close()
  })
}

test('windows of 2^53 let nobody have more memory than there is', async () => {
  const { rig, server, accepted, attack, goodWorks } = await scene({ memoryBytes: 1 << 20 })
  attack([
    { type: FRAME_MAX_DATA, integers: [LARGEST] },
    { type: FRAME_MAX_STREAMS, integers: [LARGEST] },
    { type: FRAME_MAX_STREAM_DATA, integers: [0, LARGEST] },
  ])
  const [stream] = server.streams.values()
  assert.ok(stream)
  for (let round = 0; round < 100; round++) {
    server.write(stream, pattern(0, 0, 65_536))
    rig.runFor(SECOND / 10)
    assert.ok(server.gauges().memoryUsed <= 1 << 20)
  }
  assert.is(accepted.closedCode, undefined)
  goodWorks()
  rig.close()
})

test('a million bytes, each on its own and none next to another, cost no more than a share', async () => {
  const { rig, server, accepted, attack, goodWorks } = await scene({ memoryBytes: 1 << 20 })
  const random = new SeededRandom(5)
  for (let packet = 0; packet < 5_000; packet++) {
    const frames = Array.from({ length: 200 }, () =>
      streamFrame(0, 1 + 2 * random.below(120_000), bytes(1)),
    )
    attack(frames)
    assert.ok(server.gauges().memoryUsed <= (1 << 20) * 0.6, `${server.gauges().memoryUsed} bytes`)
  }
  // It did nothing that is forbidden.
  assert.is(accepted.closedCode, undefined)
  goodWorks()
  rig.close()
})

test('streams that are opened and reset by the thousand leave nothing behind', async () => {
  const { rig, server, accepted, attack, goodWorks } = await scene({ streamsMax: 100 })
  const before = server.gauges().memoryUsed
  let peak = 0
  for (let number = 2; number < 190; number += 2) {
    attack([
      { type: FRAME_OPEN, integers: [number, 1] },
      { type: FRAME_RESET, integers: [number, 0, 0] },
      { type: FRAME_STOP, integers: [number, 0] },
    ])
    peak = Math.max(peak, server.gauges().memoryUsed)
    rig.runFor(1000)
  }
  assert.is(accepted.closedCode, undefined)
  assert.ok(peak < before + 100 * 1024, `${peak - before} bytes`)
  // One more than it was granted.
  for (let number = 190; number < 1000 && accepted.closedCode === undefined; number += 2) {
    attack([{ type: FRAME_OPEN, integers: [number, 1] }])
  }
  assert.is(accepted.closedCode, CODE_LIMIT)
  goodWorks()
  rig.close()
})

test('a peer that never grants a byte is asked seldom', async () => {
  const { rig, server, hostile, accepted } = await scene({ streamWindow: 4096 })
  const [stream] = server.streams.values()
  assert.ok(stream)
  let asked = 0
  rig.network = ({ to }) => {
    if (to === hostile.port) asked += 1
    return []
  }
  server.write(stream, pattern(0, 0, 100_000))
  rig.runFor(25 * SECOND)
  assert.ok(asked > 5 && asked < 100, `${asked} datagrams in 25 s`)
  assert.is(accepted.closedCode, undefined)
  rig.close()
})

test('who repeats packets from elsewhere gets three times their bytes at most, and nothing moves', async () => {
  const { rig, server, attack, hostile, goodWorks } = await scene()
  const elsewhere = 4_000
  let sent = 0
  let got = 0
  rig.network = (datagram) => {
    if (datagram.to === elsewhere) got += datagram.bytes.length
    return datagram.to === elsewhere || datagram.to === hostile.port ? [] : [DELAY_MICROS]
  }
  const [stream] = server.streams.values()
  assert.ok(stream)
  for (let round = 0; round < 20; round++) {
    sent += attack([{ type: FRAME_PING, integers: [] }], elsewhere)
    server.write(stream, pattern(0, 0, 5_000))
    rig.runFor(SECOND / 2)
    assert.ok(got <= 3 * sent, `${got} bytes for ${sent}`)
  }
  assert.ok(server.counter(COUNT_CHALLENGES) > 0)
  assert.is(server.counter(COUNT_MOVES), 0)
  goodWorks()
  rig.close()
})

test.run()
