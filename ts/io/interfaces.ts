/**
 * How large a packet may be that `node:dgram` sends: it can't forbid that datagrams are cut on their
 * way, so what is larger than the interface carries would arrive in pieces, and probes would say
 * that it fits.
 */
import { readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { nowMicros } from './clock.ts'

/** IP's own limit for a UDP payload. */
const PAYLOAD_MAX = 65_507
/** Of interfaces that the system does not speak about. */
const MTU_USUAL = 1_500
const HEADERS_V4 = 28
const HEADERS_V6 = 48
/** Interfaces are looked at again after so long. */
const LIFE_MICROS = 1_000_000

interface Interfaces {
  readonly at: number
  readonly addresses: ReadonlySet<string>
  /** The narrowest of those that lead to other machines. */
  readonly mtuBytes: number
}

let known: Interfaces | undefined

/** Largest UDP payload for that address: which interface leads there is not known, so the least. */
export function interfacePacketBytes(address: string): number {
  if (known === undefined || nowMicros() - known.at > LIFE_MICROS) known = look()
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '')
  if (/^127\./.test(plain) || known.addresses.has(plain)) return PAYLOAD_MAX
  return known.mtuBytes - (plain.includes(':') ? HEADERS_V6 : HEADERS_V4)
}

function look(): Interfaces {
  const entries = Object.entries(networkInterfaces())
  const infos = entries.flatMap(([name, list]) => (list ?? []).map((info) => ({ name, info })))
  const mtus = infos.filter(({ info }) => !info.internal).map(({ name }) => mtuOf(name))
  return {
    at: nowMicros(),
    addresses: new Set(infos.map(({ info }) => info.address)),
    mtuBytes: mtus.length === 0 ? MTU_USUAL : Math.min(...mtus),
  }
}

/** Linux says it in a file; elsewhere nothing that needs no native code does. */
function mtuOf(name: string): number {
  if (process.platform !== 'linux') return MTU_USUAL
  try {
    const mtu = Number(readFileSync(`/sys/class/net/${name}/mtu`, 'utf8'))
    return mtu >= 576 ? mtu : MTU_USUAL
  } catch {
    return MTU_USUAL
  }
}
