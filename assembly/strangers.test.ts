/**
 * What people can do who are not the peer: repeat, invent, change and flood. PUNCHLINE_LONG=1 takes
 * the full counts.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  CIPHER_CHACHA,
  CODE_RESET,
  COUNT_BYTES_RECEIVED,
  COUNT_BYTES_SENT,
  COUNT_DROPPED_FORGED,
  COUNT_DROPPED_RATE,
  COUNT_DROPPED_UNKNOWN,
  COUNT_PACKETS_DUPLICATE,
  COUNT_PACKETS_RECEIVED,
  COUNT_RESETS_RECEIVED,
  COUNT_RESETS_SENT,
  COUNT_RETRIES_SENT,
  VERSION,
} from '../bindings/core.ts'
import { collect, connected, DELAY_MICROS, pair } from '../bindings/testing/connected.ts'
import { seal } from '../bindings/testing/mutate.ts'
import type { Datagram, Peer } from '../bindings/testing/rig.ts'
import { pattern } from '../bindings/testing/rig.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import {
  FIRST_LONG,
  INITIAL_SIZE,
  LONG_LENGTH,
  LONG_SIZE,
  LONG_SOURCE_CID,
  PACKET_CID,
  SHORT_EPOCH,
  SHORT_NUMBER,
  SHORT_SIZE,
  TYPE_HANDSHAKE,
  TYPE_INITIAL,
  TYPE_REFUSE,
  TYPE_RESET,
  TYPE_RETRY,
  TYPE_VERSION,
} from './wire.ts'

const IS_LONG = process.env['PUNCHLINE_LONG'] === '1'
const REPLAYS = IS_LONG ? 1_000_000 : 20_000
const INJECTIONS = IS_LONG ? 10_000_000 : 60_000
const FUZZED = IS_LONG ? 1_000_000 : 20_000
const SECOND = 1e6
const MIB = 1 << 20

const secure = { cipher: CIPHER_CHACHA } as const
const fast = { build: 'simd', memoryBytes: 32 * MIB } as const

const longTypeOf = (bytes: Uint8Array) => (bytes[0] as number) & 0x1f
const isLong = (bytes: Uint8Array) => ((bytes[0] as number) & FIRST_LONG) !== 0

function randomBytes(random: SeededRandom, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  random.fill(bytes)
  return bytes
}

/** A packet with a long header, its checksum right. */
function longPacket(type: number, ids: Uint8Array, message: Uint8Array, size = 0): Uint8Array {
  const bytes = new Uint8Array(Math.max(LONG_SIZE + message.length + 4, size))
  const view = new DataView(bytes.buffer)
  bytes[0] = 0xe0 | type
  bytes.set(ids.subarray(0, 8), PACKET_CID)
  view.setUint32(10, VERSION, true)
  bytes.set(ids.subarray(8, 16), LONG_SOURCE_CID)
  view.setUint16(LONG_LENGTH, message.length, true)
  bytes.set(message, LONG_SIZE)
  return seal(bytes)
}

test('packets that are repeated later are not taken again', async () => {
  const { rig, client, server, connection } = await connected(secure, fast)
  const received = collect(server)
  const seen: Datagram[] = []
  rig.network = (datagram) => {
    seen.push(datagram)
    return [DELAY_MICROS]
  }
  const stream = client.open(connection)
  const sent = pattern(3, 0, 900_000)
  let written = 0
  const write = () => {
    written += client.write(stream, sent.subarray(written))
  }
  client.onWritable = write
  write()
  assert.ok(rig.run(() => received().length === sent.length))
  // Nothing is on its way any more.
  rig.runFor(1e6)
  const toServer = seen.filter(({ to, bytes }) => to === server.port && !isLong(bytes))
  assert.ok(toServer.length > 700)
  const before = server.counter(COUNT_PACKETS_RECEIVED)
  const random = new SeededRandom(1)
  for (let count = 0; count < REPLAYS; ) {
    const batch = Array.from({ length: 500 }, () => random.pick(toServer))
    server.ingest(batch)
    count += batch.length
  }
  assert.is(server.counter(COUNT_PACKETS_RECEIVED), before)
  assert.ok(server.counter(COUNT_PACKETS_DUPLICATE) >= REPLAYS)
  assert.ok(received().equals(sent))
  assert.ok(connection.isOpen)
  rig.close()
})

test('invented packets have no effect, even with the right connection id', async () => {
  const { rig, client, server, connection, accepted } = await connected(secure, fast)
  const received = collect(server)
  const seen: Datagram[] = []
  rig.network = (datagram) => {
    seen.push(datagram)
    return [DELAY_MICROS]
  }
  const stream = client.open(connection)
  client.write(stream, pattern(1, 0, 5000))
  rig.runFor(SECOND)
  const real = seen.find(({ to, bytes }) => to === server.port && !isLong(bytes))
  const answer = seen.find(({ to, bytes }) => to === client.port && !isLong(bytes))
  assert.ok(real && answer)
  const ids = [real, answer].map(({ bytes }) => bytes.slice(PACKET_CID, PACKET_CID + 8))
  const [serverId = new Uint8Array(8), clientId = new Uint8Array(8)] = ids
  const random = new SeededRandom(2)
  const invent = (): Uint8Array => {
    const id = random.chance(0.5) ? serverId : randomBytes(random, 8)
    if (random.chance(0.3)) {
      const type = random.pick([TYPE_HANDSHAKE, TYPE_RETRY, TYPE_VERSION, TYPE_REFUSE, TYPE_RESET])
      const other = random.chance(0.5) ? clientId : randomBytes(random, 8)
      const pairOfIds = Buffer.concat(random.chance(0.5) ? [id, other] : [other, id])
      return longPacket(type, pairOfIds, randomBytes(random, random.pick([1, 4, 8, 16, 100])))
    }
    const bytes = randomBytes(random, random.between(SHORT_SIZE, 120))
    bytes[0] = 0xc0 | (random.u32() & SHORT_EPOCH)
    bytes[1] = 0
    bytes.set(id, PACKET_CID)
    // Numbers near the next one are the best guess.
    if (random.chance(0.7))
      new DataView(bytes.buffer).setUint32(SHORT_NUMBER, random.below(40), true)
    return random.chance(0.5) ? seal(bytes) : bytes
  }
  const before = server.counter(COUNT_PACKETS_RECEIVED)
  for (let count = 0; count < INJECTIONS; count += 500) {
    server.ingest(
      Array.from({ length: 500 }, () => ({ from: client.port, to: server.port, bytes: invent() })),
    )
  }
  assert.is(server.counter(COUNT_PACKETS_RECEIVED), before)
  assert.ok(server.counter(COUNT_DROPPED_FORGED) > INJECTIONS / 4)
  assert.is(accepted.closedCode, undefined)
  client.write(stream, pattern(1, 5000, 5000))
  rig.runFor(SECOND)
  assert.ok(received().equals(Buffer.from(pattern(1, 0, 10_000))))
  rig.close()
})

test('any flipped bit of a protected packet is refused, and nothing else is lost', async () => {
  const { rig, client, server, connection } = await connected(secure)
  const received = collect(server)
  const stream = client.open(connection)
  let packet: Datagram | undefined
  rig.network = (datagram) => {
    if (datagram.to === server.port && datagram.bytes.length > 100) {
      packet = datagram
      return []
    }
    return [DELAY_MICROS]
  }
  client.write(stream, pattern(9, 0, 200))
  rig.settle()
  assert.ok(packet)
  const { bytes } = packet
  const before = server.counter(COUNT_PACKETS_RECEIVED)
  for (let bit = 0; bit < bytes.length * 8; bit += 1) {
    const changed = Uint8Array.from(bytes)
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
    server.ingest([{ ...packet, bytes: changed }])
  }
  assert.is(server.counter(COUNT_PACKETS_RECEIVED), before)
  server.ingest([packet])
  assert.is(server.counter(COUNT_PACKETS_RECEIVED), before + 1)
  assert.is(received().length, 200)
  rig.close()
})

test('keys change without a word, and packets of the old key that come late are taken', async () => {
  const { rig, client, server, connection } = await connected({ ...secure, keepAlive: SECOND })
  const received = collect(server)
  const epochs: number[] = []
  rig.network = ({ to, bytes }) => {
    if (to === server.port && !isLong(bytes)) epochs.push((bytes[0] as number) & SHORT_EPOCH)
    return [DELAY_MICROS]
  }
  const stream = client.open(connection)
  let written = 0
  for (let round = 0; round < 5; round += 1) {
    rig.runFor(119 * SECOND)
    // Around the change packets overtake each other.
    let turn = 0
    const { network } = rig
    rig.network = (datagram) => {
      network(datagram)
      turn += 1
      return [turn % 2 === 0 ? 1000 : 9000]
    }
    for (let step = 0; step < 40; step += 1) {
      written += client.write(stream, pattern(5, written, 3000))
      rig.runFor(0.05 * SECOND)
    }
    rig.network = network
  }
  rig.runFor(SECOND)
  assert.ok(received().equals(Buffer.from(pattern(5, 0, written))))
  const changes = epochs.filter((epoch, index) => index > 0 && epoch !== epochs[index - 1]).length
  assert.ok(changes >= 4, `${changes} changes of the key`)
  assert.is(server.counter(COUNT_DROPPED_FORGED), 0)
  assert.ok(connection.isOpen)
  rig.close()
})

test('a reset is believed if it brings the token of who had the connection', async () => {
  for (const options of [secure, {}]) {
    const { rig, client, server, connection } = await connected(options)
    const resets: Datagram[] = []
    let isLost = false
    rig.network = (datagram) => {
      if (isLong(datagram.bytes) && longTypeOf(datagram.bytes) === TYPE_RESET) resets.push(datagram)
      return isLost ? [] : [DELAY_MICROS]
    }
    // The server forgets the connection: a packet to an id of nobody's.
    isLost = true
    const stream = client.open(connection)
    client.write(stream, pattern(1, 0, 300))
    const toServer: Datagram[] = []
    rig.network = (datagram) => {
      toServer.push(datagram)
      return []
    }
    rig.settle()
    const [lost] = toServer
    assert.ok(lost)
    const unknown = Uint8Array.from(lost.bytes)
    unknown[PACKET_CID] = (unknown[PACKET_CID] as number) ^ 1
    rig.network = (datagram) => {
      resets.push(datagram)
      return []
    }
    server.ingest([{ ...lost, bytes: unknown }])
    rig.settle()
    const reset = resets.find(({ bytes }) => isLong(bytes) && longTypeOf(bytes) === TYPE_RESET)
    assert.ok(reset, 'an unknown id is answered')
    assert.ok(reset.bytes.length < unknown.length, 'with less than what asked for it')
    client.ingest([reset])
    assert.ok(connection.isOpen, 'it is about another connection')
    // The same about this connection, with a token that was made up.
    const forged = Uint8Array.from(reset.bytes)
    forged.set(lost.bytes.subarray(PACKET_CID, PACKET_CID + 8), LONG_SOURCE_CID)
    if (options === secure) {
      client.ingest([{ ...reset, bytes: seal(forged) }])
      assert.ok(connection.isOpen, 'a made-up token')
    }
    // And with the right one.
    const { core } = rig
    const id = Buffer.from(lost.bytes.subarray(PACKET_CID, PACKET_CID + 8))
    core.exports.endpointResetToken(server.endpoint, id.readInt32LE(0), id.readInt32LE(4))
    forged.set(core.scratch(16), LONG_SIZE)
    client.ingest([{ ...reset, bytes: seal(forged) }])
    assert.is(connection.closedCode, CODE_RESET)
    assert.is(client.counter(COUNT_RESETS_RECEIVED), 1)
    rig.close()
  }
})

/** First packets of as many strangers; each with ids and a port of its own. */
function initials(count: number, random: SeededRandom, to: Peer): Datagram[] {
  return Array.from({ length: count }, () => ({
    from: random.between(1000, 60_000),
    to: to.port,
    bytes: longPacket(TYPE_INITIAL, randomBytes(random, 16), Uint8Array.of(1, 2, 3), INITIAL_SIZE),
  }))
}

test('when many knock, a cookie comes first; whoever brings it back gets in', async () => {
  const { rig, client, server } = await pair({ halfOpenMax: 400 }, fast)
  const random = new SeededRandom(3)
  rig.network = ({ to }) => (to === client.port || to === server.port ? [DELAY_MICROS] : [])
  for (let round = 0; round < 20; round += 1) {
    server.ingest(initials(500, random, server))
    rig.runFor(50_000)
  }
  assert.ok(server.counter(COUNT_RETRIES_SENT) > 500, 'strangers are asked for a cookie')
  assert.ok(server.gauges().halfOpen <= 129, `${server.gauges().halfOpen} half open`)
  const connection = client.connect(server)
  assert.ok(
    rig.run(() => connection.isOpen, SECOND),
    'an honest client gets in meanwhile',
  )
  rig.close()
})

test('a cookie is good for the address and the ids that it was made for', async () => {
  const { rig, client, server } = await pair({ halfOpenMax: 400 }, fast)
  const random = new SeededRandom(4)
  const toClient: Datagram[] = []
  const fromClient: Datagram[] = []
  rig.network = (datagram) => {
    if (datagram.to === client.port) toClient.push(datagram)
    if (datagram.from === client.port) fromClient.push(datagram)
    return []
  }
  server.ingest(initials(500, random, server))
  rig.settle()
  client.connect(server)
  rig.settle()
  const [first] = fromClient
  assert.ok(first)
  server.ingest([first])
  rig.settle()
  const retry = toClient.find(({ bytes }) => longTypeOf(bytes) === TYPE_RETRY)
  assert.ok(retry)
  client.ingest([retry])
  rig.settle()
  const second = fromClient[1]
  assert.ok(second)
  const halfOpen = () => server.gauges().halfOpen
  const before = halfOpen()
  server.ingest([{ ...second, from: 7777 }])
  assert.is(halfOpen(), before, 'from another port')
  const otherId = Uint8Array.from(second.bytes)
  otherId[LONG_SOURCE_CID] = (otherId[LONG_SOURCE_CID] as number) ^ 1
  server.ingest([{ ...second, bytes: seal(otherId) }])
  assert.is(halfOpen(), before, 'with another id')
  const otherCookie = Uint8Array.from(second.bytes)
  otherCookie[LONG_SIZE] = (otherCookie[LONG_SIZE] as number) ^ 1
  server.ingest([{ ...second, bytes: seal(otherCookie) }])
  assert.is(halfOpen(), before, 'another cookie')
  server.ingest([second])
  assert.is(halfOpen(), before + 1)
  rig.close()
})

test('one network gets its share only while there are many', async () => {
  const { rig, server } = await pair({ halfOpenMax: 40 }, fast)
  const random = new SeededRandom(5)
  const retries: Datagram[] = []
  rig.network = (datagram) => {
    if (longTypeOf(datagram.bytes) === TYPE_RETRY) retries.push(datagram)
    return []
  }
  const knocks = initials(400, random, server)
  for (const knock of knocks) {
    server.ingest([knock])
    rig.settle()
  }
  const answers = retries.map(({ bytes, to }) => {
    const knock = knocks.find(({ bytes: asked }) =>
      Buffer.from(asked.subarray(LONG_SOURCE_CID, LONG_SOURCE_CID + 8)).equals(
        bytes.subarray(PACKET_CID, PACKET_CID + 8),
      ),
    )
    assert.ok(knock && knock.from === to)
    const again = Uint8Array.from(knock.bytes)
    again[1] = 8
    again.set(bytes.subarray(LONG_SIZE, LONG_SIZE + 8), LONG_SIZE)
    again.set([1, 2, 3], LONG_SIZE + 8)
    return { ...knock, bytes: seal(again) }
  })
  assert.ok(answers.length > 200)
  const before = server.gauges().halfOpen
  server.ingest(answers)
  // Below half of the table everybody with a cookie comes in, above it five at once.
  assert.ok(server.gauges().halfOpen <= Math.max(before, 20) + 6)
  assert.ok(server.counter(COUNT_DROPPED_RATE) > 100)
  rig.close()
})

test('a flood from few ports costs few cookies, and a newcomer still gets one', async () => {
  const { rig, server } = await pair({ halfOpenMax: 400 }, fast)
  const random = new SeededRandom(7)
  const asked = new Set<number>()
  rig.network = ({ bytes, to }) => {
    if (longTypeOf(bytes) === TYPE_RETRY) asked.add(to)
    return []
  }
  const knock = (from: number) => {
    const [initial] = initials(1, random, server)
    server.ingest([{ ...(initial as Datagram), from }])
    rig.settle()
  }
  for (let count = 0; count < 2000; count += 1) knock(1001 + (count % 4))
  const retries = server.counter(COUNT_RETRIES_SENT)
  assert.ok(retries > 300 && retries <= 512 + 4 * 6, `${retries} cookies`)
  knock(60_001)
  assert.ok(asked.has(60_001))
  rig.close()
})

test('a thousand connections a second from one address are nothing special', async () => {
  const { rig, client, server } = await pair({ halfOpenMax: 4096 }, fast)
  const connections = Array.from({ length: 1000 }, () => {
    rig.runFor(1000)
    return client.connect(server)
  })
  assert.ok(rig.run(() => connections.every(({ isOpen }) => isOpen), SECOND))
  assert.is(server.counter(COUNT_RETRIES_SENT), 0)
  assert.is(server.counter(COUNT_DROPPED_RATE), 0)
  rig.close()
})

test('never more than three times what came from an address that is not proven', async () => {
  const { rig, client, server } = await pair({ halfOpenMax: 200 }, fast)
  const random = new SeededRandom(6)
  const genuine: Datagram[] = []
  rig.network = (datagram) => {
    genuine.push(datagram)
    return [DELAY_MICROS]
  }
  const connection = client.connect(server)
  rig.runFor(SECOND)
  client.write(client.open(connection), pattern(1, 0, 3000))
  rig.runFor(SECOND)
  rig.network = () => []
  const samples = [...genuine, ...initials(50, random, server)]
  const victim = rig.peer({ halfOpenMax: 200 })
  let worst = 0
  for (let count = 0; count < FUZZED; count += 1) {
    const sample = random.pick(samples)
    let bytes = Uint8Array.from(sample.bytes)
    const changes = random.below(4)
    for (let index = 0; index < changes; index += 1) {
      bytes[random.below(bytes.length)] = random.u32()
    }
    if (random.chance(0.2)) bytes = bytes.slice(0, random.between(1, bytes.length))
    if (random.chance(0.7) && bytes.length > 8) bytes = Uint8Array.from(seal(bytes))
    const from = random.between(1000, 60_000)
    victim.ingest([{ from, to: victim.port, bytes }])
    const out = victim.collect().reduce((sum, answer) => sum + answer.bytes.length, 0)
    worst = Math.max(worst, out / bytes.length)
    // Repeated answers belong to repeated questions only.
    if (count % 100 === 0) rig.now += 20_000
  }
  assert.ok(worst <= 3, `${worst} times`)
  const total = victim.counter(COUNT_BYTES_SENT) / victim.counter(COUNT_BYTES_RECEIVED)
  assert.ok(total > 0 && total <= 3, `${total} times in all`)
  rig.close()
})

test("endpoints that are fed each other's answers fall silent", async () => {
  const { rig, client, server } = await pair()
  const random = new SeededRandom(7)
  let count = 0
  rig.network = () => {
    count += 1
    return [DELAY_MICROS]
  }
  const types = [TYPE_HANDSHAKE, TYPE_RETRY, TYPE_VERSION, TYPE_REFUSE, TYPE_RESET]
  const short = randomBytes(random, 200)
  short[0] = 0xc0
  short[1] = 0
  const odd = [short, seal(Uint8Array.from(short))]
  for (const type of types)
    odd.push(longPacket(type, randomBytes(random, 16), randomBytes(random, 20), 100))
  const other = longPacket(
    TYPE_INITIAL,
    randomBytes(random, 16),
    randomBytes(random, 20),
    INITIAL_SIZE,
  )
  new DataView(other.buffer).setUint32(10, 0x12345678, true)
  odd.push(seal(other))
  for (const bytes of odd) {
    count = 0
    server.ingest([{ from: client.port, to: server.port, bytes }])
    rig.runFor(60 * SECOND)
    assert.ok(count <= 1, `${count} packets after one of type ${bytes[0]?.toString(16)}`)
  }
  assert.ok(server.counter(COUNT_RESETS_SENT) > 0)
  assert.ok(client.counter(COUNT_DROPPED_UNKNOWN) > 0)
  rig.close()
})

test.run()
