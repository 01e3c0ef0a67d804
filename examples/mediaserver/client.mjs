#!/usr/bin/env node
/**
 * An ordinary download client.
 *
 *   node client.mjs [options] URL
 *
 *   --jobs LIST          whole, parallel, resumed; one after the other       [whole]
 *   --connections N      ranges that "parallel" fetches at a time            [4]
 *   --cut random|LIST    offsets at which "resumed" cuts its own connection  [random]
 *   --output FILE        where to write; without it the bytes are only hashed
 *   --sha256 HEX         what the file must be
 *   --idle-timeout-s N   silence after which a connection is given up        [30]
 *   --json               one JSON object per job instead of a line of text
 *
 * Exit code: 0 done, 1 a job failed (one line says why), 2 not understood.
 */
import { parseArgs } from 'node:util'
import { fetchParallel, fetchResumed, fetchWhole, Remote } from './download.mjs'
import { ProgressBar } from './progress.mjs'
import { FileSink, HashSink } from './sinks.mjs'

const CONNECTIONS_MAX = 64

/**
 * @typedef {ReturnType<typeof readOptions>} Options
 * @typedef {(remote: Remote, sink: import('./sinks.mjs').Sink,
 *   onProgress: import('./download.mjs').ProgressListener, options: Options) => Promise<number>} Job
 */

/** @type {Map<string, Job>} */
const JOBS = new Map(
  /** @type {[string, Job][]} */ ([
    ['whole', fetchWhole],
    ['parallel', fetchParallel],
    ['resumed', fetchResumed],
  ]),
)

const options = readOptions()
try {
  for (const job of options.jobs) {
    const result = await run(job)
    process.stdout.write(options.isJson ? `${JSON.stringify(result)}\n` : `${describe(result)}\n`)
  }
} catch (error) {
  process.stderr.write(`${reasonOf(error)}\n`)
  process.exitCode = 1
}

/** @param {string} job */
async function run(job) {
  const fetchFile = JOBS.get(job)
  if (fetchFile === undefined) throw new Error(`no job "${job}"`)
  const remote = new Remote(options.url, {
    connectionsMax: options.connections,
    idleTimeoutMs: options.idleTimeoutMs,
  })
  const sink = options.output === undefined ? new HashSink() : await FileSink.create(options.output)
  const bar = new ProgressBar(process.stderr, job)
  const startedMs = performance.now()
  try {
    const sizeBytes = await fetchFile(remote, sink, (done, size) => bar.update(done, size), options)
    const seconds = (performance.now() - startedMs) / 1_000
    bar.clear()
    const sha256 = await sink.finish(sizeBytes)
    if (options.sha256 !== undefined && sha256 !== options.sha256) {
      throw new Error(`SHA-256 is ${sha256} instead of ${options.sha256}`)
    }
    await sink.keep()
    return { job, bytes: sizeBytes, seconds, sha256, ...remote.tally }
  } catch (error) {
    bar.clear()
    await sink.discard().catch(() => {})
    throw new Error(`${job}: ${reasonOf(error)}`, { cause: error })
  } finally {
    remote.close()
  }
}

/** @param {Awaited<ReturnType<typeof run>>} result */
function describe({ job, bytes, seconds, sha256, requests, resumedAt }) {
  const resumed = resumedAt.length === 0 ? '' : `, resumed at ${resumedAt.join(', ')}`
  const rate = (bytes / 1e6 / seconds).toFixed(1)
  return (
    `${job}: ${bytes} bytes in ${seconds.toFixed(2)} s, ${rate} MB/s, ` +
    `${requests} requests${resumed}, sha256 ${sha256}`
  )
}

/**
 * @param {unknown} error
 * @returns {string}
 */
function reasonOf(error) {
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ')
  return error instanceof Error ? error.message : String(error)
}

function readOptions() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        jobs: { type: 'string', default: 'whole' },
        connections: { type: 'string', default: '4' },
        cut: { type: 'string', default: 'random' },
        output: { type: 'string' },
        sha256: { type: 'string' },
        'idle-timeout-s': { type: 'string', default: '30' },
        json: { type: 'boolean', default: false },
      },
    })
    const [address, ...others] = positionals
    if (address === undefined || others.length > 0) throw new Error('exactly one URL is needed')
    const url = new URL(address)
    if (url.protocol !== 'http:') throw new Error(`${url.protocol} is not supported, only http:`)
    const jobs = values.jobs.split(',')
    for (const job of jobs) if (!JOBS.has(job)) throw new Error(`no job "${job}"`)
    if (values.sha256 !== undefined && !/^[0-9a-f]{64}$/i.test(values.sha256)) {
      throw new Error('--sha256 takes 64 hexadecimal digits')
    }
    return {
      url,
      jobs,
      connections: readInteger('--connections', values.connections, 1, CONNECTIONS_MAX),
      cutOffsets:
        values.cut === 'random'
          ? /** @type {const} */ ('random')
          : values.cut.split(',').map((text) => readInteger('--cut', text, 1, 2 ** 53 - 1)),
      output: values.output,
      sha256: values.sha256?.toLowerCase(),
      idleTimeoutMs: readInteger('--idle-timeout-s', values['idle-timeout-s'], 1, 86_400) * 1_000,
      isJson: values.json,
    }
  } catch (error) {
    process.stderr.write(`${reasonOf(error)}\nusage: client.mjs [options] URL\n`)
    process.exit(2)
  }
}

/**
 * @param {string} name
 * @param {string} text
 * @param {number} least
 * @param {number} most
 */
function readInteger(name, text, least, most) {
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < least || value > most) {
    throw new Error(`${name} is an integer from ${least} to ${most}`)
  }
  return value
}
