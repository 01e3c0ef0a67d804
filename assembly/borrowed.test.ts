/** Bytes that streams leave where they arrived, until somebody needs the place. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CIPHER_CHACHA, CIPHER_NONE, RX_ARENA, RX_ARENA_SIZE } from '../bindings/core.ts'
import { connected, DELAY_MICROS, onlyStream } from '../bindings/testing/connected.ts'
import { TEST_BUILDS } from '../bindings/testing/cores.ts'
import { type Datagram, type Peer, pattern, type RigStream } from '../bindings/testing/rig.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import { BORROWED_MIN } from './borrowed.ts'

const LARGE = { packetBytesMax: 65_507, streamWindow: 1 << 20, connectionWindow: 2 << 20 }

/** Reads up to `most` bytes; gives how many of them lay in the arena. */
function readSome(peer: Peer, stream: RigStream, most: number, into: Uint8Array[]): number {
  const { core } = peer.rig
  let borrowed = 0
  for (let left = most; left > 0; ) {
    const size = Math.min(core.exports.streamPeek(stream.handle), left)
    if (size === 0) break
    const at = core.param(0)
    const isBorrowed = core.param(1) !== 0
    assert.is(isBorrowed, at >= RX_ARENA && at < RX_ARENA + RX_ARENA_SIZE)
    if (isBorrowed) borrowed += size
    into.push(core.u8.slice(at, at + size))
    core.exports.streamConsume(stream.handle, size)
    left -= size
  }
  return borrowed
}

/** A stream whose sender may have some hundred thousand bytes in flight; everything is read. */
async function warmedUp() {
  const pair = await connected(LARGE)
  const { rig, client, server, connection } = pair
  const stream = client.open(connection)
  for (let round = 0; round < 10; round += 1) {
    client.write(stream, pattern(1, 0, 200_000))
    rig.runFor(10 * DELAY_MICROS)
    for (const other of server.streams.values()) server.read(other)
  }
  rig.runFor(1e6)
  return { ...pair, stream, other: onlyStream(server) }
}

/** Brings over all that one side has to send now, and nothing else. */
function hand(from: Peer, to: Peer): void {
  // Pacing lets it.
  from.rig.now += DELAY_MICROS
  from.timeout()
  for (let datagrams = from.collect(); datagrams.length > 0; datagrams = from.collect()) {
    to.ingest(datagrams)
  }
}

/** The kernel, or somebody else, writes to the arena. */
function overwrite({ rig: { core } }: Peer): void {
  core.exports.settle()
  core.u8.fill(0xee, RX_ARENA, RX_ARENA + RX_ARENA_SIZE)
}

for (const build of TEST_BUILDS) {
  for (const cipher of [CIPHER_NONE, CIPHER_CHACHA]) {
    const name = cipher === CIPHER_NONE ? 'plain' : 'encrypted'
    test(`${build}, ${name}: nothing is lost or altered, however it is read`, async () => {
      const random = new SeededRandom(7)
      const chance = (share: number) => random.fraction() < share
      const { rig, client, server, connection } = await connected({ ...LARGE, cipher }, { build })
      rig.network = () => (chance(0.03) ? [] : [chance(0.2) ? 3 * DELAY_MICROS : DELAY_MICROS])
      const total = 3_000_000
      const sent = Buffer.from(pattern(5, 0, total))
      const stream = client.open(connection)
      let written = 0
      const write = () => {
        written += client.write(stream, sent.subarray(written))
      }
      client.onWritable = write
      const pieces: Uint8Array[] = []
      let [borrowed, kept, read] = [0, 0, 0]
      const ingest = server.ingest.bind(server)
      server.ingest = (datagrams: readonly Datagram[]) => {
        if (datagrams.length === 0) return
        ingest(datagrams)
        const other = [...server.streams.values()][0]
        if (other === undefined) return
        // Some of what just came, or all, or nothing yet.
        const count = chance(0.3) ? 0 : chance(0.5) ? random.below(200_000) : Infinity
        borrowed += readSome(server, other, count, pieces)
        overwrite(server)
        if (chance(0.5)) kept += readSome(server, other, random.below(100_000), pieces)
      }
      write()
      rig.run(() => {
        const other = [...server.streams.values()][0]
        if (other !== undefined && rig.flightCount === 0) readSome(server, other, Infinity, pieces)
        read = pieces.reduce((sum, { length }) => sum + length, 0)
        return read === total
      }, 600e6)
      assert.is(read, total)
      assert.ok(Buffer.concat(pieces).equals(sent))
      assert.is(kept, 0)
      assert.ok(borrowed > total / 5, `${borrowed} bytes were read where they lay`)
      client.finish(stream)
      rig.runFor(1e6)
      assert.ok(server.ended(onlyStream(server)))
      rig.close()
    })
  }
}

test('pages are kept for what lies there, and go with it', async () => {
  const { rig, client, server, stream, other } = await warmedUp()
  const idle = server.gauges().memoryUsed
  client.write(stream, pattern(1, 10, 60_000))
  hand(client, server)
  assert.is(rig.core.exports.streamPeek(other.handle), 60_000)
  assert.is(rig.core.param(1), 1)
  assert.ok(server.gauges().memoryUsed >= idle + 60_000)
  // Half of it is read in place, the rest after the arena was needed.
  const pieces: Uint8Array[] = []
  assert.is(readSome(server, other, 30_000, pieces), 30_000)
  overwrite(server)
  assert.is(readSome(server, other, 60_000, pieces), 0)
  assert.equal(Buffer.concat(pieces), Buffer.from(pattern(1, 10, 60_000)))
  assert.is(server.gauges().memoryUsed, idle)
  rig.close()
})

test('a stream that ends forgets what lies there', async () => {
  for (const end of ['reset', 'release', 'close'] as const) {
    const { rig, client, server, stream, other } = await warmedUp()
    client.write(stream, pattern(1, 0, 50_000))
    hand(client, server)
    rig.core.exports.streamPeek(other.handle)
    assert.is(rig.core.param(1), 1)
    if (end === 'reset') {
      // The reset comes in the same batch of datagrams as more data.
      client.write(stream, pattern(1, 50_000, 50_000))
      client.abort(stream)
      hand(client, server)
      assert.is(rig.core.exports.streamReadable(other.handle), 0)
    } else if (end === 'release') server.release(other)
    else server.close(server.lastConnection())
    overwrite(server)
    rig.runFor(60e6)
    server.release(other)
    client.release(stream)
    rig.runFor(60e6)
    for (const peer of [client, server]) assert.is(peer.gauges().streams, 0, end)
    rig.close()
  }
})

test('answers are read as they are, whatever was lost before them', async () => {
  const random = new SeededRandom(3)
  const { rig, client, server, connection } = await connected(LARGE)
  // Often that the stream is accepted: then its first bytes say so.
  rig.network = ({ to }) => (to === client.port && random.fraction() < 0.4 ? [] : [DELAY_MICROS])
  const answer = pattern(3, 0, 20_000)
  server.onStream = (stream) => {
    // In a packet of its own, after the acceptance.
    server.flush()
    server.write(stream, answer)
  }
  let borrowed = 0
  for (let round = 0; round < 60; round += 1) {
    const pieces: Uint8Array[] = []
    client.onReadable = (stream) => {
      borrowed += readSome(client, stream, Infinity, pieces)
    }
    const stream = client.open(connection)
    const isComplete = () => Buffer.concat(pieces).length === answer.length
    assert.ok(rig.run(isComplete, 600e6))
    assert.ok(Buffer.concat(pieces).equals(answer))
    client.release(stream)
    for (const other of server.streams.values()) server.release(other)
  }
  assert.ok(borrowed > 60 * BORROWED_MIN, `${borrowed} bytes were read where they lay`)
  rig.close()
})

test('what is small, or out of order, is copied at once', async () => {
  const { rig, client, server, stream, other } = await warmedUp()
  client.write(stream, pattern(1, 0, BORROWED_MIN - 100))
  hand(client, server)
  assert.ok(rig.core.exports.streamPeek(other.handle) > 0)
  assert.is(rig.core.param(1), 0)
  server.read(other)
  // Of two large pieces the second comes first, and again behind the first one.
  client.write(stream, pattern(2, 0, 60_000))
  const first = client.collect()
  rig.now += DELAY_MICROS
  client.write(stream, pattern(2, 60_000, 60_000))
  const second = client.collect()
  server.ingest(second)
  assert.is(rig.core.exports.streamReadable(other.handle), 0)
  server.ingest([...first, ...second])
  assert.is(rig.core.exports.streamReadable(other.handle), 120_000)
  const pieces: Uint8Array[] = []
  assert.is(readSome(server, other, Infinity, pieces), 60_000)
  assert.equal(Buffer.concat(pieces), Buffer.from(pattern(2, 0, 120_000)))
  rig.close()
})

test.run()
