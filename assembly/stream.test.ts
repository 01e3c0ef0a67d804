/** Streams as two hosts see them that talk over a network which does what the test says. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  COUNT_DROPPED_MALFORMED,
  COUNT_PACKETS_RETRANSMITTED,
  STREAM_OPENED,
  STREAM_RESET,
} from '../bindings/core.ts'
import { plainAccesses } from '../bindings/plain.ts'
import { collect, connected, DELAY_MICROS, onlyStream } from '../bindings/testing/connected.ts'
import { forge } from '../bindings/testing/mutate.ts'
import {
  addressWords,
  type Datagram,
  pattern,
  type RigStream,
  readEvent,
} from '../bindings/testing/rig.ts'
import { FRAME_MAX_STREAMS } from './wire.ts'

test('a FIN of its own may arrive before the data in front of it', async () => {
  const { rig, client, server, connection } = await connected()
  const received = collect(server)
  const stream = client.open(connection)
  rig.settle()
  // The data is lost, the FIN that follows later is not; its acknowledgement comes first, too.
  rig.network = () => []
  assert.is(client.write(stream, pattern(1, 0, 100)), 100)
  rig.settle()
  rig.network = () => [DELAY_MICROS]
  client.finish(stream)
  assert.ok(rig.run(() => stream.finishedCount > 0))
  const other = onlyStream(server)
  assert.equal(received(other), Buffer.from(pattern(1, 0, 100)))
  assert.ok(server.ended(other))
  rig.close()
})

test('what arrived before the peer was gone can be read afterwards', async () => {
  for (const end of ['close', 'silence'] as const) {
    const { rig, client, server, connection, accepted } = await connected()
    const stream = client.open(connection)
    client.write(stream, pattern(1, 0, 5000))
    client.finish(stream)
    rig.runFor(10 * DELAY_MICROS)
    const other = onlyStream(server)
    let rest: Uint8Array | undefined
    server.onClosed = () => {
      assert.is(server.write(other, pattern(2, 0, 10)), 0)
      rest = server.read(other)
      assert.ok(server.ended(other))
    }
    if (end === 'close') client.close(connection)
    else rig.network = () => []
    assert.ok(rig.run(() => accepted.closedCode !== undefined, 1e9))
    assert.equal(rest, Buffer.from(pattern(1, 0, 5000)))
    rig.runFor(1e9)
    for (const peer of [client, server]) assert.is(peer.gauges().memoryUsed, 0)
    rig.close()
  }
})

test('the host hears once that everything was acknowledged', async () => {
  const { rig, client, server, connection } = await connected()
  collect(server)
  // Acknowledgements are late: probes leave before them, and are acknowledged after them.
  rig.network = ({ from }) => [from === server.port ? 200_000 : DELAY_MICROS]
  const stream = client.open(connection)
  client.write(stream, pattern(0, 0, 3000))
  client.finish(stream)
  rig.runFor(10e6)
  assert.ok(client.counter(COUNT_PACKETS_RETRANSMITTED) > 0)
  assert.is(stream.finishedCount, 1)
  rig.close()
})

test('a reset, a stop or data that overtake the opening are told with it', async () => {
  const { rig, client, server, connection } = await connected()
  server.policy = 'accept'
  const send = (act: (stream: RigStream) => void) => {
    const stream = client.open(connection)
    const opening = client.collect()
    act(stream)
    const later = client.collect()
    server.ingest(later)
    assert.is(server.streams.size, 0, 'the host heard of a stream that nobody has opened yet')
    server.ingest(opening)
    const other = onlyStream(server)
    server.streams.clear()
    rig.settle()
    return other
  }
  const stopped = send((stream) => client.abort(stream, 7))
  assert.is(stopped.resetCount, 1)
  assert.is(stopped.stoppedCount, 1)
  assert.is(stopped.code, 7)
  assert.not.ok(server.ended(stopped), 'a reset is no orderly end')
  let readable = 0
  server.onReadable = (stream) => {
    readable += server.read(stream).length
  }
  const other = send((stream) => client.write(stream, pattern(0, 0, 10)))
  assert.is(readable, 10)
  assert.is(other.resetCount, 0)
  rig.close()
})

test('a stream that is opened and reset at once is told in two steps', async () => {
  const { rig, client, server, connection } = await connected()
  const stream = client.open(connection)
  client.write(stream, pattern(0, 0, 10))
  client.abort(stream, 9)
  // The event table holds the opening alone: a host makes its own object of a stream first.
  server.ingest([])
  const { core } = rig
  for (const { bytes } of client.collect()) core.receive(bytes, 0, addressWords(client.port))
  core.exports.ingest(server.endpoint, rig.now, core.receivedCount)
  core.receivedDone()
  assert.is(core.exports.events(server.endpoint), 1)
  const opened = readEvent(core, 0)
  assert.is(opened.bits, STREAM_OPENED)
  core.exports.setTag(opened.handle, 77)
  assert.is(core.exports.events(server.endpoint), 1)
  const rest = readEvent(core, 0)
  assert.is(rest.tag, 77)
  assert.is(rest.code, 9)
  assert.ok((rest.bits & STREAM_RESET) !== 0 && (rest.bits & STREAM_OPENED) === 0)
  assert.is(core.exports.events(server.endpoint), 0)
  rig.close()
})

test('a reset is no orderly end, unless everything was read before it', async () => {
  const { rig, client, server, connection } = await connected()
  for (const isFinished of [false, true]) {
    const received = collect(server)
    const stream = client.open(connection)
    client.write(stream, pattern(0, 0, 500))
    if (isFinished) client.finish(stream)
    // Its acknowledgement is lost, so that the reset still has something to say.
    rig.network = ({ from }) => (from === server.port ? [] : [DELAY_MICROS])
    rig.runFor(15_000)
    client.abort(stream)
    rig.runFor(15_000)
    rig.network = () => [DELAY_MICROS]
    const other = onlyStream(server)
    assert.is(received(other).length, 500)
    assert.is(other.resetCount, isFinished ? 0 : 1)
    assert.is(server.ended(other), isFinished)
    server.release(other)
    client.release(stream)
    rig.runFor(1e6)
  }
  for (const peer of [client, server]) assert.is(peer.gauges().streams, 0)
  rig.close()
})

test('data is proof that the peer took the stream', async () => {
  const { rig, client, server, connection } = await connected()
  const received = collect(client)
  const stream = client.open(connection)
  let acceptedAtRead = false
  const { onReadable } = client
  client.onReadable = (each) => {
    acceptedAtRead = each.isAccepted
    onReadable(each)
  }
  server.ingest(client.collect())
  server.collect()
  // The packet with ACCEPT is lost, the one with data is not.
  server.write(onlyStream(server), pattern(0, 0, 20))
  client.ingest(server.collect())
  assert.is(received(stream).length, 20)
  assert.ok(acceptedAtRead)
  rig.close()
})

for (const streamsMax of [1, 2, 3, 4, 7]) {
  test(`of ${streamsMax} places all can be used, however long the others stay open`, async () => {
    const { rig, client, server, connection } = await connected({ streamsMax })
    server.onReadable = (stream) => {
      server.read(stream)
      if (!server.ended(stream)) return
      server.finish(stream)
      server.release(stream)
    }
    client.onReadable = (stream) => {
      client.read(stream)
      if (client.ended(stream)) client.release(stream)
    }
    for (let count = 0; count < streamsMax - 1; count += 1) {
      client.write(client.open(connection), pattern(0, 0, 10))
    }
    for (let count = 0; count < 20; count += 1) {
      const stream = client.open(connection)
      client.write(stream, pattern(0, 0, 10))
      client.finish(stream)
      assert.ok(
        rig.run(() => !client.streams.has(stream.tag), 5e6),
        `stream ${count}`,
      )
    }
    // More than there are places for wait their turn.
    const waiting = Array.from({ length: 10 }, () => client.open(connection))
    for (const stream of waiting) client.finish(stream)
    const isDone = () => waiting.every((stream) => !client.streams.has(stream.tag))
    assert.ok(rig.run(isDone, 10e6))
    rig.close()
  })
}

/** Accesses of memory that the core needs for a call. */
function workOf(call: () => void): number {
  const before = plainAccesses()
  call()
  return plainAccesses() - before
}

test('streams that the peer does not let in yet leave memory to those that are in', async () => {
  const size = 60_000
  const { rig, client, server, connection } = await connected({
    streamsMax: 1,
    memoryBytes: 262_144,
    streamWindow: 4_096,
  })
  const received = collect(server)
  const streams = Array.from({ length: 8 }, () => client.open(connection))
  const left = new Map(streams.map((stream) => [stream, size]))
  client.onWritable = (stream) => {
    const written = client.write(stream, pattern(0, 0, left.get(stream) ?? 0))
    left.set(stream, (left.get(stream) ?? 0) - written)
    if (left.get(stream) === 0) client.finish(stream)
  }
  // Those that have to wait write first.
  for (const stream of streams.toReversed()) client.onWritable(stream)
  server.onStream = (stream) => server.finish(stream)
  const done: number[] = []
  const { onReadable } = server
  server.onReadable = (stream) => {
    onReadable(stream)
    if (!server.ended(stream)) return
    done.push(received(stream).length)
    server.release(stream)
  }
  client.onFinished = (stream) => client.release(stream)
  rig.run(() => done.length === streams.length)
  assert.equal(
    done,
    streams.map(() => size),
  )
  rig.close()
})

test('work grows with what is sent, not with its square', async () => {
  const COUNTS = [1000, 4000]
  const closing: number[] = []
  const limits: number[] = []
  for (const count of COUNTS) {
    const { rig, client, server, connection } = await connected({ memoryBytes: 12 << 20 })
    server.policy = 'ignore'
    for (let index = 0; index < count; index += 1) client.open(connection)
    const packets: Datagram[] = []
    rig.network = (datagram) => {
      if (datagram.from === client.port) packets.push(datagram)
      return [DELAY_MICROS]
    }
    rig.runFor(1e6)
    assert.is(server.gauges().streams, count)
    // One packet full of limits, each a little higher than the one before.
    const [last] = packets.slice(-1) as [Datagram]
    const raise = (_: unknown, index: number) => ({
      type: FRAME_MAX_STREAMS,
      integers: [20_000 + index],
    })
    // Far ahead, so that no packet of the client's own has its number.
    const bytes = forge(last.bytes, Array.from({ length: 230 }, raise), 1_000_000)
    assert.ok(bytes.length <= 1200)
    limits.push(workOf(() => server.ingest([{ ...last, bytes }])))
    assert.is(server.counter(COUNT_DROPPED_MALFORMED), 0)
    // Every stream has something to tell and something to send when the connection ends.
    const handles = [...server.streams.values()].map(({ handle }) => handle)
    assert.is(handles.length, count)
    for (const handle of handles) rig.core.exports.streamRefuse(handle, 2)
    client.close(connection)
    const close = client.collect()
    closing.push(workOf(() => server.ingest(close)))
    assert.is(server.gauges().streams, 0)
    rig.close()
  }
  const growth = (work: number[]) => (work[1] as number) / (work[0] as number)
  assert.ok(growth(closing) < 6, `4 times the streams cost ${growth(closing)} times to close`)
  assert.ok(growth(limits) < 2, `a packet of limits cost ${limits}`)
})

test.run()
