// slow: thousands of sockets.
/**
 * 1,000 sockets at a time, opened, used and destroyed in random order and ways: no crash, no error
 * that cannot happen, nothing left behind, and the process ends by itself. PUNCHLINE_LONG=1: for 60
 * seconds, on every backend. `SWARM_SEED=7 node --import tsx ts/net/swarm.test.ts` repeats a run.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const run = promisify(execFile)
const program = fileURLToPath(new URL('./testing/swarm-program.ts', import.meta.url))
const isLong = process.env['PUNCHLINE_LONG'] === '1'
const seed = process.env['SWARM_SEED'] ?? String(1 + (Date.now() % 1_000_000))
// What the runtime itself keeps: a few bytes per socket would be more.
const heapGrowthMax = (isLong ? 4 : 1.5) * 1024 * 1024

interface Outcome {
  readonly waves: number
  readonly opened: number
  readonly connected: number
  readonly received: number
  readonly illegal: readonly string[]
  readonly heapGrowth: number
}

for (const backend of isLong ? ['uring', 'mmsg', 'dgram'] : ['', 'dgram']) {
  test(`sockets in random order and ways, ${backend || 'the best backend'}`, async () => {
    const env = {
      ...process.env,
      PUNCHLINE_BACKEND: backend,
      SWARM_SEED: seed,
      SWARM_SOCKETS: '1000',
      SWARM_SECONDS: isLong ? '60' : '0',
    }
    const { stdout } = await run(process.execPath, ['--expose-gc', '--import', 'tsx', program], {
      env,
      timeout: isLong ? 180_000 : 60_000,
    })
    const outcome = JSON.parse(stdout) as Outcome
    const again = `SWARM_SEED=${seed}: ${stdout}`
    assert.equal(outcome.illegal, [], again)
    assert.ok(outcome.connected > outcome.waves * 100 && outcome.received > 1e6, again)
    assert.ok(outcome.heapGrowth < heapGrowthMax, again)
  })
}

test.run()
