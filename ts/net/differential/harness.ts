/**
 * Runs one script on `node:net` and once more on ours, and compares what was seen: events with
 * their arguments and the socket's state, return values, exceptions, callbacks. The built-in of the
 * running Node is the oracle, so nothing here knows what is right.
 */
import type { EventEmitter } from 'node:events'
import builtin from 'node:net'
import ours from '../index.ts'

/** The module under test: one of the two. */
export type NetModule = typeof builtin & { readonly Stream: typeof builtin.Socket }

/** One script. */
export interface Scenario {
  readonly name: string
  run(world: World): Promise<void>
}

/** Names a script; `run` must leave nothing open that `world` does not know. */
export function scenario(name: string, run: (world: World) => Promise<void>): Scenario {
  return { name, run }
}

/** What each party saw, one line per event, by party. */
export type Traces = Record<string, string[]>

const scenarioTimeoutMs = 15_000

const socketEvents = [
  'lookup',
  'connectionAttempt',
  'connectionAttemptFailed',
  'connectionAttemptTimeout',
  'connect',
  'ready',
  'end',
  'finish',
  'timeout',
  'error',
  'close',
] as const

const serverEvents = ['listening', 'error', 'close', 'drop'] as const

export class World {
  readonly net: NetModule
  readonly traces: Traces = {}
  private readonly open = new Set<builtin.Socket | builtin.Server>()
  private readonly ports = new Map<number, string>()
  private acceptedCount = 0
  private isOver = false

  constructor(net: NetModule) {
    this.net = net
  }

  /** Notes what `party` saw. */
  note(party: string, ...values: readonly unknown[]): void {
    if (this.isOver) return
    const lines = this.traces[party] ?? []
    lines.push(values.map((value) => this.show(value)).join(' '))
    this.traces[party] = lines
  }

  /** Notes what a call gives or throws. */
  try(party: string, what: string, call: () => unknown): void {
    try {
      this.note(party, what, 'gives', call())
    } catch (error) {
      this.note(party, what, 'throws', error)
    }
  }

  /** Makes a callback that notes what it gets: Node gives errors to callbacks typed without any. */
  callback(party: string, what: string): () => void {
    return (...args: unknown[]) => this.note(party, what, ...args)
  }

  /** Notes a socket's events with its state, and closes it at the end. */
  watch<Watched extends builtin.Socket>(party: string, socket: Watched): Watched {
    this.open.add(socket)
    for (const event of socketEvents) {
      socket.on(event, (...args: unknown[]) => {
        this.note(party, event, ...args, stateOf(socket))
      })
    }
    return socket
  }

  /** Notes a server's events, and closes it at the end. */
  watchServer<Watched extends builtin.Server>(party: string, server: Watched): Watched {
    this.open.add(server)
    for (const event of serverEvents) {
      server.on(event, (...args: unknown[]) => {
        if (event === 'listening') this.learnPort(server)
        this.note(party, event, ...args, server.listening)
      })
    }
    return server
  }

  /**
   * Makes a server that listens on a free port. `onSocket` gets its sockets, already watched: the
   * first one as `s`, the others as `s2`, `s3` and so on.
   */
  async serve(
    onSocket: (socket: builtin.Socket) => void = () => {},
    options: builtin.ServerOpts = {},
    host = '127.0.0.1',
  ): Promise<builtin.Server> {
    const server = this.net.createServer(options, (socket) => {
      this.acceptedCount += 1
      this.watch(this.acceptedCount === 1 ? 's' : `s${this.acceptedCount}`, socket)
      onSocket(socket)
    })
    this.open.add(server)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, host, () => {
        server.off('error', reject)
        resolve()
      })
    })
    this.learnPort(server)
    return server
  }

  /** Connects a watched client `c` to a server of `serve`. */
  dial(server: builtin.Server, options: object = {}): builtin.Socket {
    const to = { port: portOf(server), host: '127.0.0.1', ...options }
    return this.watch('c', this.net.connect(to))
  }

  /** Gives a port on which nobody listens. */
  async closedPort(): Promise<number> {
    const server = this.net.createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const port = portOf(server)
    await new Promise<void>((resolve) => server.close(() => resolve()))
    this.ports.set(port, 'CLOSED_PORT')
    return port
  }

  /** How many notes each party has made. */
  get counts(): Map<string, number> {
    return new Map(Object.entries(this.traces).map(([party, lines]) => [party, lines.length]))
  }

  /** Ends what is still open, without noting it, and waits for it. */
  async cleanUp(): Promise<void> {
    this.isOver = true
    const closing: Promise<unknown>[] = []
    for (const one of this.open) {
      if ('listening' in one) {
        if (one.listening) closing.push(new Promise<void>((resolve) => one.close(() => resolve())))
      } else if (!one.destroyed) {
        one.removeAllListeners('error')
        one.on('error', () => {})
        closing.push(new Promise<void>((resolve) => one.once('close', () => resolve())))
        one.destroy()
      }
    }
    await Promise.all(closing)
  }

  private learnPort(server: builtin.Server): void {
    const address = server.address()
    if (typeof address === 'object' && address !== null) this.ports.set(address.port, 'PORT')
  }

  private show(value: unknown): string {
    if (typeof value === 'number') return this.ports.get(value) ?? String(value)
    if (value instanceof Error) return this.showError(value)
    if (Buffer.isBuffer(value)) return `Buffer(${value.length}:${value.toString('latin1', 0, 20)})`
    if (typeof value === 'string') return JSON.stringify(this.hidePorts(value))
    if (typeof value === 'function') return `function ${value.name}`
    if (Array.isArray(value)) return `[${value.map((item) => this.show(item)).join(', ')}]`
    if (typeof value === 'object' && value !== null) return this.showObject(value)
    return String(value)
  }

  private showObject(value: object): string {
    if (value instanceof builtin.Socket) return 'a socket'
    if (value instanceof builtin.Server) return 'a server'
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
    const shown = entries.map(([key, item]) => {
      const isPort = /port/i.test(key) && typeof item === 'number' && item > 0
      return `${key}: ${isPort ? (this.ports.get(item) ?? 'some port') : this.show(item)}`
    })
    return `{ ${shown.join(', ')} }`
  }

  private showError(error: Error): string {
    const { name, message, ...fields } = error as Error & Record<string, unknown>
    const kind = Object.getPrototypeOf(error)?.constructor?.name
    const inner = error instanceof AggregateError ? error.errors.map((one) => this.show(one)) : []
    return `${kind} ${String(name)} ${this.hidePorts(message)} ${this.showObject(fields)} ${inner}`
  }

  private hidePorts(text: string): string {
    return text.replace(/\b\d{2,5}\b/g, (digits) => this.ports.get(Number(digits)) ?? digits)
  }
}

/** The port a server listens on. */
export function portOf(server: builtin.Server): number {
  return (server.address() as builtin.AddressInfo).port
}

/** Waits for an event; fails when 'error' comes first, unless that is what is waited for. */
export function next(emitter: EventEmitter, event: string): Promise<unknown[]> {
  return new Promise((resolve) => emitter.once(event, (...args: unknown[]) => resolve(args)))
}

/** Collects everything a socket receives until its end, without noting how it was cut. */
export async function collect(socket: builtin.Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  await next(socket, 'end')
  return Buffer.concat(chunks)
}

/** Lets everything happen that is due: some turns of the event loop. */
export async function turns(count = 20): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) {
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
}

// Which run is under way: what still waits for an earlier one has lost.
let currentRun = 0

/** Waits until `isReached` holds, turn by turn; the scenario's time limit bounds it. */
export async function until(isReached: () => boolean): Promise<void> {
  const run = currentRun
  while (!isReached()) {
    if (run !== currentRun) throw new Error('the script was over before')
    await turns(1)
  }
}

/** A pattern that shows when bytes are lost, doubled or swapped. */
export function pattern(sizeBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(sizeBytes)
  for (let index = 0; index < sizeBytes; index += 1)
    bytes[index] = (index * 31 + (index >> 8)) & 255
  return bytes
}

/** One of the two things that are compared: a module, and what to do before it is used. */
export interface Side {
  readonly net: typeof builtin
  enter?(): void
}

/** The oracle. */
export const builtinSide: Side = { net: builtin }

const defaultSides: readonly [Side, Side] = [builtinSide, { net: ours as never }]

/**
 * Runs a script on two sides, by default on the built-in and on ours, and gives both traces. The
 * second side may take `patienceMs`.
 */
export async function runBoth(
  one: Scenario,
  [expectedSide, actualSide] = defaultSides,
  patienceMs = scenarioTimeoutMs,
): Promise<{ expected: Traces; actual: Traces }> {
  expectedSide.enter?.()
  const expected = await runOn(expectedSide.net as NetModule, one, rest)
  const counts = new Map(Object.entries(expected).map(([party, lines]) => [party, lines.length]))
  actualSide.enter?.()
  const settle = (world: World) => catchUp(world, counts, patienceMs)
  const actual = await runOn(actualSide.net as NetModule, one, settle, patienceMs)
  return { expected, actual }
}

async function runOn(
  net: NetModule,
  one: Scenario,
  settle: (world: World) => Promise<void>,
  patienceMs = scenarioTimeoutMs,
): Promise<Traces> {
  const world = new World(net)
  currentRun += 1
  try {
    const work = one.run(world).then(() => settle(world))
    if (await isLate(work, patienceMs)) world.note('harness', 'did not finish in time')
  } catch (error) {
    world.note('harness', 'failed with', error)
  }
  if (await isLate(world.cleanUp(), patienceMs)) throw new Error('sockets or servers stay open')
  return world.traces
}

/** Says whether `work` takes longer than that. */
async function isLate(work: Promise<void>, patienceMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<true>((resolve) => {
    timer = setTimeout(() => resolve(true), patienceMs)
  })
  try {
    return (await Promise.race([work, late])) === true
  } finally {
    clearTimeout(timer)
  }
}

/** Waits until nothing was noted for a while: with the kernel's loopback turns are enough. */
async function rest(world: World): Promise<void> {
  let before = -1
  for (;;) {
    const now = [...world.counts.values()].reduce((sum, count) => sum + count, 0)
    if (now === before) return
    before = now
    await turns(50)
  }
}

/** Waits until every party has noted as much as on the built-in, and a little for what is too much. */
async function catchUp(
  world: World,
  expected: ReadonlyMap<string, number>,
  patienceMs: number,
): Promise<void> {
  const isBehind = (): boolean => {
    const { counts } = world
    return [...expected].some(([party, count]) => (counts.get(party) ?? 0) < count)
  }
  const deadline = Date.now() + patienceMs / 3
  while (isBehind() && Date.now() < deadline) await turns(1)
  await turns(50)
}

function stateOf(socket: builtin.Socket): string {
  const flags = [
    socket.readyState,
    socket.connecting ? 'connecting' : '',
    socket.pending ? 'pending' : '',
    socket.destroyed ? 'destroyed' : '',
    socket.readable ? 'r' : '',
    socket.writable ? 'w' : '',
  ]
  return flags.filter((flag) => flag !== '').join(' ')
}
