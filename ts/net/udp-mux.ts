/**
 * One UDP socket of this process with everything that goes through it: connections, lines, and at
 * most one listener.
 */
import { Driver, type DriverSetup, nowMicros, Route } from '../io/index.ts'
import {
  CODE_CLOSED,
  CODE_CONNECT_TIMEOUT,
  CODE_ENDPOINT_CLOSED,
  CODE_REFUSED,
  CODE_RESET,
} from '../transport/codes.ts'
import type {
  Connection,
  ConnectionOwner,
  EndpointCounters,
  InitiatorDemands,
  Pin,
  SecurityInfo,
  Stream,
  StreamOwner,
} from '../transport/index.ts'
import { netRegistry } from './carrier.ts'
import type {
  DialTarget,
  Line,
  LineAddresses,
  LineRefusal,
  ListenerOwner,
  PinnedLine,
  PinnedLineOwner,
} from './line.ts'
import {
  type ChosenSecurity,
  chooseSecurity,
  demandsOf,
  nameOf,
  ownNodeKey,
} from './security-choice.ts'
import { type LineHome, UdpLine } from './udp-line.ts'

/** Ports that further lines to one peer call their own: IANA's dynamic range. */
const PORT_FIRST = 49_152
const PORT_LAST = 65_535

/** A connection that ended so before it took a line says nothing of who is there now. */
const staleCodes: ReadonlySet<number> = new Set([CODE_CLOSED, CODE_ENDPOINT_CLOSED, CODE_RESET])

/** How long the network is asked for a silent peer. */
const INQUIRY_MS = 3_000

/** A peer that this mux has dialled. */
interface Peer {
  readonly connection: Connection
  readonly localAddress: string
  /** Ports that live lines report. */
  readonly ports: Set<number>
}

export interface MuxOwner {
  /** Nothing goes through the mux any more; it has closed itself. */
  closed(mux: UdpMux): void
  /** A connection is open; what protects it. */
  secured(info: SecurityInfo | undefined): void
}

export class UdpMux implements LineHome {
  readonly driver: Driver
  private readonly muxOwner: MuxOwner
  private readonly lingerMs: number
  private readonly lines = new Set<UdpLine>()
  private readonly peers = new Map<string, Peer>()
  private readonly peerOf = new Map<UdpLine, Peer>()
  private readonly pins = new Set<Pin>()
  private listener: ListenerOwner | undefined
  private isListenerRef = false
  private isRef = true
  private nextPort = PORT_FIRST
  private lingerTimer: NodeJS.Timeout | undefined
  private hasLingered = false
  private isClosed = false
  /** Of all connections that peers open. */
  private readonly acceptedOwner: ConnectionOwner = {
    silent: (connection) => this.inquire(connection),
  }

  /** @throws the system error of `bind`. */
  constructor(
    sockets: Pick<DriverSetup, 'loop' | 'binding' | 'more'>,
    owner: MuxOwner,
    lingerMs: number,
    security?: ChosenSecurity,
  ) {
    this.muxOwner = owner
    this.lingerMs = lingerMs
    this.driver = new Driver({
      ...sockets,
      options: netRegistry().endpoint,
      security: { nodeKey: ownNodeKey(), ...(security ?? chooseSecurity()) },
      onFailed: (error) => this.listener?.failed(error),
    })
    this.driver.endpoint.onSettled = () => this.settle()
    this.driver.endpoint.owner = {
      stream: (stream) => this.incoming(stream),
      connection: (connection) => {
        connection.owner = this.acceptedOwner
        owner.secured(connection.security)
      },
    }
    this.refChanged()
  }

  get backend(): string {
    return this.driver.backend
  }

  get backendReason(): string {
    return this.driver.backendReason
  }

  get address(): string {
    return this.driver.socket.address
  }

  get port(): number {
    return this.driver.socket.port
  }

  /** Of all sockets that work. */
  get ports(): number[] {
    return this.driver.sockets.filter(({ isClosed }) => !isClosed).map(({ inner }) => inner.port)
  }

  get family(): 4 | 6 {
    return this.driver.socket.family
  }

  get hasListener(): boolean {
    return this.listener !== undefined
  }

  counters(): EndpointCounters & { readonly faultsDropped: number } {
    return { ...this.driver.endpoint.counters(), faultsDropped: this.driver.faultsDropped }
  }

  // ── Listening ──────────────────────────────────────────────────────────────────────────────────

  listen(owner: ListenerOwner, security: ChosenSecurity): void {
    this.listener = owner
    this.driver.endpoint.setSecurity(security)
    this.isListenerRef = true
    this.driver.endpoint.setListening(true)
    this.refChanged()
  }

  setListenerRef(isRef: boolean): void {
    this.isListenerRef = isRef
    this.refChanged()
  }

  /** New lines are refused from now on; those that live go on. */
  unlisten(): void {
    this.listener = undefined
    this.isListenerRef = false
    if (!this.isClosed) this.driver.endpoint.setListening(false)
    this.refChanged()
    this.planClose()
  }

  private incoming(stream: Stream): StreamOwner | undefined {
    const { listener } = this
    if (listener === undefined) return undefined
    const remote = stream.connection.remote
    const localAddress = this.reportedLocal(remote.address, remote.port)
    const path = this.describe(localAddress, this.port, remote.address, remote.port)
    const port = stream.port === 0 ? remote.port : stream.port
    const addresses = port === path.remotePort ? path : { ...path, remotePort: port }
    const line = new UdpLine(this, addresses, path, true)
    line.carry(stream)
    this.lines.add(line)
    this.refChanged()
    if (listener.incoming(line)) return line
    this.lines.delete(line)
    this.refChanged()
    return undefined
  }

  /** The address that a peer reached us by: the bound one, or the one the way back starts from. */
  private reportedLocal(remoteAddress: string, remotePort: number): string {
    const { address } = this
    if (address !== '0.0.0.0' && address !== '::') return address
    return localAddressTo(remoteAddress, remotePort) ?? address
  }

  // ── Dialling ───────────────────────────────────────────────────────────────────────────────────

  /** Opens a line over the connection to that peer, making one if there is none. */
  dial(target: DialTarget): Line {
    const key = keyOf(target)
    const known = this.peers.get(key)
    if (known !== undefined && !known.connection.isClosed) return this.open(target, key, known)
    const line = this.connect(target, key)
    this.refChanged()
    return line
  }

  /** Opens a line over a connection that exists. */
  private open(target: DialTarget, key: string, peer: Peer): Line {
    const { line, stream } = this.openOver(target, peer)
    if (stream === undefined) {
      line.fail('ECONNREFUSED', new Error('the connection takes no more streams'))
      return line
    }
    // The peer may have gone since we last heard of it, and another program may be in its place.
    line.expectWithin(target.connectTimeoutMs ?? this.connectTimeoutMs)
    line.carry(stream, (code) => {
      if (!staleCodes.has(code)) return false
      return this.redial(target, key, line)
    })
    return line
  }

  private get connectTimeoutMs(): number {
    return this.driver.endpoint.options.connectTimeoutMs
  }

  private openOver(target: DialTarget, peer: Peer) {
    const port = this.choosePort(peer)
    const { localAddress } = peer
    const path = this.describe(localAddress, this.port, target.address, target.port)
    const line = new UdpLine(this, { ...path, localPort: port }, path, false)
    const stream = peer.connection.openStream(port, line)
    this.adopt(line, peer, port)
    return { line, stream }
  }

  /** Opens the line anew over a fresh connection. */
  private redial(target: DialTarget, key: string, line: UdpLine): boolean {
    const peer = this.makePeer(target, key)
    if (typeof peer === 'string') return false
    this.adopt(line, peer, line.addresses.localPort)
    const stream = peer.connection.openStream(line.addresses.localPort, line)
    if (stream === undefined) return false
    line.carry(stream)
    return true
  }

  private connect(target: DialTarget, key: string): Line {
    const peer = this.makePeer(target, key)
    if (typeof peer === 'string') {
      const path = this.describe(this.address, this.port, target.address, target.port)
      const line = new UdpLine(this, path, path, false)
      line.fail(peer)
      return line
    }
    const { line, stream } = this.openOver(target, peer)
    if (stream === undefined) line.fail('ECONNREFUSED')
    else line.carry(stream)
    return line
  }

  /** Starts a connection; or says why that can't be. */
  private makePeer(target: DialTarget, key: string): Peer | LineRefusal {
    if (target.port === 0) return 'ECONNREFUSED'
    let connection: Connection | undefined
    const end = (code: number) => connection?.close(code)
    const route = new Route(target.address, target.port, target.family, {
      refused: () => end(CODE_REFUSED),
      unreachable: () => end(CODE_CONNECT_TIMEOUT),
    })
    if (route.localAddress === undefined) {
      route.close()
      return 'ENETUNREACH'
    }
    connection = this.driver.endpoint.connect(
      nowMicros(),
      { socketIndex: 0, address: target.address, port: target.port },
      {
        opened: () => {
          route.close()
          this.muxOwner.secured(connection?.security)
        },
        silent: (peer) => this.inquire(peer),
        closed: () => {
          route.close()
          if (this.peers.get(key)?.connection === connection) this.peers.delete(key)
          this.planClose()
        },
      },
      { connectTimeoutMs: target.connectTimeoutMs, security: demands(target) },
    )
    if (connection === undefined) {
      route.close()
      return 'ECONNREFUSED'
    }
    route.ask()
    const bound = this.address
    const isAny = bound === '0.0.0.0' || bound === '::'
    const peer = {
      connection,
      localAddress: isAny ? route.localAddress : bound,
      ports: new Set<number>(),
    }
    this.peers.set(key, peer)
    return peer
  }

  /** Keeps a connection to that peer; lines that are dialled meanwhile share it. */
  pin(target: DialTarget, owner: PinnedLineOwner): PinnedLine {
    const { address, port } = target
    const key = keyOf(target)
    let current: Connection | undefined
    const pin = this.driver.endpoint.pin(
      nowMicros(),
      { socketIndex: 0, address, port },
      {
        opened: (connection, epoch) => {
          current = connection
          connection.owner = { ...connection.owner, silent: () => this.inquire(connection) }
          this.muxOwner.secured(connection.security)
          // Lines may have made one of their own while there was none.
          const isFree = this.peers.get(key)?.connection.isClosed ?? true
          const localAddress = this.reportedLocal(address, port)
          if (isFree) this.peers.set(key, { connection, localAddress, ports: new Set() })
          owner.connected?.(epoch)
        },
        closed: () => {
          if (this.peers.get(key)?.connection === current) this.peers.delete(key)
          this.planClose()
          if (current !== undefined) owner.lost?.()
          current = undefined
        },
      },
      { connectTimeoutMs: target.connectTimeoutMs, security: demands(target) },
    )
    this.pins.add(pin)
    this.refChanged()
    return {
      get isConnected() {
        return pin.connection !== undefined
      },
      get epoch() {
        return pin.epoch
      },
      release: () => {
        pin.release()
        this.pins.delete(pin)
        this.planClose()
      },
    }
  }

  /**
   * Nothing is heard of a peer: its machine may say that nobody is there any more, as a killed
   * program's kernel resets its connections.
   */
  private inquire(connection: Connection): void {
    const { address, port } = connection.remote
    const route = new Route(address, port, address.includes(':') ? 6 : 4, {
      refused: () => connection.lose(CODE_RESET),
      unreachable() {},
    })
    route.ask()
    setTimeout(() => route.close(), INQUIRY_MS).unref()
  }

  /** A port that no live line to this peer reports: the real one first. */
  private choosePort(peer: Peer): number {
    if (!peer.ports.has(this.port)) return this.port
    for (let tries = PORT_FIRST; tries <= PORT_LAST; tries++) {
      const port = this.nextPort
      this.nextPort = port === PORT_LAST ? PORT_FIRST : port + 1
      if (!peer.ports.has(port)) return port
    }
    return this.port
  }

  private adopt(line: UdpLine, peer: Peer, port: number): void {
    peer.ports.add(port)
    this.peerOf.set(line, peer)
    this.lines.add(line)
    this.refChanged()
  }

  private describe(
    localAddress: string,
    localPort: number,
    remoteAddress: string,
    remotePort: number,
  ): LineAddresses {
    if (this.family === 4) {
      return { localAddress, localPort, remoteAddress, remotePort, family: 'IPv4' }
    }
    return {
      localAddress: asIPv6(localAddress),
      localPort,
      remoteAddress: asIPv6(remoteAddress),
      remotePort,
      family: 'IPv6',
    }
  }

  // ── Life ───────────────────────────────────────────────────────────────────────────────────────

  forget(line: UdpLine): void {
    if (!this.lines.delete(line)) return
    this.peerOf.get(line)?.ports.delete(line.addresses.localPort)
    this.peerOf.delete(line)
    // The stream counts as lingering only after this call.
    process.nextTick(() => this.settle())
  }

  /** Sockets keep the process alive while `net` would: see the rules of `Line.setRef`. */
  refChanged(): void {
    if (this.isClosed) return
    const isLingering = this.driver.endpoint.lingering > 0 && !this.hasLingered
    const isWanted = this.isListenerRef || isLingering || this.hasRefLine()
    if (isWanted === this.isRef) return
    this.isRef = isWanted
    this.driver.setRef(isWanted)
  }

  private hasRefLine(): boolean {
    for (const line of this.lines) if (line.isRef) return true
    return false
  }

  /** A line is gone: what it wrote may still be on its way. */
  private settle(): void {
    if (this.isClosed) return
    const isLingering = this.driver.endpoint.lingering > 0
    if (!isLingering) {
      clearTimeout(this.lingerTimer)
      this.lingerTimer = undefined
      this.hasLingered = false
    } else if (this.lingerTimer === undefined) {
      this.lingerTimer = setTimeout(() => {
        this.hasLingered = true
        this.refChanged()
      }, this.lingerMs)
      this.lingerTimer.unref()
    }
    this.refChanged()
    this.planClose()
  }

  private planClose(): void {
    if (this.isUsed) return
    process.nextTick(() => {
      if (!this.isUsed && !this.isClosed) this.close()
    })
  }

  private get isUsed(): boolean {
    return (
      this.listener !== undefined ||
      this.lines.size > 0 ||
      this.peers.size > 0 ||
      this.pins.size > 0 ||
      !this.driver.endpoint.isEmpty
    )
  }

  /** The process ends: every line does what a kernel does with sockets that are left open. */
  leave(): void {
    for (const line of [...this.lines]) line.leave()
    this.close()
  }

  /** Tells all peers and closes the socket, now. */
  close(): void {
    if (this.isClosed) return
    this.muxOwner.closed(this)
    this.isClosed = true
    clearTimeout(this.lingerTimer)
    this.driver.close()
  }
}

/** Lines to one peer share a connection only if they ask the same of it. */
function keyOf(target: DialTarget): string {
  return `${target.address} ${target.port} ${nameOf(demands(target))}`
}

function demands(target: DialTarget): InitiatorDemands {
  return demandsOf(target.security ?? chooseSecurity())
}

/** Addresses that the system would send from, by peer: asking costs a socket. */
const localAddresses = new Map<string, string | undefined>()
const LOCAL_ADDRESSES_MAX = 1024

function localAddressTo(address: string, port: number): string | undefined {
  if (localAddresses.has(address)) return localAddresses.get(address)
  if (localAddresses.size >= LOCAL_ADDRESSES_MAX) localAddresses.clear()
  const nobody = { refused() {}, unreachable() {} }
  const route = new Route(address, port, address.includes(':') ? 6 : 4, nobody)
  route.close()
  localAddresses.set(address, route.localAddress)
  return route.localAddress
}

function asIPv6(address: string): string {
  return address.includes(':') ? address : `::ffff:${address}`
}
