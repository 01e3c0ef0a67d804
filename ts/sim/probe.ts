import type { DatagramAddress, DatagramPort, Micros } from '../machine.ts'
import { NEVER } from '../machine.ts'
import type { Attachment, Host, SocketOptions } from './host.ts'

export interface ProbedDatagram {
  /** On the host's clock. */
  readonly at: Micros
  readonly from: DatagramAddress
  /** The probe's own copy. */
  readonly bytes: Uint8Array
}

const BATCH_LENGTH_MAX = 64

/**
 * A bare UDP program: sends what it is told, keeps what arrives. For tests of links, and as the
 * stranger who sends something else than the protocol.
 */
export class Probe implements DatagramPort {
  readonly attachment: Attachment
  readonly received: ProbedDatagram[] = []
  /** Called for each datagram that arrives. */
  onDatagram: ((datagram: ProbedDatagram) => void) | undefined

  private readonly arrived: { from: DatagramAddress; bytes: Uint8Array }[] = []
  private readonly unsent: { to: DatagramAddress; bytes: Uint8Array }[] = []
  private outbox: { to: DatagramAddress; bytes: Uint8Array }[] = []

  /** Opens the sockets on the host; by default one on a free port. */
  constructor(host: Host, sockets: readonly SocketOptions[] = [{}]) {
    this.attachment = host.attach(this, sockets)
  }

  /** The port of its first socket. */
  get port(): number {
    return this.attachment.sockets[0]?.port ?? 0
  }

  send(to: { address: string; port: number; socketIndex?: number }, bytes: Uint8Array): void {
    const { address, port, socketIndex = 0 } = to
    this.unsent.push({ to: { socketIndex, address, port }, bytes: bytes.slice() })
    this.attachment.wake()
  }

  deliver(from: DatagramAddress, bytes: Uint8Array): boolean {
    if (this.arrived.length === BATCH_LENGTH_MAX) return false
    this.arrived.push({ from, bytes: bytes.slice() })
    return true
  }

  ingest(now: Micros, count: number): number {
    for (const { from, bytes } of this.arrived.splice(0, count)) {
      const datagram = { at: now, from, bytes }
      this.received.push(datagram)
      this.onDatagram?.(datagram)
    }
    return count
  }

  flush(): number {
    this.outbox = this.unsent.splice(0, BATCH_LENGTH_MAX)
    return this.outbox.length
  }

  collect(take: (to: DatagramAddress, bytes: Uint8Array) => void): void {
    for (const { to, bytes } of this.outbox) take(to, bytes)
  }

  timeout(): void {}

  nextTimeout(): Micros {
    return NEVER
  }
}
