/** The carrier of real sockets: the UDP transport over this process's UDP sockets. */
import { networkInterfaces } from 'node:os'
import { MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MAX } from '../../bindings/core.ts'
import { PunchlineError } from '../errors.ts'
import { Loop, type UdpBinding } from '../io/index.ts'
import type { EndpointCounters, EndpointOptionsGiven, SecurityInfo } from '../transport/index.ts'
import { netRegistry } from './carrier.ts'
import type {
  Carrier,
  DialTarget,
  Line,
  LineOwner,
  Listener,
  ListenerOwner,
  ListenTarget,
  PinnedLine,
  PinnedLineOwner,
} from './line.ts'
import { chooseSecurity } from './security-choice.ts'
import { listenException, type SystemError } from './system-errors.ts'
import { UdpLine } from './udp-line.ts'
import { type MuxOwner, UdpMux } from './udp-mux.ts'

/** How long a process that ends by itself waits for written bytes to be acknowledged. */
const LINGER_MS = 5_000

/** Sums over all UDP sockets of the process, past and present. */
export type CarrierTotals = EndpointCounters & { readonly faultsDropped: number }

/** @internal What all endpoints of the process share: twice what one may hold, as far as that goes. */
export function memoryForAll({ memoryBytes = 0 }: EndpointOptionsGiven): number {
  // What is no number is found out, and told, when a socket is bound.
  const wanted = Number.isInteger(memoryBytes) ? 2 * memoryBytes : 0
  return Math.min(Math.max(wanted, MEMORY_BYTES_DEFAULT), MEMORY_BYTES_MAX)
}

export class UdpCarrier implements Carrier, MuxOwner {
  private readonly loop = new Loop({ memoryBytes: memoryForAll(netRegistry().endpoint) })
  private readonly muxes = new Set<UdpMux>()
  /** The default client endpoint of each address family. */
  private readonly clients = new Map<4 | 6, UdpMux>()
  private readonly ciphers = new Set<string>()
  private readonly past: Record<string, number> = {}

  constructor() {
    // What can still be sent when the program calls process.exit(): one flush and a farewell.
    process.on('exit', () => {
      for (const mux of [...this.muxes]) mux.leave()
    })
  }

  dial(target: DialTarget, owner: LineOwner): Line {
    const line = this.dialOver(target)
    line.owner = owner
    return line
  }

  pin({ address, ...rest }: DialTarget, owner: PinnedLineOwner): PinnedLine {
    const target = { ...rest, address: loopbackFor.get(address) ?? address }
    return this.muxFor(target).pin(target, owner)
  }

  private dialOver({ address, ...rest }: DialTarget): Line {
    // As the kernel connects to "any" address: to this machine.
    const target = { ...rest, address: loopbackFor.get(address) ?? address }
    try {
      return this.muxFor(target).dial(target)
    } catch (error) {
      // How the process was set up is wrong, or the caller's choice of a local half.
      const isChosen = target.localAddress !== undefined || target.localPort !== undefined
      if (error instanceof PunchlineError || isChosen) throw error
      const { code } = error as SystemError
      const path = {
        localAddress: target.localAddress ?? '',
        localPort: target.localPort ?? 0,
        remoteAddress: target.address,
        remotePort: target.port,
        family: target.family === 4 ? 'IPv4' : 'IPv6',
      } as const
      const line = new UdpLine(NO_HOME, path, path, false)
      line.fail(bindRefusal(code), error as Error)
      return line
    }
  }

  private muxFor(target: DialTarget): UdpMux {
    const { family, localAddress, localPort } = target
    const any = family === 4 ? '0.0.0.0' : '::'
    if (localAddress !== undefined || localPort !== undefined) {
      return this.open({ address: localAddress ?? any, port: localPort ?? 0, family })
    }
    let mux = this.clients.get(family)
    if (mux === undefined) {
      mux = this.open({ address: any, port: 0, family, ipv6Only: family === 6 })
      this.clients.set(family, mux)
    }
    return mux
  }

  listen(target: ListenTarget, owner: ListenerOwner): Listener {
    const mux = this.listeningMux(target)
    mux.listen(owner, target.security ?? chooseSecurity())
    const address = {
      address: mux.address,
      family: mux.family === 4 ? 'IPv4' : 'IPv6',
      port: mux.port,
    } as const
    let isOpen = true
    return {
      address,
      get ports() {
        return mux.ports
      },
      close: () => {
        if (isOpen) mux.unlisten()
        isOpen = false
      },
      setRef: (isRef) => {
        if (isOpen) mux.setListenerRef(isRef)
      },
    }
  }

  private listeningMux(target: ListenTarget): UdpMux {
    const { port, ipv6Only = false, reusePort = false, morePorts = [] } = target
    const address = target.address ?? (hasIPv6() ? '::' : '0.0.0.0')
    if (port !== 0) {
      // A listener was closed, its sockets live on: the port is still ours.
      const orphan = [...this.muxes].find(
        (mux) => mux.port === port && mux.address === address && !this.isClient(mux),
      )
      if (orphan !== undefined && !orphan.hasListener) return orphan
    }
    const family = address.includes(':') ? 6 : 4
    try {
      const binding = { address, port, family, ipv6Only, reusePort } as const
      return this.open(
        binding,
        morePorts.map((each) => ({ ...binding, port: each })),
      )
    } catch (error) {
      if (error instanceof PunchlineError) throw error
      const { code, port: taken = port } = error as SystemError
      throw listenException(code, { address, port: taken }, error as Error)
    }
  }

  private isClient(mux: UdpMux): boolean {
    return this.clients.get(mux.family) === mux
  }

  private open(binding: UdpBinding, more: readonly UdpBinding[] = []): UdpMux {
    const mux = new UdpMux({ loop: this.loop, binding, more }, this, LINGER_MS)
    this.muxes.add(mux)
    return mux
  }

  closed(mux: UdpMux): void {
    for (const [name, value] of Object.entries(mux.counters())) {
      this.past[name] = (this.past[name] ?? 0) + value
    }
    this.muxes.delete(mux)
    if (this.isClient(mux)) this.clients.delete(mux.family)
  }

  secured(info: SecurityInfo | undefined): void {
    if (info !== undefined) this.ciphers.add(info.cipher)
  }

  /** Ciphers of all connections so far. */
  get security(): string {
    return [...this.ciphers].join(', ') || 'none'
  }

  /** Which tier carries datagrams; 'none' before the first socket. */
  get backend(): string {
    return this.loop.backend ?? 'none'
  }

  get backendReason(): string {
    return this.loop.backendReason
  }

  totals(): CarrierTotals {
    const totals: Record<string, number> = { ...this.past }
    for (const mux of this.muxes) {
      for (const [name, value] of Object.entries(mux.counters())) {
        totals[name] = (totals[name] ?? 0) + value
      }
    }
    return totals as CarrierTotals
  }
}

const loopbackFor: ReadonlyMap<string, string> = new Map([
  ['0.0.0.0', '127.0.0.1'],
  ['::', '::1'],
])

const NO_HOME = { backend: 'none', backendReason: 'not bound', forget() {}, refChanged() {} }

function bindRefusal(code: string) {
  if (code === 'EADDRINUSE' || code === 'EADDRNOTAVAIL' || code === 'EACCES') return code
  return 'EINVAL'
}

let ipv6: boolean | undefined

/** Whether this machine has IPv6 at all. */
function hasIPv6(): boolean {
  ipv6 ??= Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some((address) => address.family === 'IPv6'),
  )
  return ipv6
}
