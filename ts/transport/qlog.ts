/**
 * A connection's trace in qlog (draft-ietf-quic-qlog-main-schema-14, JSON text sequences) with the
 * events of QUIC (draft-ietf-quic-qlog-quic-events-14) that mean the same here: which packets left,
 * arrived and were lost, and what congestion control made of it. Neither keys nor users' bytes.
 */
import type { PacketObserver, PacketTrace, PathMetrics, SentPacket } from '../../bindings/trace.ts'
import type { Micros } from '../machine.ts'
import { CONGESTION_CONTROLLERS } from './options.ts'

/** Takes a trace as text, piece by piece. */
export interface TraceSink {
  write(text: string): void
  end(): void
}

/** Opens the trace of a connection; undefined: it is not wanted. */
export type OpenTrace = (name: TraceName) => TraceSink | undefined

export interface TraceName {
  /** What both sides know the connection by, in hexadecimal digits. */
  readonly id: string
  readonly side: 'client' | 'server'
}

/** RFC 7464: what each record begins with. */
const RECORD_SEPARATOR = '\u001e'

const BBR_STATES = ['startup', 'drain', 'probe_bandwidth', 'probe_rtt']
const CUBIC_STATE = 'cubic'

export class ConnectionQlog implements PacketObserver {
  private readonly trace: PacketTrace
  private readonly sink: TraceSink
  private readonly startedAt: Micros
  private now: Micros
  private metrics = ''
  private state = ''

  constructor(trace: PacketTrace, sink: TraceSink, { id, side }: TraceName, now: Micros) {
    this.trace = trace
    this.sink = sink
    this.startedAt = now
    this.now = now
    this.record({
      file_schema: 'urn:ietf:params:qlog:file:sequential',
      serialization_format: 'application/qlog+json-seq',
      title: 'punchline',
      trace: {
        event_schemas: ['urn:ietf:params:qlog:events:quic-14'],
        vantage_point: { type: side },
        common_fields: {
          group_id: id,
          time_format: 'relative_to_epoch',
          reference_time: { clock_type: 'monotonic', epoch: 'unknown' },
        },
      },
    })
  }

  /** Writes what has happened since the last call: after every call of the engine. */
  look(now: Micros): void {
    this.now = now
    this.trace.observe(this)
    const metrics = this.trace.metrics()
    if (metrics === undefined) return
    this.writeState(metrics)
    this.writeMetrics(metrics)
  }

  /** The connection is over. */
  close(now: Micros, code: number): void {
    this.now = now
    this.event('connection_closed', { application_error: 'unknown', error_code: code })
    this.sink.end()
  }

  sent({ number, atMicros, bytes, asksForAck, parts }: SentPacket): void {
    const frames = parts.map(({ stream, offset, length, isLast }) => ({
      frame_type: 'stream',
      stream_id: stream,
      offset,
      raw: { payload_length: length },
      ...(isLast && { fin: true }),
    }))
    this.event(
      'packet_sent',
      {
        header: header(number),
        raw: { length: bytes },
        frames: asksForAck ? frames : [{ frame_type: 'ack' }],
      },
      atMicros,
    )
  }

  received(start: number, end: number): void {
    for (let number = start; number < end; number++) {
      this.event('packet_received', { header: header(number) })
    }
  }

  acked(): void {}

  lost(number: number): void {
    this.event('packet_lost', { header: header(number) })
  }

  private writeState({ controller, controllerState }: PathMetrics): void {
    const isBbr = CONGESTION_CONTROLLERS[controller] === 'bbr'
    const state = isBbr ? (BBR_STATES[controllerState] ?? 'unknown') : CUBIC_STATE
    if (state === this.state) return
    const old = this.state === '' ? {} : { old: this.state }
    this.state = state
    this.event('congestion_state_updated', { ...old, new: state })
  }

  private writeMetrics(metrics: PathMetrics): void {
    const data = {
      ...(metrics.rttSmoothedMicros > 0 && {
        min_rtt: metrics.rttMinMicros / 1000,
        smoothed_rtt: metrics.rttSmoothedMicros / 1000,
        latest_rtt: metrics.rttLatestMicros / 1000,
        rtt_variance: metrics.rttVarianceMicros / 1000,
      }),
      pto_count: metrics.probeCount,
      congestion_window: Math.round(metrics.windowBytes),
      bytes_in_flight: metrics.inFlightBytes,
      packets_in_flight: metrics.inFlightPackets,
      // Bits per second.
      pacing_rate: Math.round(metrics.pacingRate * 8e6),
      // Not of the draft: bytes that were acknowledged.
      delivered: metrics.deliveredBytes,
    }
    const text = JSON.stringify(data)
    if (text === this.metrics) return
    this.metrics = text
    this.event('recovery_metrics_updated', data)
  }

  private event(name: string, data: object, at: Micros = this.now): void {
    this.record({ time: (at - this.startedAt) / 1000, name: `quic:${name}`, data })
  }

  private record(content: object): void {
    this.sink.write(`${RECORD_SEPARATOR}${JSON.stringify(content)}\n`)
  }
}

function header(number: number): object {
  return { packet_type: '1RTT', packet_number: number }
}
