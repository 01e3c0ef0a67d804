/**
 * `npm run bench:idle [-- --connections 10000 --seconds 30]`: what connections cost that do nothing:
 * memory, processor and JavaScript timers, on each of two endpoints in processes of their own. Exits
 * with 1 when one of them is missing.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { IdleMemory, IdleOrder, IdleWork } from './idle/messages.ts'

const HOLDER = fileURLToPath(new URL('./idle/holder.ts', import.meta.url))
/** Until what connecting has left behind is over: probes, acknowledgements, garbage. */
const SETTLE_MS = 2_000

export interface IdleSide {
  readonly open: number
  readonly ended: Readonly<Record<number, number>>
  readonly backend: string
  /** What the process has grown by, for each connection; and parts of it. */
  readonly residentBytesEach: number
  readonly heapBytesEach: number
  readonly coreBytesEach: number
  /** Share of one core. */
  readonly cpu: number
  readonly timersMax: number
  readonly datagramsPerSecond: number
}

export interface IdleResult {
  readonly connectMs: number
  readonly client: IdleSide
  readonly server: IdleSide
}

export async function runIdle(connections: number, seconds: number): Promise<IdleResult> {
  const children: ChildProcess[] = []
  const answer = async (child: ChildProcess) => {
    const stop = new AbortController()
    const { signal } = stop
    const ended = once(child, 'exit', { signal }).then(([code]) => {
      throw new Error(`a process ended with ${code}`)
    })
    try {
      return (await Promise.race([once(child, 'message', { signal }), ended]))[0]
    } finally {
      stop.abort()
      ended.catch(() => {})
    }
  }
  const ask = (child: ChildProcess, what: IdleOrder | 'memory' | 'work') => {
    child.send(what)
    return answer(child)
  }
  try {
    for (let count = 0; count < 2; count++) {
      const child = fork(HOLDER, { execArgv: ['--expose-gc', '--import', 'tsx'] })
      children.push(child)
      await answer(child)
    }
    const [server, client] = children as [ChildProcess, ChildProcess]
    const { port } = await ask(server, { connections })
    const all = <T>(what: 'memory' | 'work') =>
      Promise.all([client, server].map((child) => ask(child, what) as Promise<T>))
    const before = await all<IdleMemory>('memory')
    const startedAt = performance.now()
    await ask(client, { connections, port })
    const connectMs = performance.now() - startedAt
    await all<IdleMemory>('memory')
    await delay(SETTLE_MS)
    const from = await all<IdleWork>('work')
    await delay(seconds * 1000)
    const to = await all<IdleWork>('work')
    const after = await all<IdleMemory>('memory')
    const sides = after.map((held, index): IdleSide => {
      const [old, start, end] = [before[index], from[index], to[index]] as [
        IdleMemory,
        IdleWork,
        IdleWork,
      ]
      const wallMs = end.atMs - start.atMs
      return {
        open: held.open,
        ended: held.ended,
        backend: held.backend,
        residentBytesEach: (held.residentBytes - old.residentBytes) / connections,
        heapBytesEach: (held.heapBytes - old.heapBytes) / connections,
        coreBytesEach: (held.coreBytes - old.coreBytes) / connections,
        cpu: (end.cpuMs - start.cpuMs) / wallMs,
        timersMax: end.timersMax,
        datagramsPerSecond: ((end.datagramsSent - start.datagramsSent) / wallMs) * 1000,
      }
    })
    const [ours, theirs] = sides as [IdleSide, IdleSide]
    return { connectMs, client: ours, server: theirs }
  } finally {
    for (const child of children) child.kill()
    await Promise.all(children.map((child) => child.exitCode ?? once(child, 'exit')))
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      connections: { type: 'string', default: '10000' },
      seconds: { type: 'string', default: '30' },
    },
  })
  const connections = Number(values.connections)
  const result = await runIdle(connections, Number(values.seconds))
  console.log(`${connections} connections in ${(result.connectMs / 1000).toFixed(1)} s`)
  for (const name of ['client', 'server'] as const) {
    const side = result[name]
    const kib = (bytes: number) => (bytes / 1024).toFixed(1)
    console.log(
      `${name} (${side.backend}): ${side.open} open, ended ${JSON.stringify(side.ended)}; ` +
        `${kib(side.residentBytesEach)} KiB each resident ` +
        `(${kib(side.heapBytesEach)} heap, ${kib(side.coreBytesEach)} core); ` +
        `${(side.cpu * 100).toFixed(2)} % of a core, ${side.datagramsPerSecond.toFixed(0)} datagrams/s, ` +
        `${side.timersMax} timers`,
    )
  }
  if (result.client.open !== connections || result.server.open !== connections) process.exitCode = 1
}
