import { networkInterfaces } from 'node:os'

/** Numbers of the machine's interfaces, by name: the zones of link-local addresses. */
export function zoneNumbers(): Map<string, number> {
  const zones = new Map<string, number>()
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const address of addresses ?? []) {
      if (address.family === 'IPv6' && address.scopeid !== 0) zones.set(name, address.scopeid)
    }
  }
  return zones
}
