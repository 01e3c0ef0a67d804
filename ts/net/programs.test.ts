/** Unmodified programs under `punchline/register`: what they do over TCP they do over UDP. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { StatsFile } from './stats-file.ts'

const run = promisify(execFile)
const register = new URL('../register.ts', import.meta.url).href

interface Outcome {
  readonly output: unknown
  readonly stats: StatsFile
}

async function runProgram(name: string, transport: 'tcp' | 'udp', faults = ''): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'punchline-'))
  const statsFile = join(folder, 'stats.json')
  const program = fileURLToPath(new URL(`./testing/${name}-program.mjs`, import.meta.url))
  try {
    const { stdout } = await run(
      process.execPath,
      ['--import', 'tsx', '--import', register, program],
      {
        timeout: 120_000,
        env: {
          ...process.env,
          PUNCHLINE_TRANSPORT: transport,
          PUNCHLINE_FAULTS: faults,
          PUNCHLINE_STATS: statsFile,
        },
      },
    )
    const stats = JSON.parse(readFileSync(statsFile, 'utf8')) as StatsFile
    return { output: JSON.parse(stdout), stats }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The same output over TCP, over UDP and over UDP that loses packets; and UDP it was. */
async function compare(name: string): Promise<unknown> {
  const tcp = await runProgram(name, 'tcp')
  assert.is(tcp.stats.totals['packetsSent'], 0)
  const udp = await runProgram(name, 'udp')
  assert.equal(udp.output, tcp.output)
  assert.ok((udp.stats.totals['packetsSent'] as number) > 0)
  const lossy = await runProgram(name, 'udp', 'loss=10%,reorder=5%')
  assert.equal(lossy.output, tcp.output)
  assert.ok((lossy.stats.totals['faultsDropped'] as number) > 0)
  return udp.output
}

test('http: 1,000 requests on 10 kept-alive connections', async () => {
  assert.equal(await compare('http'), { right: 1000, connections: 10 })
})

test('ws: an echo of messages of all frame sizes', async () => {
  assert.equal(await compare('ws'), { right: 9, sizes: 9, code: 1000 })
})

test('tls over our sockets: 300,000 bytes back after a half-close', async () => {
  const expected = { size: 300_000, isEqual: true, authorized: true, protocol: 'TLSv1.3' }
  assert.equal(await compare('tls'), expected)
})

test.run()
