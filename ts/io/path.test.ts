// slow: transfers over real network namespaces
/** The search for the packet size, on real paths whose routers say nothing. */
import { type ChildProcess, fork } from 'node:child_process'
import { on } from 'node:events'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { availableBackends } from './testing/backends.ts'
import { missingForPath, NarrowPath } from './testing/narrow-path.ts'
import type { PathReport } from './testing/path-process.ts'

const PROGRAM = fileURLToPath(new URL('./testing/path-process.ts', import.meta.url))
/** IPv4 and UDP headers. */
const HEADER_BYTES = 28
/** Bounds on time hold for quiet machines: elsewhere they are printed only. */
const IS_LONG = process.env['PUNCHLINE_LONG'] === '1'
const WAIT_MS = 30_000
const BOUND_MS = 2_000

function start(backend: string, space: string | undefined, ...words: string[]): ChildProcess {
  const node = [process.execPath, '--import', 'tsx']
  const [execPath = '', ...execArgv] = space ? ['nsenter', `--net=${space}`, ...node] : node
  const env = { ...process.env, PUNCHLINE_BACKEND: backend }
  return fork(PROGRAM, words, { execPath, execArgv, env })
}

/** Waits for what a process says. */
async function heard<T>(
  child: ChildProcess,
  isIt: (message: T) => boolean,
  describe: (message: T) => string,
): Promise<T> {
  let last: T | undefined
  const signal = AbortSignal.timeout(WAIT_MS)
  const stop = () => signal.dispatchEvent(new Event('abort'))
  child.once('exit', stop)
  try {
    for await (const [message] of on(child, 'message', { signal })) {
      last = message as T
      if (isIt(last)) return last
    }
  } catch (cause) {
    const what = last === undefined ? 'nothing' : describe(last)
    throw new Error(`heard for the last time: ${what}`, { cause })
  } finally {
    child.off('exit', stop)
  }
  throw new Error('unreachable')
}

/** A transfer between the namespaces, or over loopback, that is ended in any case. */
async function transfer(
  backend: string,
  path: NarrowPath | undefined,
  run: (client: ChildProcess, server: ChildProcess) => Promise<void>,
): Promise<void> {
  const children: ChildProcess[] = []
  try {
    const address = path?.serverAddress ?? '127.0.0.1'
    const server = start(backend, path?.spaces.server, address)
    children.push(server)
    const hello = await heard<{ port?: number }>(server, ({ port }) => port !== undefined, String)
    const { port } = hello
    const client = start(backend, path?.spaces.client, address, String(port))
    children.push(client)
    await run(client, server)
  } finally {
    for (const child of children) child.kill()
    path?.close()
  }
}

/** When the client's packets have that size. */
function settled(client: ChildProcess, bytes: number): Promise<PathReport> {
  const isIt = ({ packetBytes }: PathReport) => packetBytes === bytes
  return heard(client, isIt, ({ packetBytes }) => `packets of ${packetBytes} B, not ${bytes}`)
}

/** When so many bytes have arrived after the first report that comes now. */
function arrive(server: ChildProcess, bytes: number): Promise<PathReport> {
  let first: number | undefined
  const isIt = ({ received }: PathReport) => {
    first ??= received
    return received >= first + bytes
  }
  return heard(server, isIt, ({ received }) => `${received - (first ?? 0)} of ${bytes} bytes`)
}

function judge(what: string, millis: number): void {
  console.log(`${what}: ${millis.toFixed(0)} ms`)
  if (IS_LONG) assert.ok(millis <= BOUND_MS, `${what}: ${millis} ms`)
}

const missing = missingForPath()
if (missing !== '') console.log(`skipped: real paths: ${missing}`)

for (const { backend } of availableBackends()) {
  test(`${backend}: packets of 65,507 bytes over loopback`, async () => {
    await transfer(backend, undefined, async (client) => {
      const { settledMs, openedMs } = await settled(client, 65_507)
      judge(`${backend}, loopback: settled after the handshake`, settledMs - openedMs)
    })
  })
  if (missing !== '') continue

  for (const mtuBytes of [1_500, 1_400, 1_280, 576]) {
    test(`${backend}: a silent link of ${mtuBytes} bytes: handshake, and packets that fit`, async () => {
      await transfer(backend, new NarrowPath(mtuBytes), async (client, server) => {
        const { settledMs, openedMs } = await settled(client, mtuBytes - HEADER_BYTES)
        await arrive(server, 1_000_000)
        judge(`${backend}, ${mtuBytes} B: handshake`, openedMs)
        judge(`${backend}, ${mtuBytes} B: settled after it`, Math.max(0, settledMs - openedMs))
      })
    })
  }

  for (const [from, to] of [
    [1_500, 1_280],
    [1_400, 576],
  ] as const) {
    test(`${backend}: a link that shrinks from ${from} to ${to} bytes in the middle of a transfer`, async () => {
      const path = new NarrowPath(from)
      await transfer(backend, path, async (client, server) => {
        await settled(client, from - HEADER_BYTES)
        await arrive(server, 1_000_000)
        server.send('reset')
        path.narrow(to)
        await settled(client, to - HEADER_BYTES)
        const { longestGapMs } = await arrive(server, 1_000_000)
        judge(`${backend}, ${from} to ${to} B: longest stall`, longestGapMs)
      })
    })
  }
}

test.run()
