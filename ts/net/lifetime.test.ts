/** A process lives exactly as long over UDP as over TCP. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const run = promisify(execFile)
const register = new URL('../register.ts', import.meta.url).href
const program = fileURLToPath(new URL('./testing/lifetime-program.mjs', import.meta.url))

async function seenBy(transport: 'tcp' | 'udp', args: readonly string[]): Promise<unknown> {
  const imports = ['--import', 'tsx', '--import', register]
  const env = { ...process.env, PUNCHLINE_TRANSPORT: transport }
  const { stdout } = await run(process.execPath, [...imports, program, ...args], {
    env,
    timeout: 60_000,
  })
  return JSON.parse(stdout)
}

const names = (await seenBy('tcp', [])) as string[]

for (const name of names) {
  test(name, async () => {
    const [expected, actual] = await Promise.all([seenBy('tcp', [name]), seenBy('udp', [name])])
    assert.equal(actual, expected)
    assert.not((expected as unknown[]).includes('had to be stopped'))
  })
}

test.run()
