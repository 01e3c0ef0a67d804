/**
 * `npm run bench:flood [-- --seconds 30 --rate 50000]`: what a flood of first packets from many
 * addresses does to a server: to its memory, to a stream that is open, and to clients that knock
 * meanwhile. Three processes and this one on loopback; all are ended, by id, whatever happens.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { connect, type Socket } from '../ts/net/index.ts'
import type { FloodOrder, FloodReport, ServerReport } from './flood/messages.ts'
import { quantile } from './lib/statistics.ts'

const CHUNK = Buffer.alloc(65_536, 7)
/** Between two honest clients. */
const KNOCK_MS = 200

export interface FloodOptions {
  readonly seconds: number
  /** First packets per second that the flooder aims at. */
  readonly rate: number
}

export interface FloodResult {
  /** Goodput of the open stream before and during the flood, bytes per second. */
  readonly quietRate: number
  readonly floodRate: number
  /** What the flooder reached, packets per second; how many of them got a cookie. */
  readonly sentRate: number
  readonly cookieRate: number
  readonly memoryGrowthBytes: number
  readonly heldGrowthBytes: number
  /** Milliseconds that each honest client took to get its first answer, in ascending order. */
  readonly connectMs: readonly number[]
  readonly connectsFailed: number
}

export async function runFlood({ seconds, rate }: FloodOptions): Promise<FloodResult> {
  const children: ChildProcess[] = []
  const start = (file: string, ...execArgv: string[]) => {
    const child = fork(fileURLToPath(new URL(`./flood/${file}`, import.meta.url)), { execArgv })
    children.push(child)
    return child
  }
  const sockets: Socket[] = []
  try {
    const server = start('server.mjs', '--expose-gc')
    const [{ port }] = (await once(server, 'message')) as [{ port: number }]
    const flooder = start('flooder.ts', '--import', 'tsx')
    await once(flooder, 'message')
    const ask = async () => {
      server.send('report')
      return (await once(server, 'message'))[0] as ServerReport
    }
    const stream = await openStream(port)
    sockets.push(stream)
    const windowMs = seconds * 1000
    await delay(windowMs / 10)
    const before = await ask()
    const quietFrom = performance.now()
    // Long enough for the heap's young generation to have its size.
    await delay(Math.max(windowMs / 3, 3_000))
    const quiet = await ask()
    const quietMs = performance.now() - quietFrom
    flooder.send({ port, rate } satisfies FloodOrder)
    const floodFrom = performance.now()
    const { connectMs, connectsFailed } = await knock(port, windowMs)
    const flooded = await ask()
    const floodMs = performance.now() - floodFrom
    flooder.send({ port, rate: 0 } satisfies FloodOrder)
    const { sent } = (await once(flooder, 'message'))[0] as FloodReport
    const perSecond = (count: number, ms: number) => (count / ms) * 1000
    return {
      quietRate: perSecond(quiet.bytes - before.bytes, quietMs),
      floodRate: perSecond(flooded.bytes - quiet.bytes, floodMs),
      sentRate: perSecond(sent, floodMs),
      cookieRate: perSecond(flooded.cookiesSent - quiet.cookiesSent, floodMs),
      memoryGrowthBytes: flooded.memoryBytes - quiet.memoryBytes,
      heldGrowthBytes: flooded.heldBytes - quiet.heldBytes,
      connectMs: [...connectMs].sort((a, b) => a - b),
      connectsFailed,
    }
  } finally {
    for (const socket of sockets) socket.destroy()
    for (const child of children) child.kill()
    await Promise.all(children.map((child) => child.exitCode ?? once(child, 'exit')))
  }
}

/** A stream that is always full. */
async function openStream(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', transport: 'udp' })
  await once(socket, 'connect')
  socket.on('error', () => {})
  const fill = () => {
    while (!socket.destroyed && socket.write(CHUNK));
  }
  socket.on('drain', fill)
  fill()
  return socket
}

/** Honest clients, one after the other, each from an address and port of its own. */
async function knock(port: number, windowMs: number) {
  const connectMs: number[] = []
  let connectsFailed = 0
  const until = performance.now() + windowMs
  const all: Promise<void>[] = []
  for (let count = 0; performance.now() < until; count += 1) {
    all.push(
      oneKnock(port, `127.200.${count >> 8}.${count & 255 || 255}`).then(
        (ms) => void connectMs.push(ms),
        () => {
          connectsFailed += 1
        },
      ),
    )
    await delay(KNOCK_MS)
  }
  await Promise.all(all)
  return { connectMs, connectsFailed }
}

async function oneKnock(port: number, localAddress: string): Promise<number> {
  const start = performance.now()
  const socket = connect({ port, host: '127.0.0.1', localAddress, transport: 'udp' })
  try {
    socket.write('knock')
    await once(socket, 'data')
    return performance.now() - start
  } finally {
    socket.destroy()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '30' },
      rate: { type: 'string', default: '50000' },
    },
  })
  const result = await runFlood({ seconds: Number(values.seconds), rate: Number(values.rate) })
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`
  const { connectMs } = result
  console.log(`flood: ${Math.round(result.sentRate)} first packets/s sent`)
  console.log(`cookies sent: ${Math.round(result.cookieRate)}/s`)
  console.log(`stream: ${mb(result.quietRate)}/s quiet, ${mb(result.floodRate)}/s flooded`)
  console.log(
    `        ${((result.floodRate / result.quietRate) * 100).toFixed(0)} % of its goodput`,
  )
  console.log(
    `memory: + ${mb(result.memoryGrowthBytes)} resident, ${mb(result.heldGrowthBytes)} of it held`,
  )
  console.log(
    `honest clients: ${connectMs.length} got in, ${result.connectsFailed} did not; ` +
      `p50 ${Math.round(quantile(connectMs, 0.5))} ms, p95 ${Math.round(quantile(connectMs, 0.95))} ms`,
  )
}
