/** What the tests of this folder share: starting its programs, talking raw HTTP, bounded waiting. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const WAIT_MS = 30_000

/** Fails instead of waiting for ever. */
export async function within<T>(promise: Promise<T>, what: string, waitMs = WAIT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${waitMs} ms`)), waitMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Makes an empty folder that is removed when the test process ends. */
export function makeFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'mediaserver-test-')))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}

export interface Program {
  readonly child: ChildProcess
  /** What it wrote so far; complete once `ended` is resolved. */
  readonly output: { stdout: string; stderr: string }
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

/** Starts a program of this folder in a process of its own, killed with the test process. */
export function startProgram(
  name: string,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Program {
  const path = fileURLToPath(new URL(name, import.meta.url))
  const child = spawn(process.execPath, [path, ...args], {
    env: { ...withoutChoices(process.env), ...environment },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  const ended = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('close', (code, signal) => {
      process.removeListener('exit', kill)
      resolve({ code, signal })
    })
  })
  return { child, output, ended }
}

/** Which addon and tier is tested is said by who runs the tests. */
const KEPT = ['PUNCHLINE_NATIVE', 'PUNCHLINE_BACKEND']

/** These tests choose the transport themselves. */
function withoutChoices(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(environment).filter(
      ([key]) => !key.startsWith('PUNCHLINE_') || KEPT.includes(key),
    ),
  )
}

export interface RunningServer extends Program {
  readonly url: URL
  readonly port: number
}

/**
 * Starts the media server on `root` and waits until it has told its address. By default it ends
 * with this process, however that ends.
 */
export async function startServer(
  root: string,
  args: readonly string[] = ['--stop-on-stdin-end'],
): Promise<RunningServer> {
  const program = startProgram('server.mjs', ['--root', root, ...args])
  const { stdout } = program.child
  if (stdout === null) throw new Error('standard output is not a pipe')
  const first = new Promise<string>((resolve, reject) => {
    createInterface({ input: stdout }).once('line', resolve)
    void program.ended.then(() => reject(new Error(`the server ended: ${program.output.stderr}`)))
  })
  const url = new URL(await within(first, 'the address of the server'))
  return { ...program, url, port: Number(url.port) }
}

/** Runs the client to its end. */
export async function runClient(
  args: readonly string[],
): Promise<Program['output'] & { code: number | null }> {
  const program = startProgram('client.mjs', args)
  const { code } = await within(program.ended, 'the end of the client')
  return { ...program.output, code }
}

export interface RawAnswer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

/** Sends bytes as they are and answers what comes back until the server closes. */
export async function exchangeRaw(port: number, request: string): Promise<RawAnswer> {
  const socket = connect(port, '127.0.0.1')
  // Not `end`: a server may take half a connection for a client that has left.
  socket.write(request)
  return parseAnswer(await within(readAll(socket), 'the answer to a raw request'))
}

/** Sends a GET (or another method) with the target untouched. */
export function get(
  port: number,
  target: string,
  headers: Readonly<Record<string, string>> = {},
  method = 'GET',
): Promise<RawAnswer> {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  return exchangeRaw(
    port,
    `${method} ${target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n${lines.join('')}\r\n`,
  )
}

/** Collects everything until the other side ends or breaks the connection. */
export function readAll(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => {})
    socket.on('close', () => resolve(Buffer.concat(chunks)))
  })
}

export function parseAnswer(bytes: Buffer): RawAnswer {
  const headEnd = bytes.indexOf('\r\n\r\n')
  if (headEnd === -1) throw new Error(`no complete answer in ${bytes.length} bytes`)
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, headEnd).split('\r\n')
  const headers = new Map(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
  return { status: Number(statusLine.split(' ')[1]), headers, body: bytes.subarray(headEnd + 4) }
}
