/** Reads a trace (transport/qlog.ts) into what can be drawn. */

export interface Point {
  readonly seconds: number
  readonly value: number
}

export interface QlogSeries {
  readonly side: string
  readonly id: string
  /** When the last event happened. */
  readonly seconds: number
  /** Bytes. */
  readonly window: readonly Point[]
  readonly inFlight: readonly Point[]
  /** Bits per second: what left, what was acknowledged, what pacing allows. */
  readonly sent: readonly Point[]
  readonly delivered: readonly Point[]
  readonly paced: readonly Point[]
  /** Milliseconds. */
  readonly rttLatest: readonly Point[]
  readonly rttSmoothed: readonly Point[]
  /** By how much the round trip is longer than the least one: what waits on the way. */
  readonly queue: readonly Point[]
  /** Packets lost, per interval. */
  readonly lost: readonly Point[]
  readonly states: readonly { readonly seconds: number; readonly name: string }[]
}

/** Rates are taken over a hundredth of the trace, at least this. */
const INTERVAL_MIN_SECONDS = 0.01
const INTERVALS = 100

type Data = Readonly<Record<string, unknown>>

interface QlogEvent {
  readonly time: number
  readonly name: string
  readonly data: Data
}

/** @throws Error that says in which record what is wrong. */
export function readQlog(text: string): QlogSeries {
  const records = text.split('\u001e').filter((record) => record.trim() !== '')
  const [head, ...events] = records.map(parse)
  const trace = head?.['trace'] as
    | { vantage_point?: { type?: string }; common_fields?: { group_id?: string } }
    | undefined
  if (trace === undefined) throw new Error('no qlog: the first record names no trace')
  return seriesOf(events as unknown as QlogEvent[], {
    side: trace.vantage_point?.type ?? 'unknown',
    id: trace.common_fields?.group_id ?? '',
  })
}

function parse(record: string, index: number): Data {
  try {
    return JSON.parse(record)
  } catch (cause) {
    // The last record of a program that was killed is cut off; any other is not a trace.
    throw new Error(`no qlog: record ${index + 1} is not JSON`, { cause })
  }
}

function seriesOf(events: readonly QlogEvent[], name: { side: string; id: string }): QlogSeries {
  const seconds = Math.max(0, ...events.slice(-1).map(({ time }) => time / 1000))
  const interval = Math.max(INTERVAL_MIN_SECONDS, seconds / INTERVALS)
  const metrics = events.filter(({ name: event }) => event.endsWith('metrics_updated'))
  const metric = (key: string, factor = 1): Point[] =>
    metrics.flatMap(({ time, data }) => {
      const value = data[key]
      return typeof value === 'number' ? [{ seconds: time / 1000, value: value * factor }] : []
    })
  const least = metric('min_rtt')
  const latest = metric('latest_rtt')
  return {
    ...name,
    seconds,
    window: metric('congestion_window'),
    inFlight: metric('bytes_in_flight'),
    sent: perInterval(sizes(events, 'packet_sent'), interval, 8 / interval),
    delivered: perInterval(differences(metric('delivered')), interval, 8 / interval),
    paced: metric('pacing_rate'),
    rttLatest: latest,
    rttSmoothed: metric('smoothed_rtt'),
    queue: latest.map(({ seconds: at, value }, index) => ({
      seconds: at,
      value: value - (least[index]?.value ?? value),
    })),
    lost: perInterval(counts(events, 'packet_lost'), interval, 1),
    states: events
      .filter(({ name: event }) => event.endsWith('congestion_state_updated'))
      .map(({ time, data }) => ({ seconds: time / 1000, name: String(data['new']) })),
  }
}

function ofKind(events: readonly QlogEvent[], kind: string): QlogEvent[] {
  return events.filter(({ name }) => name.endsWith(`:${kind}`))
}

function counts(events: readonly QlogEvent[], kind: string): Point[] {
  return ofKind(events, kind).map(({ time }) => ({ seconds: time / 1000, value: 1 }))
}

function sizes(events: readonly QlogEvent[], kind: string): Point[] {
  return ofKind(events, kind).map(({ time, data }) => {
    const { length = 0 } = (data['raw'] ?? {}) as { length?: number }
    return { seconds: time / 1000, value: length }
  })
}

function differences(points: readonly Point[]): Point[] {
  return points.map(({ seconds, value }, index) => ({
    seconds,
    value: value - (points[index - 1]?.value ?? 0),
  }))
}

/** Sums up each interval; the point is in its middle. */
function perInterval(points: readonly Point[], interval: number, factor: number): Point[] {
  const sums: number[] = []
  for (const { seconds, value } of points) {
    const index = Math.floor(seconds / interval)
    while (sums.length <= index) sums.push(0)
    sums[index] = (sums[index] as number) + value
  }
  return sums.map((sum, index) => ({ seconds: (index + 0.5) * interval, value: sum * factor }))
}
