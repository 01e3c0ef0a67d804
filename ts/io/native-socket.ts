/** The native tiers: the kernel reads from and writes to the core's memory, many datagrams a call. */
import { getSystemErrorName } from 'node:util'
import type { NativeHub, NativeRefusal, NativeSocket } from '../../bindings/native-hub.ts'
import type { AddressBook, Endpoint } from '../transport/index.ts'
import {
  BUFFER_BYTES,
  type DatagramSocket,
  type DatagramSocketFigures,
  type DatagramSocketOwner,
  type UdpBinding,
} from './datagram-socket.ts'

export interface NativeUdpSocketSetup {
  readonly hub: NativeHub
  readonly binding: UdpBinding
  /** By which the core knows it. */
  readonly index: number
  readonly owner: DatagramSocketOwner
  /** Writes IPv4 as the socket's family wants it. */
  readonly addresses: AddressBook
  /** Receive through io_uring, if the hub's ring has room for one more. */
  readonly wantsRing: boolean
}

export class NativeUdpSocket implements DatagramSocket {
  readonly backend: 'uring' | 'mmsg'
  readonly hasEcn = true
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  private readonly hub: NativeHub
  private readonly socket: NativeSocket
  private readonly owner: DatagramSocketOwner
  private readonly addresses: AddressBook

  /** @throws the system error of `bind`: code, errno, syscall, address, port. */
  constructor(setup: NativeUdpSocketSetup) {
    const { hub, binding, owner, addresses } = setup
    const any = binding.family === 4 ? '0.0.0.0' : '::'
    const address = binding.address === '' ? any : binding.address
    const words = addresses.pack(address, binding.port)
    if (words === undefined) throw systemError(-EINVAL, 'bind', address, binding.port)
    const opened = hub.openSocket(
      words,
      {
        family: binding.family,
        ipv6Only: binding.ipv6Only ?? false,
        reusePort: binding.reusePort ?? false,
        // What is too large for the way is refused or dropped: the search for the packet size sees it.
        dontFragment: true,
        segmentation: true,
        ecn: true,
        receiveOffload: true,
        receiveBufferBytes: BUFFER_BYTES,
        sendBufferBytes: BUFFER_BYTES,
        index: setup.index,
        ring: setup.wantsRing,
      },
      {
        received: (count) => owner.received(count),
        writable: () => owner.writable(),
        refused: (refusals) => this.tell(refusals),
        failed: (error) => owner.failed(systemError(-error, 'recvmsg')),
      },
    )
    if ('error' in opened) {
      throw systemError(-opened.error, opened.syscall, address, binding.port)
    }
    this.hub = hub
    this.socket = opened
    this.owner = owner
    this.addresses = addresses
    this.backend = opened.isOnRing ? 'uring' : 'mmsg'
    this.family = binding.family
    const bound = addresses.unpack(opened.address, 0)
    this.address = bound.address
    this.port = bound.port
    // Linux reports twice the size, half of it for bookkeeping.
    this.receiveBufferBytes = opened.receiveBufferBytes / 2
    this.sendBufferBytes = opened.sendBufferBytes / 2
  }

  flush(_endpoint: Endpoint, count: number): boolean {
    const { isBlocked, hasRefusals } = this.socket.flush(count)
    if (hasRefusals) this.tellLater()
    return !isBlocked
  }

  send(bytes: Uint8Array, address: string, port: number): void {
    const words = this.addresses.pack(address, port)
    if (words === undefined) return
    if (this.socket.send(bytes, words).hasRefusals) this.tellLater()
  }

  setRef(isRef: boolean): void {
    this.socket.setRef(isRef)
  }

  figures(): DatagramSocketFigures {
    return this.socket.figures() ?? {}
  }

  close(): void {
    this.socket.close()
  }

  /** Never from inside a call of the owner. */
  private tellLater(): void {
    process.nextTick(() => this.tell(this.hub.readRefusals(this.socket.takeRefusals())))
  }

  private tell(refusals: readonly NativeRefusal[]): void {
    for (const { error, info, address: words } of refusals) {
      const { address, port } = this.addresses.unpack(words, 0)
      this.owner.refused({ code: getSystemErrorName(-error), address, port, mtuBytes: info })
    }
  }
}

const EINVAL = 22

/** An error as `node:dgram` makes it. `errno` is negative. */
function systemError(errno: number, syscall: string, address?: string, port?: number): Error {
  const code = getSystemErrorName(errno)
  const place = address === undefined ? '' : port ? ` ${address}:${port}` : ` ${address}`
  const error = new Error(`${syscall} ${code}${place}`)
  return Object.assign(
    error,
    { errno, code, syscall },
    address === undefined ? {} : { address },
    port ? { port } : {},
  )
}
