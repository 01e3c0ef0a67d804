// slow: runs unmodified programs, each in a process of its own.
/**
 * Unmodified programs under `punchline/register`: with bulk both ways, half-close and an abrupt end
 * they say the same over UDP as over TCP. With PUNCHLINE_LONG=1 also on every backend, and with
 * losses.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type ServerName, startServer } from '../dev/real-servers.ts'
import type { StatsFile } from './stats-file.ts'

const run = promisify(execFile)
const register = new URL('../register.ts', import.meta.url).href
const isLong = process.env['PUNCHLINE_LONG'] === '1'

const overTcp = { PUNCHLINE_TRANSPORT: 'tcp' }
const overUdp = { PUNCHLINE_TRANSPORT: 'udp' }
const ways: readonly Readonly<Record<string, string>>[] = isLong
  ? [
      overUdp,
      { ...overUdp, PUNCHLINE_BACKEND: 'dgram' },
      { ...overUdp, PUNCHLINE_BACKEND: 'mmsg' },
      { ...overUdp, PUNCHLINE_BACKEND: 'uring' },
      { ...overUdp, PUNCHLINE_FAULTS: 'loss=2%,reorder=2%' },
    ]
  : [overUdp]

async function runProgram(name: string, env: Readonly<Record<string, string>>) {
  const folder = mkdtempSync(join(tmpdir(), 'punchline-'))
  const statsFile = join(folder, 'stats.json')
  const program = fileURLToPath(new URL(`./testing/programs/${name}.mjs`, import.meta.url))
  const preload = ['--import', 'tsx', '--import', register]
  try {
    const { stdout } = await run(process.execPath, [...preload, program], {
      timeout: 60_000,
      env: { ...process.env, ...env, PUNCHLINE_STATS: statsFile },
    })
    const { totals } = JSON.parse(readFileSync(statsFile, 'utf8')) as StatsFile
    return { output: JSON.parse(stdout) as unknown, packets: totals['packetsSent'] ?? 0 }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What a program says over TCP, once it is known to say it over UDP, too. */
async function compare(name: string, env: Readonly<Record<string, string>> = {}) {
  const tcp = await runProgram(name, { ...env, ...overTcp })
  assert.is(tcp.packets, 0)
  for (const way of ways) {
    const udp = await runProgram(name, { ...env, ...way })
    assert.equal(udp.output, tcp.output, `${name} ${JSON.stringify(way)}`)
    // Packets are as large as loopback carries.
    assert.ok(udp.packets > 20, `${name}: UDP carried ${udp.packets} packets`)
  }
  return tcp.output
}

const abrupt = 'ECONNRESET'

test('http: an agent, bulk both ways, Upgrade, a reset', async () => {
  const expected = { right: 4, connections: 2, cut: abrupt, upgraded: true }
  assert.equal(await compare('http'), expected)
})

test('https: kept-alive connections, a reset, an unknown certificate, half-close', async () => {
  const stranger = 'DEPTH_ZERO_SELF_SIGNED_CERT'
  assert.equal(await compare('https'), {
    right: 2,
    isAuthorized: true,
    cut: abrupt,
    stranger,
    upgraded: true,
  })
})

test('http2: parallel streams in plain text and over TLS, a session that is cut', async () => {
  const expected = { right: 3, isCut: true }
  assert.equal(await compare('http2'), { plain: expected, tls: expected })
})

test('tls: half-close with bulk both ways, client certificates, onread, a cut', async () => {
  const seen = [true, false, false]
  const expected = { echoed: true, protocol: 'closed', seen, pieces: 20, rest: 'no error' }
  assert.equal(await compare('tls'), expected)
})

test('undici: a pool, half-close, a cut', async () => {
  assert.equal(await compare('undici'), { right: 6, cut: abrupt, upgraded: true })
})

test('ws: a big message both ways, also after a close with its reason, a cut', async () => {
  assert.equal(await compare('ws'), {
    right: true,
    code: 4321,
    reason: 'enough',
    late: true,
    cut: 1006,
  })
})

test('express: a body, a stream, an error page, half-close, a cut', async () => {
  const expected = { right: true, streamed: true, halfClosed: true, missing: 404, cut: abrupt }
  assert.equal(await compare('express'), expected)
})

test('mysql2: its client and its server, big packets, half-close, a cut', async () => {
  const cut = 'PROTOCOL_CONNECTION_LOST'
  const expected = { halfClosed: true, right: true, length: true, cut }
  assert.equal(await compare('mysql2'), expected)
})

test('mqtt and aedes: a big message through the broker, half-close, a reset', async () => {
  const expected = {
    halfClosed: true,
    right: true,
    topic: 'big',
    isConnected: false,
    connections: 3,
  }
  assert.equal(await compare('mqtt'), expected)
})

test('ssh2: a command with bulk both ways, a cut', async () => {
  assert.equal(await compare('ssh2'), { right: true, cut: true })
})

test('gRPC: unary and streaming calls, half-close, a deadline, a cut', async () => {
  assert.equal(await compare('grpc'), { right: true, size: 2_500_000, late: 4, isCut: true })
})

/** A test against a real server; it counts only where that can be had. */
async function againstServer(name: ServerName, program: string, expected: unknown) {
  const server = await startServer(name)
  if (typeof server === 'string') {
    console.log(`skipped: ${program}: ${server}`)
    return
  }
  test(`${program} against a real server: bulk both ways, an end with work under way, a cut`, async () => {
    assert.equal(await compare(program, { SERVER_PORT: String(server.port) }), expected)
  })
  test.after(() => server.close())
}

await againstServer('redis', 'redis', {
  value: true,
  counted: 500,
  news: 'hello',
  text: true,
  late: [true, true],
  cut: [true, true],
})
await againstServer('postgres', 'pg', {
  value: true,
  syntax: '42601',
  sums: [2, 4, 6, 8, 10, 12],
  isCut: true,
})

test.run()
