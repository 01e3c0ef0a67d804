/** The contract of `line.ts`, as the carrier of the tests keeps it. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { DialTarget, Line, LineOwner, Listener } from './line.ts'
import { MemoryCarrier, type MemoryCarrierOptions } from './memory-carrier.ts'

/** Notes what a line tells. */
class Recorder implements LineOwner {
  readonly events: string[] = []
  connected(): void {
    this.events.push('connected')
  }
  refused(code: string): void {
    this.events.push(`refused ${code}`)
  }
  readable(): void {
    this.events.push('readable')
  }
  writable(): void {
    this.events.push('writable')
  }
  finished(): void {
    this.events.push('finished')
  }
  failed(code: string): void {
    this.events.push(`failed ${code}`)
  }
}

interface Pair {
  readonly carrier: MemoryCarrier
  readonly listener: Listener
  readonly dialled: Line
  readonly accepted: Line
  readonly dialler: Recorder
  readonly acceptor: Recorder
}

const target: Omit<DialTarget, 'port'> = { address: '127.0.0.1', family: 4 }

async function turns(count = 12): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((done) => setImmediate(done))
}

async function connect(options: MemoryCarrierOptions = {}): Promise<Pair> {
  const carrier = new MemoryCarrier(options)
  const acceptor = new Recorder()
  let accepted: Line | undefined
  const listener = carrier.listen(
    { port: 0, address: '127.0.0.1' },
    {
      incoming(line) {
        accepted = line
        line.owner = acceptor
        return true
      },
      failed: assert.unreachable,
    },
  )
  const dialler = new Recorder()
  const dialled = carrier.dial({ ...target, port: listener.address.port }, dialler)
  assert.equal(dialler.events, [], 'nothing is told inside a call')
  await turns()
  assert.ok(accepted)
  listener.close()
  return { carrier, listener, dialled, accepted: accepted as Line, dialler, acceptor }
}

test('both ends agree on addresses', async () => {
  const { dialled, accepted, dialler } = await connect()
  assert.equal(dialler.events, ['connected'])
  assert.is(dialled.addresses.localPort, accepted.addresses.remotePort)
  assert.is(dialled.addresses.remotePort, accepted.addresses.localPort)
  dialled.reset()
})

test('a full window stops the writer until the reader has read', async () => {
  const { dialled, accepted, dialler, acceptor } = await connect({
    windowSizeBytes: 10,
    chunkSizeBytes: 4,
  })
  assert.is(dialled.write(Buffer.from('0123456789abc')), 10)
  assert.is(dialled.write(Buffer.from('x')), 0)
  await turns()
  assert.equal(acceptor.events, ['readable'], 'told once')
  assert.is(accepted.readableSize, 10)
  assert.is(accepted.read(3)?.toString(), '012')
  const rest = Buffer.alloc(99)
  assert.is(accepted.readInto(rest), 7)
  assert.is(accepted.read(), null)
  await turns()
  assert.ok(dialler.events.includes('writable'))
  assert.is(dialled.write(Buffer.from('abc')), 3)
  await turns()
  assert.equal(acceptor.events, ['readable', 'readable'], 'told again after null')
  dialled.reset()
})

test('FIN comes after the bytes, and each side has its own', async () => {
  const { dialled, accepted, dialler, acceptor } = await connect()
  dialled.write(Buffer.from('bye'))
  dialled.finish()
  await turns()
  assert.not(accepted.ended)
  assert.is(accepted.read()?.toString(), 'bye')
  assert.ok(accepted.ended)
  assert.ok(dialler.events.includes('finished'))
  accepted.write(Buffer.from('still here'))
  accepted.finish()
  await turns()
  assert.is(dialled.read()?.toString(), 'still here')
  assert.ok(dialled.ended)
  assert.ok(acceptor.events.includes('finished'))
  // As in `net`, an open end keeps the process alive even after both FINs.
  dialled.release()
  accepted.release()
})

test('what is written before the accept leaves with the opening', async () => {
  const carrier = new MemoryCarrier()
  let received: Line | undefined
  const listener = carrier.listen(
    { port: 0 },
    {
      incoming(line) {
        line.owner = new Recorder()
        received = line
        return true
      },
      failed: assert.unreachable,
    },
  )
  const line = carrier.dial({ ...target, port: listener.address.port }, new Recorder())
  assert.is(line.write(Buffer.from('early')), 5)
  await turns()
  assert.is(received?.read()?.toString(), 'early')
  assert.is(received?.addresses.remoteAddress, '::ffff:127.0.0.1')
  line.reset()
  listener.close()
})

test('refuses without a listener, and when the listener refuses', async () => {
  const carrier = new MemoryCarrier()
  const listener = carrier.listen(
    { port: 0, address: '127.0.0.1' },
    { incoming: () => false, failed: assert.unreachable },
  )
  const first = new Recorder()
  carrier.dial({ ...target, port: listener.address.port }, first)
  await turns()
  listener.close()
  const second = new Recorder()
  carrier.dial({ ...target, port: listener.address.port }, second)
  await turns()
  assert.equal([first.events, second.events], [['refused ECONNREFUSED'], ['refused ECONNREFUSED']])
})

test('reset, and release with unread bytes, fail the peer', async () => {
  for (const how of ['reset', 'release'] as const) {
    const { dialled, accepted, dialler, acceptor } = await connect()
    dialled.write(Buffer.from('unread'))
    await turns()
    accepted[how]()
    await turns()
    assert.is(dialler.events.at(-1), 'failed ECONNRESET')
    assert.equal(acceptor.events, ['readable'], 'nothing after the release')
  }
})

test('bytes for a released line fail their sender', async () => {
  const { dialled, accepted, dialler } = await connect()
  accepted.release()
  await turns()
  assert.ok(dialled.ended)
  dialled.write(Buffer.from('anybody there'))
  await turns()
  assert.is(dialler.events.at(-1), 'failed ECONNRESET')
})

test('a released line still delivers what was written', async () => {
  const { dialled, accepted } = await connect()
  dialled.write(Buffer.from('last words'))
  dialled.release()
  await turns()
  assert.is(accepted.read()?.toString(), 'last words')
  assert.ok(accepted.ended)
  accepted.release()
})

test('binding fails at once', () => {
  const carrier = new MemoryCarrier()
  const owner = { incoming: () => false, failed: assert.unreachable }
  const listener = carrier.listen({ port: 0, address: '127.0.0.1' }, owner)
  const { port } = listener.address
  assert.throws(() => carrier.listen({ port }, owner), /EADDRINUSE/)
  assert.throws(() => carrier.listen({ port: 1, address: '192.0.2.1' }, owner), /EADDRNOTAVAIL/)
  const bound = { ...target, port, localAddress: '127.0.0.1', localPort: port }
  assert.throws(() => carrier.dial(bound, new Recorder()), /EADDRINUSE/)
  listener.close()
  carrier.listen({ port, address: '127.0.0.1' }, owner).close()
})

test.run()
