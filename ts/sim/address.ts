import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import { SimulationError } from './errors.ts'
import type { SimNode } from './link.ts'

/** An IP address of the simulated network. There is one object per address: compare with `===`. */
export interface SimIp {
  /** In canonical spelling. */
  readonly address: string
  readonly family: 'IPv4' | 'IPv6'
  /** Bytes of IP and UDP header in front of each payload. */
  readonly headerBytes: number
  /** Who answers to it now: a host, later a NAT. */
  owner: SimNode | undefined
}

/** An IP address and UDP port. There is one object per pair: compare with `===`. */
export interface SimAddress {
  /** Counted from 0 in the order of first use. */
  readonly index: number
  readonly ip: SimIp
  readonly port: number
}

const HEADER_BYTES_IPV4 = 20 + 8
const HEADER_BYTES_IPV6 = 40 + 8

/** Gives each address one object, so that the hot path compares and stores references only. */
export class AddressBook {
  private readonly ips = new Map<string, SimIp>()
  private readonly ports = new Map<SimIp, Map<number, SimAddress>>()
  private count = 0
  // Datagrams come in trains to one destination: most look-ups repeat the one before.
  private lastText = ''
  private last: SimAddress | undefined

  /** Answers the object for an IP literal in any spelling. */
  ip(text: string): SimIp {
    let ip = this.ips.get(text)
    if (ip !== undefined) return ip
    const family = isIPv4(text) ? 'ipv4' : isIPv6(text) ? 'ipv6' : undefined
    if (family === undefined) {
      throw new SimulationError('ERR_PUNCHLINE_SIM_ADDRESS', `"${text}" is not an IP address`)
    }
    const canonical = new SocketAddress({ address: text, family }).address
    ip = this.ips.get(canonical)
    if (ip === undefined) {
      ip =
        family === 'ipv4'
          ? { address: canonical, family: 'IPv4', headerBytes: HEADER_BYTES_IPV4, owner: undefined }
          : { address: canonical, family: 'IPv6', headerBytes: HEADER_BYTES_IPV6, owner: undefined }
      this.ips.set(canonical, ip)
      this.ports.set(ip, new Map())
    }
    this.ips.set(text, ip)
    return ip
  }

  /** Answers the object for an IP literal and a port, 1 … 65,535. */
  address(text: string, port: number): SimAddress {
    const last = this.last
    if (last !== undefined && last.port === port && this.lastText === text) return last
    const address = this.at(this.ip(text), port)
    this.lastText = text
    this.last = address
    return address
  }

  at(ip: SimIp, port: number): SimAddress {
    const ports = this.ports.get(ip) as Map<number, SimAddress>
    let address = ports.get(port)
    if (address === undefined) {
      if (!Number.isInteger(port) || port < 1 || port > 65_535) {
        throw new SimulationError('ERR_PUNCHLINE_SIM_ADDRESS', `${port} is not a UDP port`)
      }
      address = { index: this.count++, ip, port }
      ports.set(port, address)
    }
    return address
  }
}

export function formatAddress(address: SimAddress): string {
  const { ip, port } = address
  return ip.family === 'IPv4' ? `${ip.address}:${port}` : `[${ip.address}]:${port}`
}
