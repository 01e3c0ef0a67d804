// slow: each sample takes two processes
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Row } from './lib/comparison.ts'
import type { LinkRow } from './link/comparison.ts'
import { missingForLink } from './link/emulator.ts'

const LIMIT_MS = 120_000

const folder = mkdtempSync(join(tmpdir(), 'bench-test-'))
test.after(() => rmSync(folder, { recursive: true, force: true }))

/** Runs `npm run bench` without npm. */
function run(args: readonly string[]): Promise<{ code: number | null; output: string }> {
  const path = fileURLToPath(new URL('./run.ts', import.meta.url))
  const child = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), path, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, output })))
}

test('measures net and dgram in every scenario, and writes what it found', async () => {
  const json = join(folder, 'result.json')
  const { code, output } = await run([
    ...['stream', 'pingpong', 'connections'],
    ...['--parties', 'net,dgram', '--rounds', '1', '--seconds', '0.2', '--warmup', '0.05'],
    ...['--connections', '100', '--json', json],
  ])
  assert.is(code, 0, output)
  const report = JSON.parse(readFileSync(json, 'utf8'))
  assert.is(report.environment.node, process.version)
  assert.equal(
    report.results.map(({ order }: { order: { scenario: string } }) => order.scenario),
    ['stream', 'pingpong', 'connections'],
  )
  for (const { rows } of report.results as { rows: Row[] }[]) {
    assert.equal(
      rows.map(({ party, failures, samples }) => [party, failures, samples.length]),
      [
        ['net', [], 1],
        ['dgram', [], 1],
      ],
    )
    for (const { figures } of rows) {
      const rate = figures.find(({ name }) => name === 'rate')
      assert.ok((rate?.median ?? 0) > 0)
      const cpu = figures.find(({ name }) => name === 'CPU')
      assert.ok((cpu?.median ?? 0) > 0)
    }
    const ratio = rows[0]?.figures.find(({ name }) => name === 'rate')?.ratio
    assert.is(ratio, 1)
  }
  assert.match(output, /^Node\.js v/)
  assert.match(output, /party +n +rate MB\/s +x +CPU s\/GB +x/)
  assert.match(output, /party +n +p50 µs +x +p99 µs +x/)
  assert.match(output, 'dgram: window')
})

test('carries the kernel and us over a link, or says why not', async () => {
  const json = join(folder, 'link.json')
  const { code, output } = await run([
    ...['link', 'wan50-5', '--parties', 'bbr,punchline@dgram'],
    ...['--rounds', '1', '--seconds', '0.6', '--json', json],
  ])
  assert.is(code, 0, output)
  const missing = missingForLink()
  const { results } = JSON.parse(readFileSync(json, 'utf8'))
  assert.is(results.length, 1)
  for (const { party, samples, skipped } of results[0].rows as LinkRow[]) {
    assert.is(skipped ?? '', missing)
    if (missing !== '') {
      assert.match(output, `${party}: skipped: ${missing}`)
      continue
    }
    const [sample] = samples
    assert.is(samples.length, 1)
    assert.ok(Number(sample?.goodputs[0]) > 0)
    // Five of a hundred, and each of them has to be sent again.
    assert.ok(Number(sample?.link.there.losses) > 0)
    assert.ok(Number(sample?.resent) > 0)
  }
})

test('measures between network namespaces, or says what is missing', async () => {
  const json = join(folder, 'veth.json')
  const { code, output } = await run([
    ...['stream', '--veth', '--parties', 'net,punchline', '--rounds', '1'],
    ...['--seconds', '0.2', '--warmup', '0.05', '--json', json],
  ])
  assert.is(code, 0, output)
  const { results } = JSON.parse(readFileSync(json, 'utf8'))
  if (results.length === 0) return assert.match(output, /^skipped: ip netns/m)
  for (const { samples, failures } of results[0].rows as Row[]) {
    assert.equal(failures, [])
    assert.ok(Number(samples[0]?.workPerSecond) > 0)
  }
})

test('fails when a party brings wrong bytes', async () => {
  const party = fileURLToPath(new URL('./fixtures/faulty-party.ts', import.meta.url))
  const { code, output } = await run([
    '--parties',
    party,
    '--rounds',
    '1',
    '--seconds',
    '0.1',
    '--warmup',
    '0',
  ])
  assert.is(code, 1)
  assert.match(output, /faulty-party\.ts: FAILED: round 1: wrong bytes in \d+ of \d+ samples/)
})

test('explains options that it does not understand', async () => {
  const wrong: [args: string[], reason: string][] = [
    [['sprint'], 'no scenario "sprint": there are stream, datagrams, pingpong, connections, link'],
    [['link', 'moon'], 'no profile "moon": there are lan, broadband, wan50'],
    [['--parties', 'net,pigeon'], 'no party "pigeon": there are net, tls, dgram'],
    [['--rounds', '0'], '--rounds is an integer from 1 to 1000'],
    [['--seconds', 'x'], '--seconds is a number of seconds'],
    [['--connections', '100000'], '--connections is an integer from 1 to 10000'],
  ]
  for (const [args, reason] of wrong) {
    const { code, output } = await run(args)
    assert.is(code, 2)
    assert.ok(output.includes(reason), output)
  }
})

test.run()
