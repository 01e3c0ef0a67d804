// slow: all differential scripts several times.
/**
 * The differential scripts over real UDP sockets: encrypted and plain, also with losses and
 * reordering in the driver. PUNCHLINE_LONG=1: on every backend.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { chooseBackend } from '../io/backend.ts'
import { scenarios } from './differential/index.ts'

const run = promisify(execFile)
const file = fileURLToPath(new URL('./differential.test.ts', import.meta.url))
const isLong = process.env['PUNCHLINE_LONG'] === '1'
const badNetwork = { PUNCHLINE_FAULTS: 'loss=2%,reorder=2%' }
const ways: readonly Readonly<Record<string, string>>[] = [
  { PUNCHLINE_SECURITY: 'noise' },
  { PUNCHLINE_SECURITY: 'noise', ...badNetwork },
  { PUNCHLINE_SECURITY: 'none', ...badNetwork },
]

function isAvailable(backend: string): boolean {
  try {
    chooseBackend(backend)
    return true
  } catch (error) {
    console.log(`skipped: ${backend}: ${(error as Error).message}`)
    return false
  }
}

const native = isLong ? ['mmsg', 'uring'].filter(isAvailable) : []
for (const backend of ['dgram', ...native]) {
  for (const way of ways) {
    test(`every script is equal on ${backend}, ${Object.values(way).join(', ')}`, async () => {
      const env = {
        ...process.env,
        PUNCHLINE_TEST_CARRIER: 'udp',
        PUNCHLINE_BACKEND: backend,
        ...way,
      }
      const options = { env, timeout: 120_000, maxBuffer: 1 << 26 }
      const { stdout } = await run(process.execPath, ['--import', 'tsx', file], options)
      assert.match(stdout, new RegExp(`Passed: +${scenarios.length}\\b`))
    })
  }
}

test.run()
