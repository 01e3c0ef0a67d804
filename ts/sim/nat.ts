import type { Micros } from '../machine.ts'
import type { SimAddress, SimIp } from './address.ts'
import type { Datagram } from './datagram.ts'
import { FATE, FATES, type Fate } from './event-log.ts'
import type { Fabric, Station } from './fabric.ts'
import type { Link, SimNode } from './link.ts'
import type { SeededRandom } from './random.ts'

/**
 * What a NAT's behaviour depends on beside the inside address and port: nothing of the remote side,
 * its address, or its address and port (RFC 4787 §4.1 for mapping, §5 for filtering).
 */
export type NatScope = 'endpoint' | 'address' | 'address-and-port'

/** How a NAT behaves, in the words of RFC 4787. The two scopes make up the nine classic kinds. */
export interface NatOptions {
  /** When two destinations share one outside port. Default 'endpoint' ("endpoint-independent"). */
  readonly mapping?: NatScope
  /** Who may send in through a mapping. Default 'address-and-port', the strictest. */
  readonly filtering?: NatScope
  /**
   * Silence after which a mapping is forgotten, µs. Default 120 s, the least that §4.3 allows. Many
   * real ones forget UDP after 30 s.
   */
  readonly mappingTimeoutMicros?: Micros
  /** Whether what comes in keeps a mapping alive, too (§4.3, REQ-6). Default false. */
  readonly refreshesOnInbound?: boolean
  /** Outside ports: the inside one when it is free, the next one, or any. Default 'preserving'. */
  readonly ports?: 'preserving' | 'sequential' | 'random'
  /** Whether inside hosts reach each other by their outside addresses (§6). Default false. */
  readonly hairpins?: boolean
  /** Mappings at a time; a further one pushes out the oldest. Default 65,536 − 1,024. */
  readonly mappingsMax?: number
}

const PORT_FIRST = 1_024
const PORT_COUNT = 65_536 - PORT_FIRST

interface Mapping {
  readonly key: string
  readonly inside: SimAddress
  readonly outside: SimAddress
  /** Remote addresses that were sent to, by the text of the filter's scope. */
  readonly permitted: Set<string>
  usedAt: Micros
}

/**
 * A network address translator between the hosts behind it and the hub. Inside addresses are unique
 * in the whole world: two NATs can't use the same ones.
 */
export class Nat implements Station, SimNode {
  readonly index: number
  readonly name: string
  readonly ips: readonly SimIp[]
  /** By `FATE`: 'unmapped' and 'filtered' are what it did not let in. */
  readonly counts = new Float64Array(FATES.length)
  /** Where the hosts behind it send to. */
  readonly inside: SimNode = { receive: (datagram) => this.translateOutbound(datagram) }

  private readonly fabric: Fabric
  private readonly random: SeededRandom
  private readonly uplink: Link
  private readonly options: Required<NatOptions>
  private readonly hosts = new Map<SimNode, Link>()
  /** In the order of creation. */
  private readonly byInside = new Map<string, Mapping>()
  private readonly byOutside = new Map<SimAddress, Mapping>()
  private ip: SimIp
  private nextPort: number
  /** A port that was preserved once would be preserved again, and nothing would have changed. */
  private isRebooted = false

  /** @internal Worlds make NATs. */
  constructor(context: {
    fabric: Fabric
    name: string
    ips: readonly SimIp[]
    random: SeededRandom
    makeUplink: (nat: Nat) => Link
    options: NatOptions
  }) {
    this.fabric = context.fabric
    this.index = context.fabric.nextStationIndex()
    this.name = context.name
    this.ips = context.ips
    this.ip = context.ips[0] as SimIp
    this.random = context.random
    this.options = {
      mapping: 'endpoint',
      filtering: 'address-and-port',
      mappingTimeoutMicros: 120e6,
      refreshesOnInbound: false,
      ports: 'preserving',
      hairpins: false,
      mappingsMax: PORT_COUNT,
      ...context.options,
    }
    this.nextPort = PORT_FIRST + this.random.below(PORT_COUNT)
    for (const ip of context.ips) ip.owner = this
    this.uplink = context.makeUplink(this)
  }

  /** Mappings that have not been forgotten. */
  get mappingCount(): number {
    return [...this.byInside.values()].filter((mapping) => !this.isExpired(mapping)).length
  }

  /** How many datagrams had the given fate at this NAT. */
  count(fate: Fate): number {
    return this.counts[FATE[fate]] as number
  }

  /**
   * Forgets every mapping, as after a power cut; the next ones get other ports, and with several
   * outside addresses the next address.
   */
  reboot(): void {
    this.byInside.clear()
    this.byOutside.clear()
    this.ip = this.ips[(this.ips.indexOf(this.ip) + 1) % this.ips.length] as SimIp
    this.nextPort = PORT_FIRST + this.random.below(PORT_COUNT)
    this.isRebooted = true
  }

  /** @internal A host behind it, and the link down to it. */
  connect(host: SimNode, down: Link): void {
    this.hosts.set(host, down)
  }

  /** What comes from outside. */
  receive(datagram: Datagram): void {
    const mapping = this.byOutside.get(datagram.to as SimAddress)
    if (mapping === undefined || this.isExpired(mapping)) {
      this.fabric.end(FATE.unmapped, this, datagram)
    } else if (!mapping.permitted.has(scoped(this.options.filtering, datagram.from))) {
      this.fabric.end(FATE.filtered, this, datagram)
    } else {
      if (this.options.refreshesOnInbound) mapping.usedAt = this.fabric.now
      datagram.to = mapping.inside
      this.sendDown(datagram)
    }
  }

  private translateOutbound(datagram: Datagram): void {
    const { options, fabric } = this
    const { from, to } = datagram
    const owner = to?.ip.owner
    if (owner !== undefined && this.hosts.has(owner)) {
      this.sendDown(datagram) // Neighbours behind one NAT see each other's own addresses.
      return
    }
    const mapping = this.mappingFor(from as SimAddress, to as SimAddress)
    mapping.usedAt = fabric.now
    mapping.permitted.add(scoped(options.filtering, to))
    datagram.from = mapping.outside
    if (owner !== this) this.uplink.send(datagram)
    else if (options.hairpins) this.receive(datagram)
    else fabric.end(FATE.filtered, this, datagram)
  }

  private sendDown(datagram: Datagram): void {
    const host = datagram.to?.ip.owner as SimNode
    ;(this.hosts.get(host) as Link).send(datagram)
  }

  private mappingFor(inside: SimAddress, remote: SimAddress): Mapping {
    const key = `${inside.index} ${scoped(this.options.mapping, remote)}`
    const known = this.byInside.get(key)
    if (known !== undefined && !this.isExpired(known)) return known
    if (known !== undefined) this.forget(known)
    if (this.byInside.size >= this.options.mappingsMax) {
      for (const oldest of this.byInside.values()) {
        this.forget(oldest)
        break
      }
    }
    const outside = this.choosePort(inside.port)
    const mapping = { key, inside, outside, permitted: new Set<string>(), usedAt: this.fabric.now }
    this.byInside.set(key, mapping)
    this.byOutside.set(outside, mapping)
    return mapping
  }

  private choosePort(insidePort: number): SimAddress {
    const { addresses } = this.fabric
    const isPreserving = this.options.ports === 'preserving' && !this.isRebooted
    if (isPreserving && insidePort >= PORT_FIRST) {
      const outside = addresses.at(this.ip, insidePort)
      if (this.isFree(outside)) return outside
    }
    if (this.options.ports === 'random') this.nextPort = PORT_FIRST + this.random.below(PORT_COUNT)
    for (;;) {
      const outside = addresses.at(this.ip, this.nextPort)
      this.nextPort = this.nextPort === 65_535 ? PORT_FIRST : this.nextPort + 1
      if (this.isFree(outside)) return outside
    }
  }

  private isFree(outside: SimAddress): boolean {
    const holder = this.byOutside.get(outside)
    if (holder === undefined) return true
    if (!this.isExpired(holder)) return false
    this.forget(holder)
    return true
  }

  private forget(mapping: Mapping): void {
    this.byInside.delete(mapping.key)
    this.byOutside.delete(mapping.outside)
  }

  private isExpired(mapping: Mapping): boolean {
    return this.fabric.now - mapping.usedAt >= this.options.mappingTimeoutMicros
  }
}

/** What of a remote address counts. */
function scoped(scope: NatScope, remote: SimAddress | undefined): string {
  if (scope === 'endpoint' || remote === undefined) return ''
  return scope === 'address' ? remote.ip.address : `${remote.ip.address} ${remote.port}`
}
