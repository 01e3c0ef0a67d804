/**
 * Drives one endpoint with real sockets and time: one change, then everything that follows from it.
 */
import {
  AddressBook,
  Endpoint,
  type EndpointOptions,
  type EndpointSecurity,
} from '../transport/index.ts'
import { systemRandom } from './chance.ts'
import { nowMicros } from './clock.ts'
import type {
  Backend,
  DatagramRefusal,
  DatagramSocket,
  DatagramSocketOwner,
  UdpBinding,
} from './datagram-socket.ts'
import { parseFaults } from './faults.ts'
import { FaultySocket } from './faulty-socket.ts'
import { interfacePacketBytes } from './interfaces.ts'
import type { Loop } from './loop.ts'
import { tellRefusal } from './route.ts'
import { traceFiles } from './trace-files.ts'
import { zoneNumbers } from './zones.ts'

export interface DriverSetup {
  readonly loop: Loop
  readonly binding: UdpBinding
  readonly options?: Partial<EndpointOptions>
  readonly security?: EndpointSecurity
  /** Text of PUNCHLINE_FAULTS; default: the environment. */
  readonly faults?: string | undefined
  /** The socket below failed for good. */
  readonly onFailed?: (error: Error) => void
  /** The network said something about datagrams to an address. Native tiers only. */
  readonly onRefused?: (refusal: DatagramRefusal) => void
}

export class Driver implements DatagramSocketOwner {
  readonly endpoint: Endpoint
  /** Another one after a trap. */
  socket: DatagramSocket
  /** @internal It is on the loop's list. */
  isFlushPlanned = false
  private readonly loop: Loop
  private readonly incoming: AddressBook
  private readonly onFailed: ((error: Error) => void) | undefined
  private readonly onRefused: ((refusal: DatagramRefusal) => void) | undefined
  private readonly openSocket: (port: number) => DatagramSocket
  private isRef = true
  private isBlocked = false
  private isClosed = false

  /**
   * @throws the system error of `bind`; RangeError for options out of range; IoError
   *   ERR_PUNCHLINE_BACKEND_UNAVAILABLE when PUNCHLINE_BACKEND can't be had.
   */
  constructor(setup: DriverSetup) {
    const { loop, binding } = setup
    this.loop = loop
    this.onFailed = setup.onFailed
    this.onRefused = setup.onRefused
    const zones = zoneNumbers()
    this.incoming = new AddressBook({ zones })
    // As the socket wants them: on IPv6 sockets IPv4 is written in its mapped form.
    const outgoing = new AddressBook({ zones, isMapped: binding.family === 6 })
    const faults = setup.faults ?? process.env['PUNCHLINE_FAULTS']
    const parsed = faults ? parseFaults(faults) : undefined
    this.openSocket = (port) => {
      const to = { ...binding, port }
      const opened = loop.openSocket({ binding: to, owner: this, addresses: outgoing })
      return parsed ? new FaultySocket(opened, parsed, loop.core.bytes) : opened
    }
    const socket = this.openSocket(binding.port)
    this.socket = socket
    try {
      this.endpoint = new Endpoint({
        core: loop.core,
        random: systemRandom(),
        now: nowMicros(),
        addresses: outgoing,
        runJobs: loop.runJobs,
        hasEcn: socket.hasEcn,
        packetBytesTo: socket.backend === 'dgram' ? interfacePacketBytes : undefined,
        options: { burstBytes: burstOf(socket.receiveBufferBytes), ...setup.options },
        security: { seconds: () => Date.now() / 1000, hasAes: loop.hasAes, ...setup.security },
      })
    } catch (error) {
      socket.close()
      throw error
    }
    this.endpoint.openTrace = traceFiles()
    this.endpoint.onWork = () => loop.planFlush(this)
    // A program's mistake is the program's: it becomes an uncaught exception, the engine goes on.
    this.endpoint.onError = (error) => {
      process.nextTick(() => {
        throw error
      })
    }
    loop.add(this)
  }

  /** Which tier carries the datagrams. */
  get backend(): Backend {
    return this.socket.backend
  }

  /** Why it is not a faster one; '' when there is none. */
  get backendReason(): string {
    const { backendReason } = this.loop
    if (backendReason !== '' || this.backend === 'uring') return backendReason
    return 'the ring serves as many sockets as it can'
  }

  /** Datagrams that PUNCHLINE_FAULTS dropped. */
  get faultsDropped(): number {
    return this.socket instanceof FaultySocket ? this.socket.dropped : 0
  }

  /** @internal Takes receive descriptors; the answer follows what the program makes of them. */
  ingest(count: number): void {
    if (this.isClosed) return
    this.endpoint.ingest(nowMicros(), count)
    this.loop.planFlush(this)
  }

  /** @internal */
  timeout(now: number): void {
    if (this.isClosed) return
    this.endpoint.timeout(now)
    this.loop.planFlush(this)
  }

  /** Sends everything that may leave now. */
  flush(): void {
    if (this.isBlocked || this.isClosed || !this.loop.canSend) return
    const now = nowMicros()
    for (let count = this.endpoint.flush(now); count > 0; count = this.endpoint.flush(now)) {
      if (this.socket.flush(this.endpoint, count)) continue
      this.isBlocked = true
      // Native sockets copy what waits; node:dgram reads on from the train arena.
      if (this.backend === 'dgram') this.loop.hold(this)
      return
    }
  }

  /** Tells all peers, and closes the socket. */
  close(): void {
    if (this.isClosed) return
    this.flush()
    this.endpoint.close(nowMicros())
    this.flush()
    this.isClosed = true
    this.loop.remove(this)
    this.endpoint.destroy()
    this.socket.close()
  }

  /** Whether the socket keeps the process alive; true at first. */
  setRef(isRef: boolean): void {
    this.isRef = isRef
    this.socket.setRef(isRef)
  }

  /** @internal The loop has a fresh core: the same port, the same identity, nothing else. */
  restart(): void {
    const { port } = this.socket
    this.socket.close()
    this.isBlocked = false
    try {
      this.socket = this.openSocket(port)
      this.socket.setRef(this.isRef)
      this.endpoint.restart(this.loop.core, this.loop.runJobs)
    } catch (error) {
      // Somebody else has taken the port, or there is no memory: what was open is over all the same.
      this.endpoint.abandon()
      this.onFailed?.(error as Error)
    }
    this.loop.planFlush(this)
  }

  // ── What the socket tells ──────────────────────────────────────────────────────────────────────

  /** @internal */
  datagram(bytes: Uint8Array, address: string, port: number): void {
    if (this.isClosed) return
    const words = this.incoming.pack(address, port)
    if (words === undefined) return
    this.loop.beginReceive(this)
    if (this.loop.core.receive(bytes, 0, words)) return
    this.loop.drain()
    this.loop.beginReceive(this)
    this.loop.core.receive(bytes, 0, words)
  }

  /** @internal */
  received(count: number): void {
    this.ingest(count)
  }

  /** @internal */
  writable(): void {
    this.isBlocked = false
    this.loop.release(this)
    this.loop.planFlush(this)
  }

  /** @internal */
  refused(refusal: DatagramRefusal): void {
    tellRefusal(refusal)
    this.onRefused?.(refusal)
  }

  /** @internal */
  failed(error: Error): void {
    this.onFailed?.(error)
  }
}

/**
 * How much a near peer may have in flight towards us. The system charges a small datagram with about
 * twice its size, and the program may be busy while they arrive.
 */
function burstOf(receiveBufferBytes: number): number {
  return Math.max(16_384, Math.floor(receiveBufferBytes / 4))
}
