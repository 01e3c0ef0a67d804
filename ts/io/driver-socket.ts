/** One of a driver's sockets: it tells the driver which one it is. */
import type {
  DatagramRefusal,
  DatagramSocket,
  DatagramSocketOwner,
  UdpBinding,
} from './datagram-socket.ts'

/** Who has the sockets; `index` is the number that the core knows a socket by. */
export interface DriverSocketOwner {
  open(binding: UdpBinding, socket: DriverSocket): DatagramSocket
  datagram(index: number, bytes: Uint8Array, address: string, port: number): void
  received(count: number): void
  writable(): void
  refused(refusal: DatagramRefusal): void
  failed(index: number, error: Error): void
}

export class DriverSocket implements DatagramSocketOwner {
  readonly index: number
  /** Another one after a trap. */
  inner: DatagramSocket
  /** It takes nothing before `writable`. */
  isBlocked = false
  isClosed = false
  private readonly owner: DriverSocketOwner
  private readonly binding: UdpBinding

  /** @throws the system error of `bind`. */
  constructor(owner: DriverSocketOwner, index: number, binding: UdpBinding) {
    this.owner = owner
    this.index = index
    this.binding = binding
    this.inner = owner.open(binding, this)
  }

  /**
   * Opens it again, on the same port: the memory below is another one.
   * @throws the system error of `bind`.
   */
  reopen(): void {
    const { port } = this.inner
    this.inner.close()
    this.isBlocked = false
    this.inner = this.owner.open({ ...this.binding, port }, this)
  }

  close(): void {
    this.isClosed = true
    this.isBlocked = false
    this.inner.close()
  }

  // ── What the socket tells ──────────────────────────────────────────────────────────────────────

  datagram(bytes: Uint8Array, address: string, port: number): void {
    this.owner.datagram(this.index, bytes, address, port)
  }

  received(count: number): void {
    this.owner.received(count)
  }

  writable(): void {
    this.isBlocked = false
    this.owner.writable()
  }

  refused(refusal: DatagramRefusal): void {
    this.owner.refused(refusal)
  }

  failed(error: Error): void {
    if (!this.isClosed) this.owner.failed(this.index, error)
  }
}
