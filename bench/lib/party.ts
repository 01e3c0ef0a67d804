/**
 * What takes part in a benchmark. A scenario is a question ("how fast is one stream?"), a party is
 * a way to answer it (`net`, `punchline`, …), a role is one party's half of one scenario in one
 * process: the server or the client.
 */

export const SCENARIO_NAMES = ['stream', 'datagrams', 'pingpong', 'connections'] as const
export type ScenarioName = (typeof SCENARIO_NAMES)[number]

export interface PeerAddress {
  readonly host: string
  readonly port: number
  /** What else the client needs to know, such as a certificate. */
  readonly extra?: string
}

/** The size of the work, the same for every party. */
export interface Workload {
  /** Address on which parties with sockets listen. */
  readonly host: string
  /** Bytes per write of `stream`. */
  readonly writeSizeBytes: number
  /** Bytes per datagram of `datagrams`; a multiple of 4. */
  readonly datagramSizeBytes: number
  /** Bytes per message of `pingpong` and `connections`. At least 8. */
  readonly messageSizeBytes: number
  /** How many connections `connections` has. */
  readonly connectionCount: number
  /** How many messages each of them keeps under way. */
  readonly messagesInFlight: number
}

export const DEFAULT_WORKLOAD: Workload = Object.freeze({
  host: '127.0.0.1',
  writeSizeBytes: 64 * 1024,
  datagramSizeBytes: 1_200,
  messageSizeBytes: 64,
  connectionCount: 1_000,
  messagesInFlight: 4,
})

/** What a role counted over its whole life. Both ends' tallies must fit together. */
export interface Tally {
  readonly bytesSent: number
  readonly bytesReceived: number
  /** How many received bytes or messages were compared with what they must be. */
  readonly checks: number
  /** How many of those were wrong. */
  readonly mismatches: number
}

/** Tells the runner that the role cannot go on. */
export type Fail = (reason: string) => void

export interface Role {
  /** Work done so far at this end: bytes or datagrams, or round trips completed. */
  done(): number
  /** Ends the work and waits for what is under way. The client is asked first. */
  finish(): Promise<Tally>
  /** What the party counts so far beside its work. */
  figures?(): Readonly<Record<string, number>>
  /** What the party says about itself, for the report. */
  details?(): Readonly<Record<string, string>>
}

export interface ServerRole extends Role {
  readonly address: PeerAddress
}

export interface ClientRole extends Role {
  /** Starts the load, once. Connections are open by then. */
  begin(): void
  /** Round-trip times in µs since the last call; only scenarios that measure them. */
  takeLatencies?(): Float64Array
}

export interface Scenario {
  serve(workload: Workload, fail: Fail): Promise<ServerRole>
  call(address: PeerAddress, workload: Workload, fail: Fail): Promise<ClientRole>
}

export interface Party {
  /**
   * Loads what the party needs.
   * @throws with the reason when it cannot run here; it is then reported as skipped.
   */
  load(): Promise<Readonly<Partial<Record<ScenarioName, Scenario>>>>
}
