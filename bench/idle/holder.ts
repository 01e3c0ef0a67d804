/** One side of `idle.ts`: holds connections, and says what that costs. */
import type { IdleMemory, IdleOrder, IdleWork } from './messages.ts'

const AT_ONCE = 100

// Before anything can start a timer.
const pending = new Set<unknown>()
let timersMax = 0
const { setTimeout: start, clearTimeout: stop } = globalThis
globalThis.setTimeout = ((call: (...args: unknown[]) => void, ...rest: [number?, ...unknown[]]) => {
  const timer = start(
    (...args: unknown[]) => {
      pending.delete(timer)
      call(...args)
    },
    ...rest,
  )
  pending.add(timer)
  timersMax = Math.max(timersMax, pending.size)
  return timer
}) as typeof setTimeout
globalThis.clearTimeout = ((timer: NodeJS.Timeout | undefined) => {
  pending.delete(timer)
  stop(timer)
}) as typeof clearTimeout

const { Driver, Loop, nowMicros } = await import('../../ts/io/index.ts')

const MIB = 1024 * 1024
const ended: Record<number, number> = {}
let open = 0
let driver: InstanceType<typeof Driver> | undefined

function begin({ port, connections }: IdleOrder): void {
  const loop = new Loop({ memoryBytes: 256 * MIB })
  driver = new Driver({
    loop,
    binding: { address: '127.0.0.1', port: 0, family: 4 },
    options: { memoryBytes: 192 * MIB, connectionsMax: connections, emptyTimeoutMs: 2 ** 31 - 1 },
  })
  const { endpoint } = driver
  const closed = (code: number) => {
    ended[code] = (ended[code] ?? 0) + 1
  }
  if (port === undefined) {
    endpoint.owner = {
      connection: (connection) => {
        open += 1
        connection.owner = {
          closed: (code) => {
            open -= 1
            closed(code)
          },
        }
      },
      handshakeFailed: ({ code }) => closed(code),
    }
    endpoint.setListening(true)
    process.send?.({ port: driver.socket.port })
    return
  }
  const to = { socketIndex: 0, address: '127.0.0.1', port }
  let begun = 0
  let over = 0
  const next = () => {
    if (begun === connections) {
      if (over === connections) process.send?.('open')
      return
    }
    begun += 1
    let isOpen = false
    const decide = () => {
      over += 1
      next()
    }
    const connection = endpoint.connect(nowMicros(), to, {
      opened: () => {
        isOpen = true
        open += 1
        decide()
      },
      closed: (code) => {
        closed(code)
        if (isOpen) open -= 1
        else decide()
      },
    })
    if (connection === undefined) throw new Error(`no connection after ${begun}`)
  }
  for (let count = 0; count < AT_ONCE; count++) next()
}

function work(): IdleWork {
  const { user, system } = process.cpuUsage()
  const most = timersMax
  timersMax = pending.size
  const datagramsSent = driver?.endpoint.counters().datagramsSent ?? 0
  return { cpuMs: (user + system) / 1000, atMs: performance.now(), timersMax: most, datagramsSent }
}

function memory(): IdleMemory {
  for (let round = 0; round < 3; round++) globalThis.gc?.()
  const { rss, heapUsed } = process.memoryUsage()
  const coreBytes = driver?.endpoint.gauges().memoryBytes ?? 0
  const backend = driver?.backend ?? 'none'
  return { open, ended, residentBytes: rss, heapBytes: heapUsed, coreBytes, backend }
}

process.on('message', (message: IdleOrder | 'memory' | 'work') => {
  if (message === 'memory') process.send?.(memory())
  else if (message === 'work') process.send?.(work())
  else begin(message)
})
process.send?.('ready')
