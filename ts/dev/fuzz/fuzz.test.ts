// slow: a copy of the core for each defect
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fuzzPackets } from '../../../bindings/packets.fuzz.ts'
import { DEFECTS } from './targets.ts'

const CLI = fileURLToPath(new URL('./cli.ts', import.meta.url))
const isLong = process.env['PUNCHLINE_LONG'] === '1'
/** Without it the parsers get ten million inputs each, and the boundary a million steps. */
const COUNT = isLong ? [] : ['--short']

/** In a process of its own: branches are counted from the first call, defects are a core's own. */
function run(...args: readonly string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', CLI, ...args],
    { encoding: 'utf8' },
  )
  return { status, text: stdout + stderr }
}

test('no parser minds what it is given, and all of it is reached; nor does the boundary', () => {
  const { status, text } = run(...COUNT)
  assert.is(status, 0, text)
  // Nine parsers and the boundary, at least 95 % of the branches of each: the status says so.
  const shares = [...text.matchAll(/ ([\d.]+) %$/gm)].map(([, share]) => Number(share))
  assert.is(shares.length, 10, text)
  assert.match(text, /^boundary +\d+ /m)
})

for (const [name, { target }] of Object.entries(DEFECTS)) {
  test(`finds a core with the defect ${name}`, () => {
    const { status, text } = run('--short', '--target', target, '--defect', name)
    assert.is(status, 1, text)
    assert.match(text, new RegExp(`FAILED ${target}: .*(out of bounds|core: |accesses)`))
  })
}

test('the input that is printed does it again, and only to the core that has the defect', () => {
  const args = ['--short', '--target', 'frame', '--defect', 'long-stream-frame']
  const input = /--input (\S+)/.exec(run(...args).text)?.[1] as string
  assert.match(run(...args, '--input', input).text, /FAILED/)
  assert.match(run('--target', 'frame', '--input', input).text, /nothing happens/)
})

test('connections whose packets are changed on the way leave nothing behind', async () => {
  const seeds = isLong ? 2_000 : 15
  const codes = new Set<number>()
  for (let seed = 1; seed <= seeds; seed++) {
    const { mutated, ends } = await fuzzPackets(seed)
    assert.ok(mutated > 50)
    for (const code of ends.keys()) codes.add(code)
  }
  assert.ok(codes.size > 8, [...codes].join(' '))
})

test.run()
