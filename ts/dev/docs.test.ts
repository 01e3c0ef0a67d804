/** What the documents say is what the code does. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { punchlineErrorCodes } from '../errors.ts'
import { SIMULATION_ERROR_CODES } from '../sim/errors.ts'

const PAGES = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md']

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('every error code has a row in docs/errors.md, and no row is left over', () => {
  const rows = [...read('docs/errors.md').matchAll(/^\| `(ERR_[A-Z_]+)` \|/gm)].map((row) => row[1])
  const codes = [...Object.keys(punchlineErrorCodes), ...Object.keys(SIMULATION_ERROR_CODES)]
  assert.equal(rows.sort(), codes.sort())
})

test('commands named in the documents exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }
  for (const path of PAGES) {
    for (const [, name] of read(path).matchAll(/npm (?:run )?(?:-s )?([a-z:]+)/g)) {
      if (name === 'install') continue
      assert.ok((name as string) in scripts, `${path}: npm run ${name}`)
    }
  }
})

test('tests that SECURITY.md names as proof exist', () => {
  const names = [...read('SECURITY.md').matchAll(/`([\w/-]+\.test\.ts)`/g)].map(([, name]) => name)
  assert.ok(names.length > 5)
  for (const name of names) assert.not.throws(() => read(name as string), name)
})

test('files that the documents link to exist', () => {
  for (const path of [
    ...PAGES,
    'docs/protocol.md',
    'docs/errors.md',
    'docs/from-net.md',
    'docs/sim.md',
  ]) {
    const folder = path.includes('/') ? 'docs/' : ''
    for (const [, target] of read(path).matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)) {
      const url = new URL(`../../${folder}${target}`, import.meta.url)
      assert.not.throws(() => readFileSync(url), `${path}: ${target}`)
    }
  }
})

// As a user would run them: in a process of their own, against what is built.
for (const [index, [, code = '']] of [
  ...read('docs/sim.md').matchAll(/^```js\n(.*?)^```$/gms),
].entries()) {
  test(`example ${index + 1} of docs/sim.md does what it says`, () => {
    const args = ['--input-type=module', '--eval', code]
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' })
    assert.is(status, 0, stderr)
  })
}

test.run()
