/** What a trace tells must be what happened: simulated links count the same packets. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { plot } from '../cli/plot.ts'
import { readQlog } from '../cli/qlog-series.ts'
import { Bulk, type BulkOptions } from '../sim/bulk.ts'

interface QlogRecord {
  readonly time: number
  readonly name: string
  readonly data: { readonly header?: { readonly packet_number: number }; readonly new?: string }
}

/** Runs a transfer and gives both sides' traces. */
function traced(options: BulkOptions, seconds: number) {
  const bulk = new Bulk(options)
  const texts = { client: '', server: '' }
  let endings = 0
  for (const endpoint of [bulk.sender, bulk.receiver]) {
    endpoint.openTrace = ({ side }) => ({
      write: (text) => {
        texts[side] += text
      },
      end: () => {
        endings += 1
      },
    })
  }
  bulk.runUntil(seconds)
  const counters = bulk.counters()
  bulk.close()
  assert.is(endings, 2)
  return { bulk, texts, counters }
}

function parse(text: string): { head: { trace: { vantage_point: object } }; events: QlogRecord[] } {
  // RFC 7464: each record begins with this character and ends with a line feed.
  const [nothing, ...records] = text.split('\u001e')
  assert.is(nothing, '')
  assert.ok(records.every((record) => record.endsWith('}\n')))
  const [head, ...events] = records.map((record) => JSON.parse(record))
  return { head, events }
}

function numbers(events: readonly QlogRecord[], name: string): number[] {
  return events
    .filter((event) => event.name === `quic:${name}`)
    .map(({ data }) => data.header?.packet_number ?? -1)
}

const path = { rateBitsPerSecond: 20e6, delayMicros: 20_000, queueBytes: 100_000 }

test('a trace names every packet that left, arrived or was lost, once', () => {
  const { bulk, texts, counters } = traced({ link: { ...path, lossRate: 0.02 }, back: path }, 5)
  const client = parse(texts.client)
  const server = parse(texts.server)
  assert.equal(client.head.trace.vantage_point, { type: 'client' })
  assert.equal(server.head.trace.vantage_point, { type: 'server' })
  const sent = numbers(client.events, 'packet_sent')
  assert.equal(sent, [...sent.keys()], 'numbers count from 0 without a gap')
  const received = numbers(server.events, 'packet_received')
  assert.is(new Set(received).size, received.length)
  assert.ok(received.every((number) => number < sent.length))
  // The handshake has its own packets: one that left, none of them in the trace.
  const { forward } = bulk.pair
  assert.is(sent.length, forward.count('sent') - 1)
  const underWay =
    sent.length - received.length - forward.count('lost') - forward.count('queue-full')
  assert.ok(underWay >= 0 && underWay < 200, `${underWay} packets are neither here nor there`)
  const lost = numbers(client.events, 'packet_lost')
  assert.ok(lost.length > 50)
  assert.is(lost.length, counters.packetsLost)
  assert.equal(numbers(server.events, 'packet_sent').length > 100, true)
  const times = client.events.map(({ time }) => time)
  assert.ok(times.every((time, index) => time >= 0 && time >= (times[index - 1] ?? 0) - 0.001))
})

test('a trace holds no bytes of users, and no keys', () => {
  const { texts } = traced({ link: path }, 1)
  const known = new RegExp(
    '^(time|name|data|header|packet_type|packet_number|raw|length|frames|frame_type|stream_id|' +
      'offset|payload_length|fin|old|new|application_error|error_code|min_rtt|smoothed_rtt|' +
      'latest_rtt|rtt_variance|pto_count|congestion_window|bytes_in_flight|packets_in_flight|' +
      'pacing_rate|delivered)$',
  )
  for (const { ...event } of parse(texts.client).events) {
    JSON.stringify(event, (key, value) => {
      assert.ok(key === '' || /^\d+$/.test(key) || known.test(key), key)
      if (typeof value === 'string') assert.match(value, /^[a-zA-Z0-9:_]{1,40}$/)
      return value
    })
  }
})

for (const congestion of ['bbr', 'cubic'] as const) {
  test(`a trace of ${congestion} shows its states and can be drawn`, () => {
    const { texts } = traced({ congestion, link: path }, 5)
    const { events } = parse(texts.client)
    const states = events.flatMap(({ name, data }) =>
      name === 'quic:congestion_state_updated' ? [data.new] : [],
    )
    assert.equal(
      states.slice(0, 3),
      congestion === 'bbr' ? ['startup', 'drain', 'probe_bandwidth'] : ['cubic'],
    )
    const series = readQlog(texts.client)
    const middle = series.delivered.slice(50, 80).map(({ value }) => value)
    const mean = middle.reduce((sum, value) => sum + value, 0) / middle.length
    assert.ok(mean > 10e6 && mean < 21e6, `${mean} bits per second`)
    const svg = plot(series)
    assert.match(svg, /^<svg .*<\/svg>\n$/s)
    for (const word of [
      'congestion window',
      'acknowledged',
      'smoothed',
      'queue, ms',
      'prefers-color-scheme: dark',
    ]) {
      assert.ok(svg.includes(word), word)
    }
    assert.is(svg.includes('NaN') || svg.includes('Infinity'), false)
  })
}

test('what is no trace is refused', () => {
  assert.throws(() => readQlog('{"a":1}\n'), 'no qlog: the first record names no trace')
  assert.throws(() => readQlog('hello'), 'no qlog: record 1 is not JSON')
})

test.run()
