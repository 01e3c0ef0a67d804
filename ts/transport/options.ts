/** Options of the transport: meaning, unit, default, range, cost. Resolved once, then frozen. */

/** Congestion controllers: their number in the core is their place. */
export const CONGESTION_CONTROLLERS = ['bbr', 'cubic'] as const
export type CongestionController = (typeof CONGESTION_CONTROLLERS)[number]

export interface EndpointOptions {
  /**
   * Memory this endpoint may hold in the core, bytes, 64 KiB … 1 GiB; default 32 MiB. One connection
   * may use half of it; a path of rate × round trip above an eighth of it is not filled by one stream.
   * All endpoints of a process together have twice what was set when its first UDP socket was bound,
   * at least 64 MiB; the system gives memory as it is used.
   */
  readonly memoryBytes: number
  /** Connections at a time, 1 … 1,000,000; default 10,000. About 3 KiB each when idle. */
  readonly connectionsMax: number
  /** Connections whose peer has not proven its address, 1 … 65,536; default 4,096. */
  readonly halfOpenMax: number
  /** Streams one peer may have open at a time, 1 … 1,000,000; default 10,000. 256 B each. */
  readonly streamsMax: number
  /**
   * Largest packet sent or accepted, UDP payload bytes, 548 … 65,507; default 65,507. How large
   * packets really are is found out for each path: about as many probes as there are steps to go,
   * ten at most, once there is more to send than fits a packet.
   */
  readonly packetBytesMax: number
  /** Largest packet on a way that is not known yet, bytes, 548 … 65,507; default 1,200. */
  readonly packetBytesStart: number
  /** First receive window of a stream, bytes; default 256 KiB. Grows by itself, up to what memory allows. */
  readonly streamWindowBytes: number
  /** First receive window of a connection, bytes; default 512 KiB. Grows likewise. */
  readonly connectionWindowBytes: number
  /** Until a peer that never answers counts as unreachable; default 30,000. */
  readonly connectTimeoutMs: number
  /** Until a peer that nothing is heard of counts as gone, 0 = never; default 30,000. The shorter one of both sides counts. */
  readonly idleTimeoutMs: number
  /** Silence after which a probe keeps the connection alive, 0 = never; default 10,000, and a fifth more for who was asked. One small packet each way. */
  readonly keepAliveMs: number
  /** How long a connection without streams is kept for the next one; default 15,000. */
  readonly emptyTimeoutMs: number
  /** Longest time we hold an acknowledgement back, told to peers; default 10,000 µs. */
  readonly ackDelayMicros: number
  /** Bytes our sockets' receive buffers hold: what a near peer may have in flight. Set by the driver. */
  readonly burstBytes: number
  /**
   * How fast connections send; default 'bbr': by a model of the path's bandwidth and round trip,
   * with short queues, whatever is lost by chance. 'cubic': until packets are lost, as kernels'
   * TCP does by default; it fills queues, and slows down at each loss. Costs nothing either way.
   */
  readonly congestion: CongestionController
}

export const ENDPOINT_DEFAULTS: EndpointOptions = Object.freeze({
  memoryBytes: 32 * 1024 * 1024,
  connectionsMax: 10_000,
  halfOpenMax: 4_096,
  streamsMax: 10_000,
  packetBytesMax: 65_507,
  packetBytesStart: 1_200,
  streamWindowBytes: 256 * 1024,
  connectionWindowBytes: 512 * 1024,
  connectTimeoutMs: 30_000,
  idleTimeoutMs: 30_000,
  keepAliveMs: 10_000,
  emptyTimeoutMs: 15_000,
  ackDelayMicros: 10_000,
  burstBytes: 131_072,
  congestion: 'bbr',
})

/** The same by the names of the message transport's requirements; times are milliseconds. */
export interface NamedEndpointOptions {
  /** `keepAliveMs`. */
  readonly peer_start_heartbeat_timeout?: number
  /** From the first probe until a peer that does not answer counts as gone: with it `idleTimeoutMs`. */
  readonly peer_heartbeat_timeout?: number
  /** `ackDelayMicros`, in milliseconds. */
  readonly max_confirmation_delay?: number
  /** `packetBytesStart`. */
  readonly min_packet_size?: number
  /** `packetBytesMax`. */
  readonly max_packet_size?: number
}

function translated(options: EndpointOptionsGiven): Partial<EndpointOptions> {
  const { peer_start_heartbeat_timeout: start, peer_heartbeat_timeout: timeout } = options
  const { max_confirmation_delay: delay, min_packet_size, max_packet_size } = options
  const keepAliveMs = options.keepAliveMs ?? start ?? ENDPOINT_DEFAULTS.keepAliveMs
  return {
    keepAliveMs,
    ...(timeout === undefined ? {} : { idleTimeoutMs: keepAliveMs + timeout }),
    ...(delay === undefined ? {} : { ackDelayMicros: delay * 1000 }),
    ...(min_packet_size === undefined ? {} : { packetBytesStart: min_packet_size }),
    ...(max_packet_size === undefined ? {} : { packetBytesMax: max_packet_size }),
    ...options,
  }
}

/** What a caller may give: ours are stronger than those with the requirements' names. */
export type EndpointOptionsGiven = Partial<EndpointOptions> & NamedEndpointOptions

type NumberOption = Exclude<keyof EndpointOptions, 'congestion'>

const RANGES: Readonly<Record<NumberOption, readonly [least: number, most: number]>> = {
  memoryBytes: [65_536, 2 ** 30],
  connectionsMax: [1, 1_000_000],
  halfOpenMax: [1, 65_536],
  streamsMax: [1, 1_000_000],
  packetBytesMax: [548, 65_507],
  packetBytesStart: [548, 65_507],
  streamWindowBytes: [4_096, 2 ** 30],
  connectionWindowBytes: [4_096, 2 ** 30],
  connectTimeoutMs: [1, 2 ** 31 - 1],
  idleTimeoutMs: [0, 2 ** 31 - 1],
  keepAliveMs: [0, 2 ** 31 - 1],
  emptyTimeoutMs: [0, 2 ** 31 - 1],
  ackDelayMicros: [0, 1_000_000],
  burstBytes: [4_096, 2 ** 30],
}

/**
 * Fills in defaults and checks ranges.
 * @throws RangeError for a value out of range, TypeError for what is not a number.
 */
export function resolveEndpointOptions(given: EndpointOptionsGiven = {}): EndpointOptions {
  const options = translated(given)
  const resolved: { -readonly [Name in keyof EndpointOptions]: EndpointOptions[Name] } = {
    ...ENDPOINT_DEFAULTS,
  }
  for (const [name, [least, most]] of Object.entries(RANGES)) {
    const value = options[name as NumberOption]
    if (value === undefined) continue
    if (typeof value !== 'number') throw new TypeError(`${name} must be a number`)
    if (!(value >= least && value <= most)) {
      throw new RangeError(`${name} must be ${least} … ${most}, not ${value}`)
    }
    resolved[name as NumberOption] = value
  }
  const { congestion } = options
  if (congestion !== undefined) {
    if (!CONGESTION_CONTROLLERS.includes(congestion)) {
      throw new RangeError(`congestion must be ${CONGESTION_CONTROLLERS.join(' or ')}`)
    }
    resolved.congestion = congestion
  }
  return Object.freeze(resolved)
}
