import type { Micros } from '../machine.ts'
import type { Attachment, Host } from './host.ts'
import type { World } from './world.ts'

/**
 * What the ready-made scenarios need from a transport: write this once, and every scenario runs over
 * it. Handlers are called only while the world drives the engine, never from within a call of the
 * scenario. Scenarios call in at any time, also from handlers: after every change that a call makes
 * to the engine, the implementation calls `Attachment.wake`.
 */
export interface TransportHarness {
  /** Part of the replay command. */
  readonly name: string
  /** Begins a run: one core for all endpoints of the world. */
  open(world: World): HarnessRun
}

export interface HarnessRun {
  /** Attaches an endpoint with one socket to a host. Connections come in through `accept`. */
  endpoint(options: EndpointOptions): HarnessEndpoint
  /** The run is over, also after a failure: frees what the world does not own. */
  close(): void
}

export interface EndpointOptions {
  readonly host: Host
  /** Which of the host's addresses. Default: the first. */
  readonly address?: string
  /** Default 0: a free one. */
  readonly port?: number
  /** Answers the handlers of a connection that a peer opened. Default: refuse all. */
  readonly accept?: (connection: HarnessConnection) => ConnectionHandlers
}

export interface HarnessEndpoint {
  readonly attachment: Attachment
  connect(address: string, port: number, handlers: ConnectionHandlers): HarnessConnection
}

export interface ConnectionHandlers {
  /** The peer answered: streams may be opened. Accepted connections are open from the start. */
  opened?(): void
  /** The peer opened a stream. */
  stream?(stream: HarnessStream): StreamHandlers
  /** The connection is gone. `reason` is undefined after an orderly end. */
  closed?(reason: string | undefined): void
}

export interface HarnessConnection {
  openStream(handlers: StreamHandlers): HarnessStream
  /**
   * The probe timer's present period, back-off included (RFC 9002 §6.2: "the PTO period"): how long
   * after the network heals this side may take to try again.
   */
  probeTimeoutMicros(): Micros
  close(): void
}

export interface StreamHandlers {
  /** There are bytes or the end to read. Called again only after a read found nothing. */
  readable(): void
  /** `write` took less than it was given, and now takes more. */
  writable(): void
  /** The stream ended early. */
  failed(reason: string): void
}

export interface HarnessStream {
  /** The same number on both sides. */
  readonly id: number
  /** Copies what there is room for, and answers how many bytes. */
  write(bytes: Uint8Array): number
  /** Nothing follows what was written. */
  finish(): void
  /** Fills `target` with what has arrived in order, and answers how many bytes. */
  readInto(target: Uint8Array): number
  /** The peer's end was reached and everything before it was read. */
  readonly ended: boolean
}
