/**
 * Drives one endpoint with real sockets and time: one change, then everything that follows from it.
 * Several sockets of one endpoint are as many ways to one node: when one fails, the others go on.
 */
import {
  AddressBook,
  Endpoint,
  type EndpointOptionsGiven,
  type EndpointSecurity,
} from '../transport/index.ts'
import { systemRandom } from './chance.ts'
import { nowMicros } from './clock.ts'
import type { Backend, DatagramRefusal, DatagramSocket, UdpBinding } from './datagram-socket.ts'
import { DriverSocket, type DriverSocketOwner } from './driver-socket.ts'
import { type Faults, parseFaults } from './faults.ts'
import { FaultySocket } from './faulty-socket.ts'
import { interfacePacketBytes } from './interfaces.ts'
import type { Loop } from './loop.ts'
import { tellRefusal } from './route.ts'
import { traceFiles } from './trace-files.ts'
import { zoneNumbers } from './zones.ts'

export interface DriverSetup {
  readonly loop: Loop
  readonly binding: UdpBinding
  /**
   * Further sockets of the same node, of the same family: other ports, or other addresses. Each has
   * its buffers in the kernel (up to 8 MiB); nothing is spent on it while it is not used.
   */
  readonly more?: readonly UdpBinding[]
  readonly options?: EndpointOptionsGiven
  readonly security?: EndpointSecurity
  /** Text of PUNCHLINE_FAULTS; default: the environment. */
  readonly faults?: string | undefined
  /** A socket failed for good; the others, if there are any, have taken over. */
  readonly onSocketLost?: (index: number, error: Error) => void
  /** The last socket failed for good. */
  readonly onFailed?: (error: Error) => void
  /** The network said something about datagrams to an address. Native tiers only. */
  readonly onRefused?: (refusal: DatagramRefusal) => void
}

export class Driver implements DriverSocketOwner {
  readonly endpoint: Endpoint
  /** By their index; those that were lost are closed. */
  readonly sockets: readonly DriverSocket[]
  /** @internal It is on the loop's list. */
  isFlushPlanned = false
  private readonly loop: Loop
  private readonly incoming: AddressBook
  private readonly outgoing: AddressBook
  private readonly faults: Faults | undefined
  private readonly onSocketLost: DriverSetup['onSocketLost']
  private readonly onFailed: DriverSetup['onFailed']
  private readonly onRefused: DriverSetup['onRefused']
  private isRef = true
  private isClosed = false

  /**
   * @throws the system error of `bind`; RangeError for options out of range, or sockets of two
   *   families; IoError ERR_PUNCHLINE_BACKEND_UNAVAILABLE when PUNCHLINE_BACKEND can't be had.
   */
  constructor(setup: DriverSetup) {
    const { loop, binding, more = [] } = setup
    this.loop = loop
    this.onSocketLost = setup.onSocketLost
    this.onFailed = setup.onFailed
    this.onRefused = setup.onRefused
    if (more.some(({ family }) => family !== binding.family)) {
      throw new RangeError('all sockets of an endpoint are of one family')
    }
    const zones = zoneNumbers()
    this.incoming = new AddressBook({ zones })
    // As the socket wants them: on IPv6 sockets IPv4 is written in its mapped form.
    this.outgoing = new AddressBook({ zones, isMapped: binding.family === 6 })
    const faults = setup.faults ?? process.env['PUNCHLINE_FAULTS']
    this.faults = faults ? parseFaults(faults) : undefined
    const sockets: DriverSocket[] = []
    this.sockets = sockets
    try {
      for (const each of [binding, ...more]) {
        sockets.push(new DriverSocket(this, sockets.length, each))
      }
      const buffers = sockets.map(({ inner }) => inner.receiveBufferBytes)
      this.endpoint = new Endpoint({
        core: loop.core,
        random: systemRandom(),
        now: nowMicros(),
        addresses: this.outgoing,
        socketCount: sockets.length,
        runJobs: loop.runJobs,
        hasEcn: sockets.every(({ inner }) => inner.hasEcn),
        packetBytesTo: this.backend === 'dgram' ? interfacePacketBytes : undefined,
        options: { burstBytes: burstOf(Math.min(...buffers)), ...setup.options },
        security: { seconds: () => Date.now() / 1000, hasAes: loop.hasAes, ...setup.security },
      })
    } catch (error) {
      for (const socket of sockets) socket.close()
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

  /** The first socket that works; the first of all when none does. */
  get socket(): DatagramSocket {
    return (this.working[0] ?? (this.sockets[0] as DriverSocket)).inner
  }

  private get working(): DriverSocket[] {
    return this.sockets.filter(({ isClosed }) => !isClosed)
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
    let dropped = 0
    for (const { inner } of this.sockets)
      if (inner instanceof FaultySocket) dropped += inner.dropped
    return dropped
  }

  /** @internal Takes receive descriptors; the answer follows what the program makes of them. */
  ingest(count: number, lends: boolean): void {
    if (this.isClosed) return
    this.endpoint.ingest(nowMicros(), count, lends)
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
      if (this.sockets.length === 1) this.send(0, count)
      else this.endpoint.forEachSocket((index, run) => this.send(index, run))
      if (!this.isBlocked) continue
      // Native sockets copy what waits; node:dgram reads on from the train arena.
      if (this.backend === 'dgram') this.loop.hold(this)
      return
    }
  }

  private send(index: number, count: number): void {
    const socket = this.sockets[index]
    // What was meant for a socket that is gone is lost, like any datagram.
    if (socket === undefined || socket.isClosed) return
    if (!socket.inner.flush(this.endpoint, count)) socket.isBlocked = true
  }

  private get isBlocked(): boolean {
    for (const { isBlocked } of this.sockets) if (isBlocked) return true
    return false
  }

  /** Closes one of several sockets: the others take over what went through it. */
  closeSocket(index: number): void {
    const socket = this.sockets[index]
    if (this.isClosed || socket === undefined || socket.isClosed) return
    if (this.working.length === 1) throw new RangeError('it is the last socket: close the driver')
    // Peers learn the new place from packets, so what waits can still leave by the old one.
    this.flush()
    this.endpoint.loseSocket(nowMicros(), index)
    socket.close()
    this.writable()
  }

  /** Tells all peers, and closes the sockets. */
  close(): void {
    if (this.isClosed) return
    this.flush()
    this.endpoint.close(nowMicros())
    this.flush()
    this.isClosed = true
    this.loop.remove(this)
    this.endpoint.destroy()
    for (const socket of this.working) socket.close()
  }

  /** Whether the sockets keep the process alive; true at first. */
  setRef(isRef: boolean): void {
    this.isRef = isRef
    for (const { inner } of this.working) inner.setRef(isRef)
  }

  /** @internal The loop has a fresh core: the same ports, the same identity, nothing else. */
  restart(): void {
    // Somebody else may have taken a port, or there is no memory: what was open is over all the same.
    let failure: unknown
    for (const socket of this.working) {
      try {
        socket.reopen()
        socket.inner.setRef(this.isRef)
      } catch (error) {
        failure = error
        socket.close()
        this.endpoint.loseSocket(nowMicros(), socket.index)
      }
    }
    try {
      if (this.working.length === 0) throw failure
      this.endpoint.restart(this.loop.core, this.loop.runJobs)
    } catch (error) {
      this.endpoint.abandon()
      this.onFailed?.(error as Error)
    }
    this.loop.planFlush(this)
  }

  // ── What the sockets ask and tell ──────────────────────────────────────────────────────────────

  /** @internal */
  open(binding: UdpBinding, socket: DriverSocket): DatagramSocket {
    const { loop, faults, outgoing } = this
    const { index } = socket
    const opened = loop.openSocket({ binding, index, owner: socket, addresses: outgoing })
    return faults ? new FaultySocket(opened, faults, loop.core.bytes) : opened
  }

  /** @internal */
  datagram(index: number, bytes: Uint8Array, address: string, port: number): void {
    if (this.isClosed) return
    const words = this.incoming.pack(address, port)
    if (words === undefined) return
    this.loop.beginReceive(this)
    if (this.loop.core.receive(bytes, index, words)) return
    this.loop.drain()
    this.loop.beginReceive(this)
    this.loop.core.receive(bytes, index, words)
  }

  /** @internal */
  received(count: number): void {
    this.ingest(count, true)
  }

  /** @internal */
  writable(): void {
    if (this.isBlocked) return
    this.loop.release(this)
    this.loop.planFlush(this)
  }

  /** @internal */
  refused(refusal: DatagramRefusal): void {
    tellRefusal(refusal)
    this.onRefused?.(refusal)
  }

  /** @internal */
  failed(index: number, error: Error): void {
    if (this.working.length === 1) {
      this.onFailed?.(error)
      return
    }
    this.closeSocket(index)
    this.onSocketLost?.(index, error)
  }
}

/**
 * How much a near peer may have in flight towards us. The system charges a small datagram with about
 * twice its size, and the program may be busy while they arrive.
 */
function burstOf(receiveBufferBytes: number): number {
  return Math.max(16_384, Math.floor(receiveBufferBytes / 4))
}
