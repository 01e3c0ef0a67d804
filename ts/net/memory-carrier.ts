/**
 * A carrier that lives in memory, for tests: hosts, ports, delay by turns of the event loop, small
 * windows, chunks that do not keep the writer's boundaries, refusal, reset and half-close behave as
 * the kernel's TCP over loopback does, so that both can be compared event by event.
 */
import net from 'node:net'
import type {
  Carrier,
  DialTarget,
  Line,
  LineAddresses,
  LineFailure,
  LineOwner,
  LineStats,
  Listener,
  ListenerOwner,
  ListenTarget,
} from './line.ts'
import { errnoException, listenException } from './system-errors.ts'

/** What a test may choose. */
export interface MemoryCarrierOptions {
  /** Bytes that may be under way or unread per direction. Default 262,144. */
  readonly windowSizeBytes?: number
  /** The most bytes that arrive at once. Default 16,384. */
  readonly chunkSizeBytes?: number
  /** Addresses that never answer, beside everything that is not loopback. */
  readonly silentAddresses?: readonly string[]
}

const firstEphemeralPort = 32_768
const lastPort = 65_535
const connectTimeoutDefaultMs = 30_000
const maxTimerMs = 2 ** 31 - 1

export class MemoryCarrier implements Carrier {
  readonly windowSizeBytes: number
  readonly chunkSizeBytes: number
  private readonly silentAddresses: ReadonlySet<string>
  private readonly listeners = new Set<MemoryListener>()
  private readonly dialled = new Set<MemoryLine>()
  private readonly queue: (() => void)[] = []
  private isTurnScheduled = false
  private nextPort = firstEphemeralPort
  private refCount = 0
  private holder: NodeJS.Timeout | undefined

  constructor(options: MemoryCarrierOptions = {}) {
    this.windowSizeBytes = options.windowSizeBytes ?? 262_144
    this.chunkSizeBytes = options.chunkSizeBytes ?? 16_384
    this.silentAddresses = new Set(options.silentAddresses)
  }

  dial(target: DialTarget, owner: LineOwner): Line {
    const remoteAddress = reachable(target.address)
    const family = target.family === 6 ? 'IPv6' : 'IPv4'
    const localAddress = this.localAddressFor(target, remoteAddress)
    const localPort = this.localPortFor(target, localAddress, remoteAddress)
    const remotePort = target.port
    const names = { localAddress, localPort, remoteAddress, remotePort, family } as const
    const line = new MemoryLine(this, names, owner)
    this.dialled.add(line)
    if (isLoopback(remoteAddress) && !this.silentAddresses.has(remoteAddress)) {
      this.post(() => this.open(line))
    } else {
      line.expireAfter(target.connectTimeoutMs ?? connectTimeoutDefaultMs)
    }
    return line
  }

  listen(target: ListenTarget, owner: ListenerOwner): Listener {
    const address = target.address ?? '::'
    if (!isLoopback(address) && !isAny(address)) throw this.bindError('EADDRNOTAVAIL', target)
    const port = target.port === 0 ? this.freePort(address) : target.port
    const isDual = address === '::' && target.ipv6Only !== true
    const other = this.listenerAt(address, port, isDual)
    if (other !== undefined && !(other.isReusable && target.reusePort)) {
      throw this.bindError('EADDRINUSE', target)
    }
    const listener = new MemoryListener(this, { ...target, address, port }, owner)
    this.listeners.add(listener)
    return listener
  }

  /** @internal Runs `deliver` in a later turn of the event loop, after all earlier ones. */
  post(deliver: () => void): void {
    this.queue.push(deliver)
    if (this.isTurnScheduled) return
    this.isTurnScheduled = true
    // Two immediates are surely another turn: nothing comes back in the turn in which it left.
    setImmediate(() =>
      setImmediate(() => {
        this.isTurnScheduled = false
        for (const next of this.queue.splice(0)) next()
      }),
    )
  }

  /** @internal Keeps the process alive while anything asks for it. */
  addRef(change: 1 | -1): void {
    this.refCount += change
    if (this.refCount > 0 && this.holder === undefined) {
      this.holder = setInterval(() => {}, maxTimerMs)
    } else if (this.refCount === 0) {
      clearInterval(this.holder)
      this.holder = undefined
    }
  }

  /** @internal Forgets what has ended. */
  forget(ended: MemoryListener | MemoryLine): void {
    if (ended instanceof MemoryListener) this.listeners.delete(ended)
    else this.dialled.delete(ended)
  }

  private open(line: MemoryLine): void {
    if (line.isDead) return
    const { localAddress, localPort, remoteAddress, remotePort, family } = line.addresses
    const listener = this.listenerFor(remoteAddress, remotePort)
    if (listener === undefined) {
      this.post(() => line.refuse('ECONNREFUSED'))
      return
    }
    const isMapped = family === 'IPv4' && net.isIPv6(listener.address.address)
    const mapped = (address: string): string => (isMapped ? `::ffff:${address}` : address)
    const accepted = new MemoryLine(this, {
      localAddress: mapped(remoteAddress),
      localPort: remotePort,
      remoteAddress: mapped(localAddress),
      remotePort: localPort,
      family: isMapped ? 'IPv6' : family,
    })
    if (listener.owner.incoming(accepted)) {
      accepted.join(line)
      this.post(() => line.accept())
    } else {
      accepted.discard()
      this.post(() => line.refuse('ECONNREFUSED'))
    }
  }

  private localAddressFor(target: DialTarget, remoteAddress: string): string {
    const own = target.localAddress
    if (own === undefined || isAny(own))
      return isLoopback(remoteAddress) ? remoteAddress : '127.0.0.1'
    if (net.isIP(own) !== target.family) throw errnoException('EINVAL', 'bind')
    if (!isLoopback(own)) throw errnoException('EADDRNOTAVAIL', 'bind')
    return own
  }

  private localPortFor(target: DialTarget, localAddress: string, remoteAddress: string): number {
    const port = target.localPort
    if (port === undefined) return this.freePort(localAddress)
    if (this.listenerAt(localAddress, port) !== undefined)
      throw errnoException('EADDRINUSE', 'bind')
    for (const { addresses: other } of this.dialled) {
      const isSameRemote = other.remoteAddress === remoteAddress && other.remotePort === target.port
      if (isSameRemote && other.localAddress === localAddress && other.localPort === port) {
        throw errnoException('EADDRINUSE', 'bind')
      }
    }
    return port
  }

  private freePort(address: string): number {
    for (let attempt = firstEphemeralPort; attempt <= lastPort; attempt += 1) {
      const port = this.nextPort
      this.nextPort = port === lastPort ? firstEphemeralPort : port + 1
      if (this.listenerAt(address, port) === undefined) return port
    }
    throw errnoException('EADDRINUSE', 'bind')
  }

  // For binding: a wildcard collides with every address.
  private listenerAt(address: string, port: number, isDual = false): MemoryListener | undefined {
    for (const listener of this.listeners) {
      const { address: other } = listener.address
      const isClash = other === address || isAny(other) || isAny(address)
      if (listener.address.port !== port || !isClash) continue
      if (isDual || listener.isFamilyShared(address)) {
        return listener
      }
    }
    return undefined
  }

  // For connecting: the exact address first, then the wildcard.
  private listenerFor(address: string, port: number): MemoryListener | undefined {
    let found: MemoryListener | undefined
    for (const listener of this.listeners) {
      if (listener.address.port !== port) continue
      if (listener.address.address === address) return listener
      if (isAny(listener.address.address) && listener.isFamilyShared(address)) found = listener
    }
    return found
  }

  private bindError(code: string, { address, port }: ListenTarget): Error {
    return listenException(code, { address: address ?? '::', port })
  }
}

class MemoryListener implements Listener {
  readonly address: {
    readonly address: string
    readonly family: 'IPv4' | 'IPv6'
    readonly port: number
  }
  readonly owner: ListenerOwner
  readonly isReusable: boolean
  private readonly carrier: MemoryCarrier
  private readonly isIpv6Only: boolean
  private isRef = true

  constructor(
    carrier: MemoryCarrier,
    target: ListenTarget & { address: string },
    owner: ListenerOwner,
  ) {
    const { address, port } = target
    this.carrier = carrier
    this.address = { address, family: net.isIPv6(address) ? 'IPv6' : 'IPv4', port }
    this.isIpv6Only = target.ipv6Only === true
    this.isReusable = target.reusePort === true
    this.owner = owner
    carrier.addRef(1)
  }

  /** Says whether peers or binders with `address` meet this listener at all. */
  isFamilyShared(address: string): boolean {
    const isDual = this.address.address === '::' && !this.isIpv6Only
    return isDual || net.isIPv6(address) === (this.address.family === 'IPv6')
  }

  close(): void {
    this.setRef(false)
    this.carrier.forget(this)
  }

  setRef(isRef: boolean): void {
    if (isRef === this.isRef) return
    this.isRef = isRef
    this.carrier.addRef(isRef ? 1 : -1)
  }
}

class MemoryLine implements Line {
  owner: LineOwner
  readonly addresses: LineAddresses
  private readonly carrier: MemoryCarrier
  private peer: MemoryLine | null = null
  // Before the peer has accepted nobody can take what is written: it waits here.
  private readonly early: (() => void)[] = []
  private inbox: Buffer[] = []
  private inboxSize = 0
  private unconfirmedSize = 0
  private isEndReceived = false
  private isEndRead = false
  private isFinished = false
  private isReleased = false
  private isRef = true
  private isWriterBlocked = false
  private isReaderWaiting = true
  private timer: NodeJS.Timeout | undefined
  isDead = false

  constructor(carrier: MemoryCarrier, addresses: LineAddresses, owner?: LineOwner) {
    this.carrier = carrier
    this.addresses = addresses
    this.owner = owner ?? nobody
    carrier.addRef(1)
  }

  // ---- For the carrier and the peer. ----

  /** Becomes the accepted half of `dialled`. */
  join(dialled: MemoryLine): void {
    this.peer = dialled
    dialled.peer = this
    for (const send of dialled.early.splice(0)) send()
  }

  accept(): void {
    if (!this.isDead && !this.isReleased) this.owner.connected()
  }

  refuse(code: 'ECONNREFUSED' | 'ETIMEDOUT'): void {
    if (this.isDead) return
    this.die()
    if (!this.isReleased) this.owner.refused(code)
  }

  /** The listener did not take it. */
  discard(): void {
    this.die()
  }

  expireAfter(timeoutMs: number): void {
    this.timer = setTimeout(() => this.refuse('ETIMEDOUT'), timeoutMs)
  }

  private receive(bytes: Buffer): void {
    if (this.isDead) return
    if (this.isReleased) {
      this.abort()
      return
    }
    this.inbox.push(bytes)
    this.inboxSize += bytes.length
    this.tellReadable()
  }

  private receiveEnd(): void {
    if (this.isDead) return
    this.isEndReceived = true
    this.send((peer) => peer.confirmEnd())
    if (!this.isReleased) this.tellReadable()
    else this.dieWhenDone()
  }

  private receiveReset(code: LineFailure): void {
    if (this.isDead) return
    this.die()
    if (!this.isReleased) this.owner.failed(code)
  }

  private confirm(size: number): void {
    if (this.isDead) return
    this.unconfirmedSize -= size
    if (this.isReleased || !this.isWriterBlocked) return
    this.isWriterBlocked = false
    this.owner.writable()
  }

  private confirmEnd(): void {
    if (this.isDead) return
    if (this.isReleased) this.dieWhenDone()
    else this.owner.finished()
  }

  // ---- Line. ----

  write(chunk: Uint8Array): number {
    if (this.isDead || this.isFinished) return 0
    const room = this.carrier.windowSizeBytes - this.unconfirmedSize
    const size = Math.min(room, chunk.length)
    if (size < chunk.length) this.isWriterBlocked = true
    for (let offset = 0; offset < size; offset += this.carrier.chunkSizeBytes) {
      const end = Math.min(offset + this.carrier.chunkSizeBytes, size)
      const part = Buffer.from(chunk.subarray(offset, end))
      this.send((peer) => peer.receive(part))
    }
    this.unconfirmedSize += size
    return size
  }

  finish(): void {
    if (this.isDead || this.isFinished) return
    this.isFinished = true
    this.send((peer) => peer.receiveEnd())
  }

  read(sizeMax = 65_536): Buffer | null {
    const size = Math.min(sizeMax, this.inboxSize)
    if (size === 0) {
      this.waitForMore()
      return null
    }
    const target = Buffer.allocUnsafeSlow(size)
    this.take(target)
    return target
  }

  readInto(target: Uint8Array): number {
    const size = Math.min(target.length, this.inboxSize)
    if (size === 0) this.waitForMore()
    else this.take(target.subarray(0, size))
    return size
  }

  get readableSize(): number {
    return this.inboxSize
  }

  get ended(): boolean {
    return this.isEndReceived && this.inboxSize === 0
  }

  reset(): void {
    if (this.isReleased) return
    this.leave()
    if (!this.isDead) this.abort()
  }

  release(): void {
    if (this.isReleased) return
    this.leave()
    if (this.inboxSize > 0) {
      this.abort()
    } else if (!this.isDead) {
      this.finish()
      this.dieWhenDone()
    }
  }

  setRef(isRef: boolean): void {
    if (isRef === this.isRef) return
    this.isRef = isRef
    this.carrier.addRef(isRef ? 1 : -1)
  }

  setNoDelay(): void {}

  setKeepAlive(): void {}

  stats(): LineStats {
    return { transport: 'udp', backend: 'memory', security: 'none' }
  }

  // ---- Details. ----

  private leave(): void {
    this.isReleased = true
    this.setRef(false)
    this.owner = nobody
  }

  private send(deliver: (peer: MemoryLine) => void): void {
    const post = (): void => this.carrier.post(() => this.peer !== null && deliver(this.peer))
    if (this.peer === null) this.early.push(post)
    else post()
  }

  private take(target: Uint8Array): void {
    let filled = 0
    while (filled < target.length) {
      const [first] = this.inbox
      if (first === undefined) break
      const part = first.subarray(0, target.length - filled)
      target.set(part, filled)
      filled += part.length
      if (part.length === first.length) this.inbox.shift()
      else this.inbox[0] = first.subarray(part.length)
    }
    this.inboxSize -= filled
    if (!this.isDead) this.send((peer) => peer.confirm(filled))
  }

  private waitForMore(): void {
    this.isReaderWaiting = !this.isEndReceived || this.isEndRead
    this.isEndRead = this.isEndReceived
  }

  private tellReadable(): void {
    if (!this.isReaderWaiting) return
    this.isReaderWaiting = false
    this.owner.readable()
  }

  private abort(): void {
    this.send((peer) => peer.receiveReset('ECONNRESET'))
    this.die()
  }

  private dieWhenDone(): void {
    if (this.isEndReceived) this.die()
  }

  private die(): void {
    this.isDead = true
    this.setRef(false)
    clearTimeout(this.timer)
    this.carrier.forget(this)
  }
}

const nobody: LineOwner = {
  connected() {},
  refused() {},
  readable() {},
  writable() {},
  finished() {},
  failed() {},
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.') || address.startsWith('::ffff:127.')
}

function isAny(address: string): boolean {
  return address === '::' || address === '0.0.0.0'
}

function reachable(address: string): string {
  if (address === '::') return '::1'
  return address === '0.0.0.0' ? '127.0.0.1' : address
}
