#!/usr/bin/env node
/**
 * An ordinary media server: the files below one directory, over HTTP.
 *
 *   node server.mjs --root DIR [--host 127.0.0.1] [--port 0] [--log] [--stop-on-stdin-end]
 *
 * Prints its address as the first line of standard output. SIGTERM, SIGINT and, when asked for, the
 * end of standard input stop it: answers under way are finished, then the process ends by itself.
 */
import { realpath, stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { isIPv6 } from 'node:net'
import { parseArgs } from 'node:util'
import { createFileListener } from './serve-files.mjs'

/** How long answers under way may take once the server stops. */
const STOP_GRACE_MS = 5_000
const IDLE_SWEEP_MS = 100

const usage =
  'usage: server.mjs --root DIR [--host 127.0.0.1] [--port 0] [--log] [--stop-on-stdin-end]'

const options = await readOptions()
const server = createServer(createFileListener(options.root))

if (options.isLogging) {
  server.on('request', (request, response) => {
    response.on('close', () => {
      const state = response.writableFinished ? '' : ' (cut)'
      process.stderr.write(
        `${new Date().toISOString()} ${request.socket.remoteAddress} ` +
          `${request.method} ${request.url} ${response.statusCode}${state}\n`,
      )
    })
  })
}

server.on('error', (error) => leave(`server failed: ${error.message}`, 1))
server.listen(options.port, options.host, () => {
  const { address, port } = /** @type {import('node:net').AddressInfo} */ (server.address())
  process.stdout.write(`http://${isIPv6(address) ? `[${address}]` : address}:${port}/\n`)
})

process.once('SIGTERM', stop)
process.once('SIGINT', stop)
if (options.isStoppedByStdin) process.stdin.once('end', stop).once('error', stop).resume()

function stop() {
  if (options.isStoppedByStdin) process.stdin.pause()
  server.close()
  // `close` ends the connections that are idle now; this ends the others as they become idle.
  setInterval(() => server.closeIdleConnections(), IDLE_SWEEP_MS).unref()
  // A client that never reads its answer must not hold the process.
  setTimeout(() => server.closeAllConnections(), STOP_GRACE_MS).unref()
}

async function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        root: { type: 'string' },
        host: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '0' },
        log: { type: 'boolean', default: false },
        'stop-on-stdin-end': { type: 'boolean', default: false },
      },
    })
    const port = Number(values.port)
    if (!/^\d+$/.test(values.port ?? '') || port > 65_535) throw new Error('--port is 0 … 65535')
    if (values.root === undefined) throw new Error('--root is missing')
    const root = await realpath(values.root)
    if (!(await stat(root)).isDirectory()) throw new Error(`${values.root} is not a directory`)
    return {
      root,
      host: values.host,
      port,
      isLogging: values.log,
      isStoppedByStdin: values['stop-on-stdin-end'],
    }
  } catch (error) {
    return leave(`${error instanceof Error ? error.message : error}\n${usage}`, 2)
  }
}

/**
 * @param {string} reason
 * @param {number} exitCode
 * @returns {never}
 */
function leave(reason, exitCode) {
  process.stderr.write(`${reason}\n`)
  process.exit(exitCode)
}
