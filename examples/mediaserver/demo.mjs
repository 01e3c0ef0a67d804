#!/usr/bin/env node
/**
 * Runs the media server and its client, unmodified, over Punchline in two processes, and checks
 * what arrives. The only file here that knows Punchline, and that only through the command line and
 * the environment of the two.
 *
 *   npm run demo [-- options] [FILE]
 *
 *   FILE                 what is served and fetched           [the running node binary]
 *   --transport udp|tcp  tcp leaves Punchline out, to compare [udp]
 *   --jobs LIST          as of client.mjs                     [whole,parallel,resumed]
 *   --connections N      as of client.mjs                     [4]
 *   --max-mib N          serves only the first N MiB of FILE  [all]
 *   --deadline-s N       when everything must be over         [300]
 *
 * PUNCHLINE_FAULTS and other PUNCHLINE_… variables reach both processes. Exit code: 0 when every
 * job brought the right bytes and no TCP socket was seen, 1 otherwise (one line says why).
 */
import { spawn } from 'node:child_process'
import { createReadStream, createWriteStream, existsSync, mkdtempSync, rmSync } from 'node:fs'
import { readFile, realpath, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { hashFile } from './sinks.mjs'
import { SocketWatch } from './socket-watch.mjs'
import { formatTable } from './table.mjs'

/** How long the server may take to end by itself: its grace for answers, and lingering bytes. */
const SERVER_EXIT_MS = 12_000

/**
 * @typedef {import('node:child_process').ChildProcess} ChildProcess
 * @typedef {{ job: string, bytes: number, seconds: number, sha256: string, requests: number,
 *   cuts: number, resumedAt: number[] }} JobResult
 * @typedef {{ backend: string, security: string, transport: string,
 *   totals: Record<string, number> }} Statistics What `punchline/register` leaves at exit.
 */

const options = readOptions()
// Both programs are children of this process, known by id.
const children = /** @type {Set<ChildProcess>} */ (new Set())
const folder = mkdtempSync(join(tmpdir(), 'mediaserver-demo-'))
// Whatever ends this process, the two must not outlive it.
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true, force: true })
})
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => leave(`stopped by ${signal}`))
}
setTimeout(() => leave(`not over after ${options.deadlineS} s`), options.deadlineS * 1_000).unref()

try {
  await demonstrate()
} catch (error) {
  leave(error instanceof Error ? error.message : String(error))
}

async function demonstrate() {
  const file = await prepareFile()
  const sha256 = await hashFile(file)
  const { size } = await stat(file)
  process.stdout.write(
    `${basename(file)}: ${size} bytes, sha256 ${sha256}\n` +
      `over ${options.transport}${faultsInWords()}, Node.js ${process.version}\n\n`,
  )

  const watch = new SocketWatch()
  const server = startProgram('server', 'server.mjs', [
    '--root',
    dirname(file),
    '--stop-on-stdin-end',
  ])
  watch.add('server', pidOf(server))
  const address = await firstLine(server)
  const client = startProgram('client', 'client.mjs', [
    '--json',
    '--jobs',
    options.jobs,
    '--connections',
    options.connections,
    '--sha256',
    sha256,
    new URL(encodeURIComponent(basename(file)), address).href,
  ])
  watch.add('client', pidOf(client))
  const results = await collectJobs(client, watch)
  watch.sample()
  await endOf(client, 'client')
  const sockets = watch.finish()
  await stopServer(server)

  process.stdout.write(`${jobTable(results, sha256)}\n\n`)
  if (options.transport === 'udp') {
    const statistics = {
      server: await readStatistics('server'),
      client: await readStatistics('client'),
    }
    process.stdout.write(`${statisticsTable(statistics)}\n\n`)
    checkCarried(statistics.client, results)
  }
  process.stdout.write(`${socketsInWords(sockets)}\n`)
  check(results, sha256, size, sockets)
}

/** Finds the file, or makes a shorter copy of it. */
async function prepareFile() {
  const path = await realpath(options.file)
  const { size } = await stat(path)
  if (!(await stat(path)).isFile()) throw new Error(`${options.file} is not a file`)
  if (options.maxBytes === undefined || size <= options.maxBytes) return path
  const copy = join(folder, basename(path))
  await pipeline(
    createReadStream(path, { start: 0, end: options.maxBytes - 1 }),
    createWriteStream(copy),
  )
  return copy
}

/**
 * Starts one of the two programs: as it is, with the transport chosen from outside.
 *
 * @param {'server' | 'client'} name
 * @param {string} program
 * @param {string[]} args
 */
function startProgram(name, program, args) {
  const environment = { ...process.env }
  /** @type {string[]} */
  let preload = []
  if (options.transport === 'udp') {
    preload = ['--import', registerUrl()]
    environment['PUNCHLINE_TRANSPORT'] = 'udp'
    environment['PUNCHLINE_STATS'] = statisticsPath(name)
  } else {
    for (const key of Object.keys(environment)) {
      if (key.startsWith('PUNCHLINE_')) delete environment[key]
    }
  }
  const path = fileURLToPath(new URL(program, import.meta.url))
  const child = spawn(process.execPath, [...preload, path, ...args], {
    env: environment,
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.add(child)
  child.on('exit', () => children.delete(child))
  child.on('error', (error) => leave(`cannot start the ${name}: ${error.message}`))
  // A child that died is reported by its exit code, not by the pipe to it.
  child.stdin?.on('error', () => {})
  return child
}

/** This checkout's own build, found as any user of the package finds it. */
function registerUrl() {
  const url = import.meta.resolve('punchline/register')
  if (!existsSync(fileURLToPath(url))) throw new Error('punchline is not built: npm run build')
  return url
}

/** @param {ChildProcess} child */
function pidOf(child) {
  if (child.pid === undefined) throw new Error('a process could not be started')
  return child.pid
}

/** @param {ChildProcess} child */
function linesOf(child) {
  if (child.stdout === null) throw new Error('standard output is not a pipe')
  return createInterface({ input: child.stdout })
}

/** @param {ChildProcess} server */
async function firstLine(server) {
  for await (const line of linesOf(server)) return line
  throw new Error(`the server ended before it listened (${await endInWords(server)})`)
}

/**
 * @param {ChildProcess} client
 * @param {SocketWatch} watch
 */
async function collectJobs(client, watch) {
  const results = /** @type {JobResult[]} */ ([])
  for await (const line of linesOf(client)) {
    watch.sample()
    results.push(JSON.parse(line))
  }
  return results
}

/**
 * Waits until a process has ended by itself, and well.
 *
 * @param {ChildProcess} child
 * @param {string} name
 */
async function endOf(child, name) {
  const end = await endInWords(child)
  if (end !== 'exit code 0') throw new Error(`the ${name} failed (${end})`)
}

/** @param {ChildProcess} child */
async function endInWords(child) {
  if (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => child.once('exit', resolve))
  }
  return child.signalCode === null ? `exit code ${child.exitCode}` : child.signalCode
}

/** @param {ChildProcess} server */
async function stopServer(server) {
  const impatience = setTimeout(() => server.kill('SIGKILL'), SERVER_EXIT_MS)
  server.stdin?.end()
  await endOf(server, 'server')
  clearTimeout(impatience)
}

/** @param {string} name */
function statisticsPath(name) {
  return join(folder, `${name}.json`)
}

/**
 * @param {string} name
 * @returns {Promise<Statistics>}
 */
async function readStatistics(name) {
  try {
    return JSON.parse(await readFile(statisticsPath(name), 'utf8'))
  } catch (error) {
    const reason = error instanceof Error ? error.message : error
    throw new Error(`the ${name} left no statistics: ${reason}`, { cause: error })
  }
}

/**
 * Shows that the bytes really went through Punchline.
 *
 * @param {Statistics} client
 * @param {JobResult[]} results
 */
function checkCarried(client, results) {
  const bytes = results.reduce((sum, result) => sum + result.bytes, 0)
  const carried = client.totals['streamBytesReceived'] ?? 0
  if (client.transport !== 'udp') throw new Error(`the client used ${client.transport}`)
  if (carried < bytes) throw new Error(`of ${bytes} bytes Punchline carried only ${carried}`)
}

/**
 * @param {JobResult[]} results
 * @param {string} sha256
 * @param {number} size
 * @param {ReturnType<SocketWatch['finish']>} sockets
 */
function check(results, sha256, size, sockets) {
  const done = results.map((result) => result.job).join(',')
  if (done !== options.jobs) throw new Error(`asked for ${options.jobs}, done: ${done}`)
  for (const result of results) {
    if (result.sha256 !== sha256 || result.bytes !== size) {
      throw new Error(`${result.job}: ${result.bytes} bytes with SHA-256 ${result.sha256}`)
    }
  }
  if (options.transport === 'udp' && sockets.tcp.length > 0) {
    throw new Error(`TCP sockets were seen in: ${sockets.tcp.join(', ')}`)
  }
}

/** @param {ReturnType<SocketWatch['finish']>} sockets */
function socketsInWords({ samples, tcp, udp }) {
  if (!SocketWatch.isSupported) return 'kernel sockets: not checked on this platform'
  const seen = (/** @type {string[]} */ names) =>
    names.length === 0 ? 'none' : names.join(' and ')
  return `kernel sockets seen in ${samples} samples: TCP ${seen(tcp)}, UDP ${seen(udp)}`
}

/**
 * @param {JobResult[]} results
 * @param {string} sha256
 */
function jobTable(results, sha256) {
  return formatTable([
    ['job', 'bytes', 'seconds', 'MB/s', 'requests', 'cut', 'SHA-256'],
    ...results.map((result) => [
      result.job,
      String(result.bytes),
      result.seconds.toFixed(2),
      (result.bytes / 1e6 / result.seconds).toFixed(1),
      String(result.requests),
      String(result.cuts),
      result.sha256 === sha256 ? 'equal' : 'DIFFERENT',
    ]),
  ])
}

/** @param {Record<string, Statistics>} statistics */
function statisticsTable(statistics) {
  const rows = Object.entries(statistics).map(([name, { backend, security, totals }]) => [
    name,
    ...[
      totals['packetsSent'],
      totals['packetsReceived'],
      totals['packetsRetransmitted'],
      totals['faultsDropped'],
    ].map((figure) => String(figure ?? '-')),
    backend,
    security,
  ])
  return formatTable([
    [
      'process',
      'packets sent',
      'received',
      'retransmitted',
      'drops injected',
      'backend',
      'security',
    ],
    ...rows,
  ])
}

function faultsInWords() {
  const faults = process.env['PUNCHLINE_FAULTS']
  return options.transport === 'udp' && faults ? `, faults ${faults}` : ''
}

/**
 * @param {string} reason
 * @returns {never}
 */
function leave(reason) {
  // One line: what more there is to say, the programs have said themselves.
  process.stderr.write(`demo failed: ${reason.split('\n')[0]}\n`)
  process.exit(1)
}

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        transport: { type: 'string', default: 'udp' },
        jobs: { type: 'string', default: 'whole,parallel,resumed' },
        connections: { type: 'string', default: '4' },
        'max-mib': { type: 'string' },
        'deadline-s': { type: 'string', default: '300' },
      },
    })
    if (positionals.length > 1) throw new Error('only one FILE')
    if (values.transport !== 'udp' && values.transport !== 'tcp') {
      throw new Error('--transport is udp or tcp')
    }
    const maxMib = values['max-mib'] === undefined ? undefined : Number(values['max-mib'])
    if (maxMib !== undefined && !(maxMib > 0)) throw new Error('--max-mib is a positive number')
    const deadlineS = Number(values['deadline-s'])
    if (!(deadlineS > 0 && deadlineS <= 86_400)) throw new Error('--deadline-s is 1 … 86400')
    return {
      file: positionals[0] ?? process.execPath,
      transport: values.transport,
      jobs: values.jobs,
      connections: values.connections,
      maxBytes: maxMib === undefined ? undefined : Math.ceil(maxMib * 1024 * 1024),
      deadlineS,
    }
  } catch (error) {
    return leave(error instanceof Error ? error.message : String(error))
  }
}
