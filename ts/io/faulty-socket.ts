/** A socket that loses, doubles, alters or holds back what is sent through it, for `PUNCHLINE_FAULTS`. */
import type { Endpoint } from '../transport/index.ts'
import { nowMicros } from './clock.ts'
import type { DatagramSocket, DatagramSocketFigures } from './datagram-socket.ts'
import { FaultDrawer, type Faults } from './faults.ts'

export class FaultySocket implements DatagramSocket {
  readonly hasEcn: boolean
  readonly backend
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  private readonly inner: DatagramSocket
  private readonly drawer: FaultDrawer
  /** The core's memory, where trains lie. */
  private readonly memory: Buffer
  private isClosed = false
  private readonly sendTrain: (
    address: string,
    port: number,
    start: number,
    end: number,
    segment: number,
  ) => void

  constructor(inner: DatagramSocket, faults: Faults, memory: Buffer) {
    this.inner = inner
    this.drawer = new FaultDrawer(faults)
    this.memory = memory
    this.hasEcn = inner.hasEcn
    this.backend = inner.backend
    this.address = inner.address
    this.port = inner.port
    this.family = inner.family
    this.receiveBufferBytes = inner.receiveBufferBytes
    this.sendBufferBytes = inner.sendBufferBytes
    this.sendTrain = (address, port, start, end, segment) => {
      for (let at = start; at < end; at += segment) {
        this.send(this.memory.subarray(at, Math.min(at + segment, end)), address, port)
      }
    }
  }

  /** Datagrams that were dropped on purpose. */
  get dropped(): number {
    return this.drawer.dropped
  }

  flush(endpoint: Endpoint): boolean {
    endpoint.forEachTrain(this.sendTrain)
    return true
  }

  send(bytes: Uint8Array, address: string, port: number): void {
    const fate = this.drawer.draw(nowMicros())
    if (fate === 'drop') return
    if (fate === 'alter') this.drawer.alter(bytes)
    if (fate === 'hold') {
      const copy = Buffer.from(bytes)
      const later = () => {
        if (!this.isClosed) this.inner.send(copy, address, port)
      }
      setTimeout(later, this.drawer.faults.holdMs)
      return
    }
    this.inner.send(bytes, address, port)
    if (fate === 'double') this.inner.send(bytes, address, port)
  }

  setRef(isRef: boolean): void {
    this.inner.setRef(isRef)
  }

  figures(): DatagramSocketFigures {
    return this.inner.figures()
  }

  close(): void {
    this.isClosed = true
    this.inner.close()
  }
}
