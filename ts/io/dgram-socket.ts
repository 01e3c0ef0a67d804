/** The tier that is everywhere: `node:dgram`. One datagram per call in each direction. */
import { createSocket, type Socket, type SocketOptions } from 'node:dgram'
import type { Endpoint } from '../transport/index.ts'
import {
  BUFFER_BYTES,
  type DatagramSocket,
  type DatagramSocketFigures,
  type DatagramSocketOwner,
  type UdpBinding,
} from './datagram-socket.ts'

/** After how long a full socket is looked at again. */
const BLOCKED_MS = 1

/** Trains whose views are kept: a new typed array for each datagram shows in the profile. */
const TRAINS_MAX = 64

/**
 * `node:dgram` binds in a later turn because it looks names up; with a lookup that answers at once
 * it binds now, as a drop-in for `net.Server.listen` has to.
 */
export class DgramSocket implements DatagramSocket {
  readonly hasEcn = false
  readonly backend = 'dgram'
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  private readonly socket: Socket
  private readonly owner: DatagramSocketOwner
  /** The core's memory, whose parts are sent. */
  private readonly memory: Buffer
  /** Parts of memory that were sent, by train. */
  private readonly views = new Map<number, Buffer[]>()
  private sendCalls = 0
  private receiveCalls = 0
  private isClosed = false
  private readonly sendTrain: (
    address: string,
    port: number,
    start: number,
    end: number,
    segment: number,
  ) => void

  /** @throws the system error of `bind`: code, errno, syscall, address, port. */
  constructor(binding: UdpBinding, memory: Buffer, owner: DatagramSocketOwner) {
    this.family = binding.family
    this.memory = memory
    this.owner = owner
    const options: SocketOptions & { readonly reusePort?: boolean } = {
      type: binding.family === 4 ? 'udp4' : 'udp6',
      ipv6Only: binding.ipv6Only ?? false,
      recvBufferSize: BUFFER_BYTES,
      sendBufferSize: BUFFER_BYTES,
      lookup: (host, _options, callback) => callback(null, host, binding.family),
      // Known from Node 23.1 on; before, the second socket on the port is EADDRINUSE.
      ...(binding.reusePort ? { reusePort: true } : {}),
    }
    this.socket = createSocket(options)
    bindNow(this.socket, binding)
    const bound = this.socket.address()
    this.address = bound.address
    this.port = bound.port
    // Linux reports twice the size, half of it for bookkeeping.
    this.receiveBufferBytes = this.socket.getRecvBufferSize() / 2
    this.sendBufferBytes = this.socket.getSendBufferSize() / 2
    this.socket.on('message', (bytes, from) => {
      this.receiveCalls += 1
      owner.datagram(bytes, from.address, from.port)
    })
    this.socket.on('error', (error) => owner.failed(error))
    this.sendTrain = (address, port, start, end, segment) => {
      const views = this.viewsOf(start, segment)
      for (let index = 0, at = start; at < end; at += segment, index += 1) {
        this.sendCalls += 1
        if (end - at < segment) {
          this.socket.send(this.memory, at, end - at, port, address)
          continue
        }
        const view = views[index] ?? this.memory.subarray(at, at + segment)
        views[index] = view
        this.socket.send(view, port, address)
      }
    }
  }

  flush(endpoint: Endpoint): boolean {
    endpoint.forEachTrain(this.sendTrain)
    if (!this.isQueued) return true
    this.waitUntilSent()
    return false
  }

  send(bytes: Uint8Array, address: string, port: number): void {
    this.sendCalls += 1
    // Bytes that wait are read later, when the caller's memory may be something else.
    this.socket.send(Buffer.from(bytes), port, address)
  }

  setRef(isRef: boolean): void {
    if (isRef) this.socket.ref()
    else this.socket.unref()
  }

  figures(): DatagramSocketFigures {
    return { sendCalls: this.sendCalls, receiveCalls: this.receiveCalls }
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.socket.close()
  }

  /** Of the datagrams of a train, as far as they were made: trains begin at the same few places. */
  private viewsOf(start: number, segment: number): Buffer[] {
    const key = start * 65_536 + segment
    const known = this.views.get(key)
    if (known !== undefined) return known
    if (this.views.size === TRAINS_MAX) this.views.clear()
    const views: Buffer[] = []
    this.views.set(key, views)
    return views
  }

  /** The system did not take everything at once: bytes are still being read from memory. */
  private get isQueued(): boolean {
    return this.socket.getSendQueueCount() > 0
  }

  private waitUntilSent(): void {
    setTimeout(() => {
      if (!this.isClosed && this.isQueued) this.waitUntilSent()
      else this.owner.writable()
    }, BLOCKED_MS)
  }
}

function bindNow(socket: Socket, binding: UdpBinding): void {
  let failure: Error | undefined
  const onError = (error: Error) => {
    failure = error
  }
  socket.once('error', onError)
  const address = binding.address === '' ? {} : { address: binding.address }
  socket.bind({ port: binding.port, exclusive: true, ...address })
  socket.off('error', onError)
  if (failure !== undefined) {
    socket.close()
    throw failure
  }
}
