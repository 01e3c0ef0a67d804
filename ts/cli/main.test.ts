/** The command line, as it is installed. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { PACKAGE_ROOT } from '../../bindings/package-root.cjs'
import type { MachineReport } from '../io/index.ts'

const PROGRAM = join(PACKAGE_ROOT, 'dist/cjs/ts/cli/main.js')

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], {
    encoding: 'utf8',
    env: { ...process.env, PUNCHLINE_BACKEND: '', ...env },
  })
  return { status, stdout, stderr }
}

function doctor(env: NodeJS.ProcessEnv = {}): { status: number | null; report: MachineReport } {
  const { status, stdout, stderr } = run(['doctor', '--json'], env)
  assert.is(stderr, '')
  return { status, report: JSON.parse(stdout) }
}

test('doctor reports what works, for people and for programs', () => {
  const { status, report } = doctor()
  assert.is(status, 0)
  assert.equal(report.loopback, { available: true, reason: 'ok' })
  const fastest = (['uring', 'mmsg', 'dgram'] as const).find((tier) => report.tiers[tier].available)
  assert.is(report.backend, fastest)
  assert.ok(report.receiveBufferBytes > 0 && report.clockStepMicros > 0)
  if (process.platform === 'linux') assert.ok((report.mtuBytes['lo'] ?? 0) >= 1500)
  const text = run(['doctor'])
  assert.is(text.status, 0)
  assert.match(text.stdout, new RegExp(`^tier +${fastest}`, 'm'))
  for (const advice of report.advice) assert.ok(text.stdout.includes(advice))
})

test('doctor says why a tier is missing, and what to do', () => {
  const { status, report } = doctor({ PUNCHLINE_NATIVE: '0' })
  assert.is(status, 0)
  assert.is(report.backend, 'dgram')
  assert.equal(report.tiers.mmsg, {
    available: false,
    reason: 'no addon (PUNCHLINE_NATIVE=0)',
  })
  assert.is(report.crc32c, 'core')
  assert.is(
    report.advice.some((text) => text.includes('build:native')),
    process.platform === 'linux',
  )
})

test('doctor fails where the tier that was asked for can’t be had', () => {
  const { status, report } = doctor({ PUNCHLINE_NATIVE: '0', PUNCHLINE_BACKEND: 'mmsg' })
  assert.is(status, 1)
  assert.is(report.backend, undefined)
  assert.match(report.loopback.reason, "PUNCHLINE_BACKEND=mmsg can't be had here")
})

test('draws the trace that a program left', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trace-test-'))
  test.after(() => rmSync(folder, { recursive: true, force: true }))
  const program = `
    const net = require('punchline/net')
    const server = net.createServer({ transport: 'udp' }, (socket) => socket.resume())
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      const socket = net.connect({ transport: 'udp', host: '127.0.0.1', port })
      socket.end(Buffer.alloc(200_000, 'secret'))
      socket.resume()
      socket.on('close', () => server.close())
    })`
  const { status, stderr } = spawnSync(process.execPath, ['-e', program], {
    cwd: PACKAGE_ROOT,
    encoding: 'utf8',
    env: { ...process.env, PUNCHLINE_QLOG: join(folder, 'traces') },
  })
  assert.is(status, 0, stderr)
  const files = readdirSync(join(folder, 'traces')).sort()
  assert.match(files.join(), /^([0-9a-f]{16})_client\.sqlog,\1_server\.sqlog$/)
  for (const file of files) {
    const path = join(folder, 'traces', file)
    const text = readFileSync(path, 'utf8')
    assert.is(text.includes('secret'), false)
    assert.match(text, '"name":"quic:connection_closed"')
    const drawn = run(['trace', 'plot', path])
    assert.is(drawn.status, 0, drawn.stderr)
    assert.match(drawn.stdout, /^<svg .*<\/svg>\n$/s)
  }
  const missing = run(['trace', 'plot', join(folder, 'none')])
  assert.is(missing.status, 2)
  assert.match(missing.stderr, 'ENOENT')
})

test('explains itself', () => {
  assert.is(run(['--help']).status, 0)
  for (const args of [[], ['operate'], ['doctor', 'now'], ['doctor', '--loudly']]) {
    const { status, stdout, stderr } = run(args)
    assert.is(status, 2)
    assert.is(stdout, '')
    assert.ok(stderr.length > 0)
  }
})

test.run()
