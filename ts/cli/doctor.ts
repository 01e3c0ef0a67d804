/** `punchline doctor`: what this machine offers, and what keeps it from being faster. */
import type { Attempt } from '../../bindings/addon.ts'
import { inspectMachine, type MachineReport } from '../io/index.ts'

/** Gives the exit code: 0 when sockets over UDP work here, else 1. */
export async function doctor(options: { readonly json: boolean }): Promise<number> {
  const report = await inspectMachine()
  console.log(options.json ? JSON.stringify(report, null, 2) : describe(report).join('\n'))
  return report.loopback.available ? 0 : 1
}

const yesOrWhy = ({ available, reason }: Attempt) => (available ? 'yes' : `no (${reason})`)
const kibibytes = (bytes: number) => `${Math.floor(bytes / 1024)} KiB`

function describe(report: MachineReport): string[] {
  const { tiers, addon } = report
  const because = report.backendReason === '' ? '' : ` (${report.backendReason})`
  const mtus = Object.entries(report.mtuBytes).map(([name, bytes]) => `${name} ${bytes}`)
  const rows: [name: string, value: string][] = [
    ['machine', `Node.js ${report.node}, ${report.system}, ${report.cores} cores`],
    ['tier', `${report.backend ?? 'none'}${because}`],
    ['  uring', yesOrWhy(tiers.uring)],
    ['  mmsg', yesOrWhy(tiers.mmsg)],
    ['  dgram', yesOrWhy(tiers.dgram)],
    ['addon', addon.path ?? 'none'],
    ...addon.refused.map(({ path, reason }): [string, string] => ['  not', `${path} ${reason}`]),
    ['segmentation', yesOrWhy(report.segmentation)],
    ['receive offload', yesOrWhy(report.receiveOffload)],
    ['CRC32C', report.crc32c],
    ['AES-128-GCM', report.aes128Gcm.way ?? yesOrWhy(report.aes128Gcm)],
    ['core', report.core],
    ['receive buffer', bufferOf(report.receiveBufferBytes, report)],
    ['send buffer', bufferOf(report.sendBufferBytes, report)],
    ['loopback', yesOrWhy(report.loopback)],
    ['MTU', mtus.join(', ') || 'unknown'],
    ['clock step', `${report.clockStepMicros} µs`],
    ...report.advice.map((text): [string, string] => ['advice', text]),
  ]
  return rows.map(([name, value]) => `${name.padEnd(16)}${value}`)
}

function bufferOf(bytes: number, { wantedBufferBytes }: MachineReport): string {
  return `${kibibytes(bytes)} of ${kibibytes(wantedBufferBytes)}`
}
