// slow: runs programs, each in a process of its own.
/** Programs that get sockets of `punchline/net` without the preload: the same over UDP as over TCP. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startServer } from '../dev/real-servers.ts'

const run = promisify(execFile)
const programs = fileURLToPath(new URL('./testing/imported-programs.mjs', import.meta.url))

/** The same over both; `expected` says what, aside from the way. */
async function compare(name: string, expected: object, port = 0): Promise<void> {
  for (const transport of ['tcp', 'udp']) {
    const env = { ...process.env, PUNCHLINE_TRANSPORT: transport, SERVER_PORT: String(port) }
    const command = ['--import', 'tsx', programs, name]
    const { stdout } = await run(process.execPath, command, { env, timeout: 30_000 })
    assert.equal(JSON.parse(stdout), { ...expected, ways: [transport] }, `${name} ${transport}`)
  }
}

const right = { right: true }
const all = { ...right, halfClosed: true }

const expectations: Readonly<Record<string, object>> = {
  http: { ...all, cut: 'ECONNRESET' },
  express: { ...all, cut: 'ECONNRESET' },
  https: { ...all, cut: 'ECONNRESET' },
  tls: { ...right, rest: 0 },
  http2: { ...right, isCut: true },
  undici: { ...all, isCut: true },
  ws: { ...all, code: 4321, cut: 1006 },
  mqtt: all,
  ssh2: right,
  mysql2: { ...all, cut: 'PROTOCOL_CONNECTION_LOST' },
  grpc: { ...all, isCut: true },
}

for (const [name, expected] of Object.entries(expectations)) {
  test(`${name} is given our sockets`, () => compare(name, expected))
}

for (const [name, ...clients] of [
  ['redis', 'ioredis', 'redis'],
  ['postgres', 'pg'],
] as const) {
  const server = await startServer(name)
  if (typeof server === 'string') {
    console.log(`skipped: ${clients.join(', ')}: ${server}`)
    continue
  }
  for (const client of clients) {
    test(`${client} is given our sockets`, () => {
      return compare(client, { right: true, isCut: true }, server.port)
    })
  }
  test.after(() => server.close())
}

test.run()
