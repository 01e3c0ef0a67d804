/** What a socket makes of a line, call by call: order, identity, back-pressure. */
import type builtin from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { setCarrier } from './carrier.ts'
import net, { configure, type Socket } from './index.ts'
import type { Carrier, DialTarget, Line, LineOwner } from './line.ts'

/** A line that does only what a test tells it, and notes what the socket asks of it. */
class FakeLine implements Line {
  readonly addresses = {
    localAddress: '127.0.0.1',
    localPort: 1,
    remoteAddress: '127.0.0.1',
    remotePort: 2,
    family: 'IPv4' as const,
  }
  readonly calls: string[] = []
  readonly written: Buffer[] = []
  readonly inbox: Buffer[] = []
  owner: LineOwner
  room = Number.POSITIVE_INFINITY
  ended = false

  constructor(owner: LineOwner) {
    this.owner = owner
  }

  write(chunk: Uint8Array): number {
    const size = Math.min(this.room, chunk.length)
    this.room -= size
    this.written.push(Buffer.from(chunk.subarray(0, size)))
    return size
  }
  finish(): void {
    this.calls.push('finish')
  }
  read(): Buffer | null {
    this.calls.push('read')
    return this.inbox.shift() ?? null
  }
  readInto(): number {
    return 0
  }
  get readableSize(): number {
    return this.inbox.reduce((size, chunk) => size + chunk.length, 0)
  }
  reset(): void {
    this.calls.push('reset')
  }
  release(): void {
    this.calls.push('release')
  }
  setRef(isRef: boolean): void {
    this.calls.push(isRef ? 'ref' : 'unref')
  }
  setNoDelay(isNoDelay: boolean): void {
    this.calls.push(`noDelay ${isNoDelay}`)
  }
  setKeepAlive(isEnabled: boolean, delayMs: number): void {
    this.calls.push(`keepAlive ${isEnabled} ${delayMs}`)
  }
  stats() {
    return { transport: 'udp', backend: 'fake', security: 'none', rttMs: 7 } as const
  }
  get text(): string {
    return Buffer.concat(this.written).toString()
  }
}

const lines: FakeLine[] = []
const targets: DialTarget[] = []
const carrier: Carrier = {
  dial(target, owner) {
    targets.push(target)
    const line = new FakeLine(owner)
    lines.push(line)
    return line
  },
  listen: () => assert.unreachable() as never,
}

test.before.each(() => {
  lines.length = 0
  targets.length = 0
  setCarrier(carrier)
  configure({ transport: 'udp' })
})

test.after(() => {
  setCarrier(null)
  configure({ transport: undefined })
})

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

async function turns(count = 5): Promise<void> {
  for (let index = 0; index < count; index += 1) await turn()
}

async function dial(options: object = {}): Promise<{ socket: Socket; line: FakeLine }> {
  const socket: Socket = net.connect({ port: 2, host: '127.0.0.1', ...options } as never)
  await turn()
  return { socket, line: lines.at(-1) as FakeLine }
}

async function open(options: object = {}): Promise<{ socket: Socket; line: FakeLine }> {
  const both = await dial(options)
  both.line.owner.connected()
  await turns()
  return both
}

test('user code never runs inside the carrier', async () => {
  const { socket, line } = await dial()
  let isInside = false
  const seen: boolean[] = []
  socket.on('connect', () => seen.push(isInside))
  socket.on('data', () => seen.push(isInside))
  socket.on('error', () => seen.push(isInside))
  for (const tell of [
    () => line.owner.connected(),
    () => {
      line.inbox.push(Buffer.from('x'))
      line.owner.readable()
    },
    () => line.owner.failed('ECONNRESET'),
  ]) {
    isInside = true
    tell()
    isInside = false
    await turns()
  }
  assert.equal(seen, [false, false, false])
})

test('late events of an earlier line are ignored', async () => {
  const { socket, line: first } = await open()
  socket.destroy()
  await turns()
  socket.connect(2, '127.0.0.1')
  await turn()
  const second = lines.at(-1) as FakeLine
  assert.is.not(first, second)
  first.owner.connected()
  first.inbox.push(Buffer.from('stale'))
  first.owner.readable()
  first.owner.failed('ECONNRESET')
  await turns()
  assert.ok(socket.connecting)
  assert.is(socket.bytesRead, 0)
  second.owner.connected()
  await turns()
  assert.is(socket.readyState, 'open')
  socket.destroy()
})

test('nothing is read that nobody wants', async () => {
  const { socket, line } = await open({ highWaterMark: 10 })
  line.calls.length = 0
  line.inbox.push(Buffer.alloc(20), Buffer.alloc(20), Buffer.alloc(20))
  line.owner.readable()
  await turns()
  // The first chunk has filled the buffer.
  assert.is(line.inbox.length, 2)
  assert.is(socket.bytesRead, 20)
  assert.ok(line.calls.includes('unref'), 'an idle socket does not keep the process alive')
  socket.resume()
  await turns()
  assert.is(line.inbox.length, 0)
  assert.is(socket.bytesRead, 60)
  socket.destroy()
})

test('ticks and microtasks run between two chunks', async () => {
  const { socket, line } = await open()
  const order: string[] = []
  socket.on('data', (chunk) => {
    order.push(String(chunk))
    process.nextTick(() => order.push('tick'))
    Promise.resolve()
      .then(() => {})
      .then(() => order.push('microtask'))
  })
  await turns()
  line.inbox.push(Buffer.from('a'), Buffer.from('b'))
  line.owner.readable()
  await turns()
  assert.equal(order, ['a', 'tick', 'microtask', 'b', 'tick', 'microtask'])
  socket.destroy()
})

test('a write is done when the line has accepted all of it', async () => {
  const { socket, line } = await open()
  line.room = 3
  let isDone = false
  socket.write('0123456789', () => {
    isDone = true
  })
  socket.write('next')
  await turns()
  assert.equal([line.text, isDone, socket.bytesWritten], ['012', false, 14])
  line.room = 4
  line.owner.writable()
  await turns()
  assert.equal([line.text, isDone], ['0123456', false])
  line.room = 99
  line.owner.writable()
  await turns()
  assert.equal([line.text, isDone], ['0123456789next', true])
  socket.destroy()
})

test('the first words leave with the opening, once', async () => {
  const socket: Socket = net.connect(2, '127.0.0.1')
  let isDone = false
  socket.write('hello', () => {
    isDone = true
  })
  await turn()
  const line = lines.at(-1) as FakeLine
  assert.is(line.text, 'hello')
  await turns()
  assert.not(isDone)
  assert.is(socket.bytesWritten, 5)
  line.owner.connected()
  await turns()
  assert.equal([line.text, isDone, socket.bytesWritten], ['hello', true, 5])
  socket.destroy()
})

test('first words that were not accepted whole go on after connect', async () => {
  const { socket, line } = await dial()
  line.room = 2
  socket.write('hello')
  assert.is(line.text, 'he')
  line.room = 1
  line.owner.writable()
  await turns()
  assert.is(line.text, 'hel')
  line.room = 99
  line.owner.connected()
  await turns()
  assert.is(line.text, 'hello')
  socket.destroy()
})

test('giving up after first words resets: nobody was told that they were sent', async () => {
  const { socket, line } = await dial()
  socket.write('hello', () => {})
  socket.on('error', () => {})
  socket.destroy()
  assert.ok(line.calls.includes('reset'))
  const { socket: quiet, line: other } = await dial()
  quiet.destroy()
  assert.ok(other.calls.includes('release'))
})

test('destroy releases, with unread bytes it resets', async () => {
  const { socket, line } = await open()
  socket.destroy()
  assert.is(line.calls.at(-1), 'release')
  const { socket: other, line: full } = await open()
  other.pause()
  full.inbox.push(Buffer.from('unread'))
  other.destroy()
  assert.is(full.calls.at(-1), 'reset')
})

test('a failure while nobody reads or writes is told when somebody does', async () => {
  const { socket, line } = await open({ highWaterMark: 1 })
  const errors: string[] = []
  socket.on('error', (error) => errors.push(error.message))
  line.inbox.push(Buffer.from('fills the buffer'))
  line.owner.readable()
  await turns()
  line.owner.failed('ECONNRESET')
  await turns()
  assert.equal(errors, [])
  socket.resume()
  await turns()
  assert.equal(errors, ['read ECONNRESET'])
})

test('after the end a failure is EPIPE for the writer', async () => {
  const { socket, line } = await open({ allowHalfOpen: true })
  const errors: unknown[] = []
  socket.on('error', (error) => errors.push(error.message))
  socket.resume()
  line.ended = true
  line.owner.readable()
  await turns()
  assert.ok(socket.readableEnded)
  line.owner.failed('ECONNRESET')
  await turns()
  socket.write('anybody there')
  await turns()
  assert.equal(errors, ['write EPIPE'])
})

test('a cause from below is kept', async () => {
  const { socket, line } = await dial()
  const cause = new Error('another version')
  const failed = new Promise<Error>((resolve) => socket.once('error', resolve))
  line.owner.refused('EPROTO', cause)
  const error = await failed
  assert.equal([error.message, error.cause], ['connect EPROTO 127.0.0.1:2', cause])
})

test('settings made before connect reach the line, later ones at once', async () => {
  const { socket, line } = await dial({
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 5_000,
  })
  line.owner.connected()
  await turns()
  const set = line.calls.filter((call) => /noDelay|keepAlive/.test(call))
  assert.equal(set, ['noDelay true', 'keepAlive true 5000'])
  line.calls.length = 0
  socket.setNoDelay(false).setKeepAlive(true, 9_000).setKeepAlive(false)
  assert.equal(line.calls, ['noDelay false', 'keepAlive true 9000', 'keepAlive false 0'])
  socket.destroy()
})

test('options reach the carrier', async () => {
  const { socket } = await dial({
    localAddress: '127.0.0.1',
    localPort: 77,
    connectTimeoutMs: 123,
    security: 'none',
  })
  assert.equal(targets.at(-1), {
    address: '127.0.0.1',
    port: 2,
    family: 4,
    localAddress: '127.0.0.1',
    localPort: 77,
    connectTimeoutMs: 123,
    security: { mode: 'none' },
  })
  socket.destroy()
})

test('stats are those of the line, after closing the last ones', async () => {
  const { socket } = await open()
  const expected = { transport: 'udp', backend: 'fake', security: 'none', rttMs: 7 }
  assert.equal(socket.stats(), expected)
  socket.destroy()
  await turns()
  assert.equal(socket.stats(), expected)
  assert.equal(new net.Socket().stats(), { transport: 'tcp' })
})

test('only one callback of a write, also when the line fails in it', async () => {
  const { socket, line } = await open()
  const outcomes: unknown[] = []
  socket.on('error', () => {})
  line.room = 1
  socket.write('two', (error) => outcomes.push((error as Error | null)?.message ?? null))
  line.owner.writable()
  line.owner.failed('ECONNRESET')
  await turns()
  assert.is(outcomes.length, 1)
  assert.ok((socket as builtin.Socket).destroyed)
})

test.run()
