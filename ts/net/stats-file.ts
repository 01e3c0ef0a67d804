/** `PUNCHLINE_STATS=FILE`: what the transport did in this process, as JSON, written at exit. */
import { writeFileSync } from 'node:fs'
import { netRegistry } from './carrier.ts'

/** Content of the file. Totals are zero or absent when nothing went over UDP. */
export interface StatsFile {
  readonly pid: number
  readonly transport: 'udp'
  readonly backend: string
  readonly backendReason: string
  readonly security: string
  readonly totals: Readonly<Record<string, number>>
}

/** Writes the file when the process exits; a file that can't be written is said on stderr. */
export function writeStatsAtExit(path: string): void {
  process.on('exit', () => {
    try {
      writeFileSync(path, `${JSON.stringify(statsOfProcess())}\n`)
    } catch (error) {
      console.error(`PUNCHLINE_STATS: ${(error as Error).message}`)
    }
  })
}

function statsOfProcess(): StatsFile {
  const { carrier } = netRegistry()
  const counters = carrier?.totals?.() ?? {}
  const dropped = Object.entries(counters).filter(([name]) => name.startsWith('dropped'))
  return {
    pid: process.pid,
    transport: 'udp',
    backend: carrier?.backend ?? 'none',
    backendReason: carrier?.backendReason ?? '',
    security: carrier?.security ?? 'none',
    totals: {
      ...counters,
      packetsSent: counters['datagramsSent'] ?? 0,
      packetsReceived: counters['datagramsReceived'] ?? 0,
      packetsDropped: dropped.reduce((sum, [, count]) => sum + count, 0),
    },
  }
}
