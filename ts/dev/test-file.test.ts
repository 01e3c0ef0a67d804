// slow: waits for processes that do not end
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { runTestFile } from './test-file.ts'

// Below the checkout, so that the scripts find uvu and tsx.
const root = fileURLToPath(new URL('../../', import.meta.url))
const folder = mkdtempSync(join(root, 'build/test-file-'))
test.after(() => rmSync(folder, { recursive: true }))

async function run(name: string, source: string, limitMs = 60_000) {
  const file = join(folder, `${name}.ts`)
  writeFileSync(file, source)
  return await runTestFile({ file, root, env: process.env, limitMs })
}

const TWO_CASES = `
  import { suite, test } from 'uvu'
  test('first', () => {})
  test.run()
  const other = suite('other')
  other('second', () => { console.log(process.env.NO_COLOR) })
  other.run()
`

test('sums the cases of all suites of a file', async () => {
  const { passed, failed, output } = await run('passes', TWO_CASES)
  assert.equal([passed, failed], [2, 0])
  assert.match(output, '1\n')
})

test('counts failed cases and keeps what was printed', async () => {
  const source = `
    import { test } from 'uvu'
    test('good', () => {})
    test('bad', () => { throw new Error('the reason') })
    test.run()
  `
  const { passed, failed, output } = await run('fails', source)
  assert.equal([passed, failed], [1, 1])
  assert.match(output, 'the reason')
})

test('counts a case that was left out as failed', async () => {
  const source = `import { test } from 'uvu'\ntest('runs', () => {})\ntest${'.skip'}('not', () => {})\ntest.run()`
  const { passed, failed } = await run('skips', source)
  assert.equal([passed, failed], [1, 1])
})

test('counts a file that crashes, exits badly or runs nothing as failed', async () => {
  const sources = {
    throws: `throw new Error('top level')`,
    exits: `${TWO_CASES}\nprocess.on('exit', () => { process.exitCode = 3 })`,
    nothing: `import { test } from 'uvu'\ntest('never run', () => {})`,
    rejects: `Promise.reject(new Error('nobody waits'))`,
  }
  for (const [name, source] of Object.entries(sources)) {
    assert.is((await run(name, source)).failed, 1, name)
  }
})

test('kills a file that does not end, with the processes it started', async () => {
  const source = `
    import { spawn } from 'node:child_process'
    spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' })
    setInterval(() => {}, 1000)
  `
  // The grandchild holds the pipes: that this returns at all shows that it is gone.
  const { failed, output } = await run('hangs', source, 3000)
  assert.is(failed, 1)
  assert.match(output, 'killed after 3000 ms')
})

test.run()
