import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { type DatagramPort, type Machine, NEVER } from '../machine.ts'
import type { SimulationErrorCode } from './errors.ts'
import { machinePort } from './machine-port.ts'
import { Probe } from './probe.ts'
import { stopAndWaitHarness } from './stop-and-wait.ts'
import { swarmScenario } from './swarm.ts'
import { type RunEnd, World, type WorldOptions } from './world.ts'

const HELLO = Uint8Array.of(1, 2, 3)

function twoHosts(options: WorldOptions = {}, seed = 1) {
  const world = new World(seed, options)
  const a = world.host('a', '192.0.2.1')
  const b = world.host('b', '192.0.2.2')
  return { world, a, b }
}

/** An engine that does nothing, for tests to change. */
function idleEngine(changes: Partial<DatagramPort> = {}): DatagramPort {
  return {
    deliver: () => true,
    ingest: (_now, count) => count,
    flush: () => 0,
    collect: () => {},
    timeout: () => {},
    nextTimeout: () => NEVER,
    ...changes,
  }
}

function hasCode(code: SimulationErrorCode) {
  return (error: Error & { code?: string }) => error.code === code && error.message.length > 10
}

function settle(world: World): RunEnd {
  return world.run(() => false)
}

test('hosts reach each other over the hub, up and down', () => {
  const { world, a, b } = twoHosts({ access: { delayMicros: 300 } })
  world.access(b).backward.set({ delayMicros: 50 })
  const sender = new Probe(a)
  const receiver = new Probe(b, [{ port: 7 }])
  sender.send({ address: b.address, port: 7 }, HELLO)
  assert.is(settle(world), 'idle')
  assert.is(world.now, 350)
  const [datagram] = receiver.received
  assert.equal(datagram?.bytes, HELLO)
  assert.equal(datagram?.from, { socketIndex: 0, address: a.address, port: sender.port })
})

test('a direct link is preferred to the hub', () => {
  const { world, a, b } = twoHosts()
  const pair = world.link(a, b, { delayMicros: 7 }, { delayMicros: 11 })
  const echo = new Probe(b, [{ port: 7 }])
  echo.onDatagram = ({ from, bytes }) => echo.send(from, bytes)
  const sender = new Probe(a)
  sender.send({ address: b.address, port: 7 }, HELLO)
  settle(world)
  assert.is(world.now, 18)
  assert.is(pair.forward.count('delivered'), 1)
  assert.is(pair.backward.count('delivered'), 1)
  assert.is(world.access(a).forward.count('sent'), 0)
})

test('IPv6 addresses are the same in any spelling', () => {
  const world = new World(1)
  const a = world.host('a', '2001:db8:0:0:0:0:0:1')
  const b = world.host('b', ['192.0.2.9', '2001:DB8::2'])
  const receiver = new Probe(b, [{ address: '2001:db8::0002', port: 7 }])
  new Probe(a).send({ address: '2001:0db8::2', port: 7 }, HELLO)
  settle(world)
  assert.is(receiver.received.length, 1)
  assert.is(receiver.received[0]?.from.address, '2001:db8::1')
})

test('each socket of an engine has its address, and its number comes with each datagram', () => {
  const world = new World(1)
  const a = world.host('a', ['192.0.2.1', '2001:db8::1'])
  const b = world.host('b', ['192.0.2.2', '2001:db8::2'])
  const sender = new Probe(a, [{}, { address: '2001:db8::1', port: 5 }])
  const receiver = new Probe(b, [{ port: 7 }, { port: 8 }, { address: '2001:db8::2', port: 7 }])
  sender.send({ address: '192.0.2.2', port: 8 }, HELLO)
  sender.send({ address: '2001:db8::2', port: 7, socketIndex: 1 }, HELLO)
  sender.send({ address: '2001:db8::2', port: 7, socketIndex: 0 }, HELLO)
  settle(world)
  assert.equal(
    receiver.received.map(({ from }) => from),
    [
      { socketIndex: 1, address: '192.0.2.1', port: sender.port },
      { socketIndex: 2, address: '2001:db8::1', port: 5 },
    ],
  )
  assert.is(a.count('unroutable'), 1) // IPv4 does not speak to IPv6.
})

test('what nobody waits for is counted: no such address, no such port', () => {
  const { world, a, b } = twoHosts()
  const sender = new Probe(a)
  sender.send({ address: '203.0.113.9', port: 7 }, HELLO)
  sender.send({ address: b.address, port: 7 }, HELLO)
  settle(world)
  assert.is(world.counts().unroutable, 1)
  assert.is(b.count('port-closed'), 1)
  assert.is(world.datagramsInFlight, 0)
})

test('a host reaches itself', () => {
  const { world, a } = twoHosts()
  const receiver = new Probe(a, [{ port: 7 }])
  new Probe(a).send({ address: a.address, port: 7 }, HELLO)
  settle(world)
  assert.is(receiver.received.length, 1)
  assert.is(world.now, 0)
})

test('malformed and taken addresses, ports and names are refused', () => {
  const { world, a, b } = twoHosts()
  const refused = hasCode('ERR_PUNCHLINE_SIM_ADDRESS')
  for (const address of ['192.0.2', 'example.com', '', '2001:db8::g']) {
    assert.throws(() => world.host('c', address), refused)
  }
  assert.throws(() => world.host('d', '192.0.2.1'), refused)
  assert.throws(() => world.host('a', '192.0.2.3'), RangeError)
  new Probe(a, [{ port: 7 }])
  assert.throws(() => new Probe(a, [{ port: 7 }]), refused)
  assert.throws(() => new Probe(a, [{ address: b.address }]), refused)
  for (const port of [-1, 65_536, 1.5]) assert.throws(() => new Probe(a, [{ port }]), refused)
})

test('free ports run out, and come back when an engine leaves', () => {
  const world = new World(1)
  const a = world.host('a', '192.0.2.1')
  const all = new Probe(a, Array(65_536 - 49_152).fill({}))
  assert.throws(() => new Probe(a), hasCode('ERR_PUNCHLINE_SIM_ADDRESS'))
  all.attachment.detach()
  assert.ok(new Probe(a).port >= 49_152)
})

test('clocks of hosts differ, and engines see only their own', () => {
  const { world, a, b } = twoHosts()
  assert.is.not(a.now, b.now)
  const seen: number[] = []
  let deadline = a.now + 1_000
  a.attach(
    idleEngine({
      nextTimeout: () => deadline,
      timeout: (now) => {
        seen.push(now)
        deadline = NEVER
      },
    }),
  )
  settle(world)
  assert.is(world.now, 1_000)
  assert.equal(seen, [a.now])
})

test('a deadline between two microseconds is not missed', () => {
  const { world, a } = twoHosts()
  let deadline = a.now + 10.25
  const seen: number[] = []
  const timeout = (now: number) => {
    seen.push(now - deadline)
    deadline = NEVER
  }
  a.attach(idleEngine({ nextTimeout: () => deadline, timeout }))
  settle(world)
  assert.equal(seen, [0.75])
})

test('deadlines that move back and forth fire once, at the last one set', () => {
  const { world, a } = twoHosts()
  const start = a.now
  let deadline = start + 100
  const seen: number[] = []
  const attachment = a.attach(
    idleEngine({
      nextTimeout: () => deadline,
      timeout: (now) => {
        seen.push(now - start)
        deadline = NEVER
      },
    }),
  )
  const moveAt = (at: number, to: number) =>
    world.at(at, () => {
      deadline = to === NEVER ? NEVER : start + to
      attachment.wake()
    })
  moveAt(10, 500)
  moveAt(20, 300)
  moveAt(30, 700)
  moveAt(710, 800)
  moveAt(720, NEVER)
  settle(world)
  assert.equal(seen, [700])
})

test('an engine that moves its deadline with every change leaves one event behind, not thousands', () => {
  const { world, a } = twoHosts()
  let deadline = NEVER
  const attachment = a.attach(idleEngine({ nextTimeout: () => deadline }))
  for (let at = 0; at < 10_000; at++) {
    world.at(at, () => {
      deadline = a.now + 1_000_000
      attachment.wake()
    })
  }
  world.run(10_000)
  const before = world.events
  deadline = NEVER
  attachment.wake()
  settle(world)
  assert.ok(world.events - before <= 3, `${world.events - before} events`)
})

test('a full arena and a full event table only split the batch', () => {
  const { world, a, b } = twoHosts()
  const taken: number[] = []
  let waiting: number[] = []
  b.attach(
    idleEngine({
      deliver: (_from, bytes) => {
        if (waiting.length === 4) return false
        waiting.push(bytes[0] as number)
        return true
      },
      ingest: (_now, count) => {
        assert.is(count, waiting.length)
        const part = Math.min(3, count)
        taken.push(...waiting.slice(0, part))
        waiting = waiting.slice(part)
        return part
      },
    }),
    [{ port: 7 }],
  )
  const sender = new Probe(a)
  for (let number = 0; number < 100; number++) {
    sender.send({ address: b.address, port: 7 }, Uint8Array.of(number))
  }
  settle(world)
  assert.equal(taken, [...Array(100).keys()])
})

test('an engine that answers while its event table is full is flushed to make room', () => {
  const { world, a, b } = twoHosts()
  let blocked = true
  let taken = 0
  b.attach(
    idleEngine({
      ingest: (_now, count) => {
        if (blocked) return 0
        taken += count
        return count
      },
      flush: () => {
        blocked = false
        return 0
      },
    }),
    [{ port: 7 }],
  )
  new Probe(a).send({ address: b.address, port: 7 }, HELLO)
  settle(world)
  assert.is(taken, 1)
})

const DEFECTS: Record<string, Partial<DatagramPort>> = {
  'takes nothing from a full arena': { deliver: () => false },
  'takes nothing when told to': { ingest: () => 0 },
  'takes more than there is': { ingest: (_now, count) => count + 1 },
  'never stops sending': { flush: () => 1 },
  'always has a deadline that has passed': { nextTimeout: () => 0 },
  'has a deadline that is no number': { nextTimeout: () => Number.NaN },
  'sends from a socket that it lacks': {
    flush: () => 1,
    collect: (take) => take({ socketIndex: 1, address: '192.0.2.1', port: 1 }, HELLO),
  },
}
for (const [name, changes] of Object.entries(DEFECTS)) {
  test(`an engine that ${name} is named, not waited for`, () => {
    const { world, a, b } = twoHosts()
    b.attach(idleEngine(changes), [{ port: 7 }])
    new Probe(a).send({ address: b.address, port: 7 }, HELLO)
    assert.throws(
      () => settle(world),
      (error: Error) => hasCode('ERR_PUNCHLINE_SIM_ENGINE')(error) && /host b/.test(error.message),
    )
  })
}

test('a world that never comes to rest ends at its bound of events', () => {
  const { world, a, b } = twoHosts({ eventsMax: 1_000 })
  for (const host of [a, b]) {
    const probe = new Probe(host, [{ port: 7 }])
    probe.onDatagram = ({ from, bytes }) => probe.send(from, bytes)
    if (host === b) probe.send({ address: a.address, port: 7 }, HELLO)
  }
  assert.throws(() => settle(world), hasCode('ERR_PUNCHLINE_SIM_LIMIT'))
})

test('datagrams in flight are bounded', () => {
  const { world, a, b } = twoHosts({ datagramsInFlightMax: 10 })
  const sender = new Probe(a)
  for (let count = 0; count < 11; count++) sender.send({ address: b.address, port: 7 }, HELLO)
  assert.throws(() => settle(world), hasCode('ERR_PUNCHLINE_SIM_LIMIT'))
})

test('run says why it came back, and time stands where it should', () => {
  const { world } = twoHosts()
  let called = 0
  world.after(100, () => called++)
  assert.is(world.run(50), 'time')
  assert.is(world.now, 50)
  assert.is(
    world.run(() => called === 1),
    'condition',
  )
  assert.is(world.now, 100)
  assert.is(
    world.run(() => called === 2),
    'idle',
  )
  assert.is(
    world.run(() => called === 2, { until: 300 }),
    'time',
  )
  assert.is(world.now, 300)
  assert.is(world.runFor(25), 'time')
  assert.is(world.now, 325)
  assert.is(world.run(10), 'time')
  assert.is(world.now, 325)
  assert.is(
    world.run(() => true),
    'condition',
  )
})

test('callbacks come in order of time, then of call; cancelled ones do not', () => {
  const { world } = twoHosts()
  const seen: string[] = []
  world.at(20, () => seen.push('c'))
  world.at(10, () => {
    seen.push('a')
    world.at(0, () => seen.push('late'))
    world.after(10, () => seen.push('e'))
  })
  world.at(10, () => seen.push('b')).cancel()
  world.at(20, () => seen.push('d'))
  settle(world)
  assert.equal(seen, ['a', 'late', 'c', 'd', 'e'])
  assert.throws(() => world.at(Number.NaN, () => {}), RangeError)
  world.at(30, () => assert.throws(() => world.run(40), RangeError))
  settle(world)
})

test('a sleepy program wakes up after the first datagram and takes all that have come', () => {
  const world = new World(1)
  const a = world.host('a', '192.0.2.1')
  const b = world.host('b', '192.0.2.2', { wakeDelayMicros: 1_000, clockOffsetMicros: 0 })
  world.link(a, b)
  const batches: [number, number][] = []
  let waiting = 0
  const engine = idleEngine({
    deliver: () => ++waiting > 0,
    ingest: (now, count) => {
      batches.push([now, count])
      waiting = 0
      return count
    },
  })
  b.attach(engine, [{ port: 7 }])
  const sender = new Probe(a)
  for (const at of [0, 400, 900, 1_500]) {
    world.at(at, () => sender.send({ address: b.address, port: 7 }, HELLO))
  }
  settle(world)
  assert.equal(batches, [
    [1_000, 3],
    [2_500, 1],
  ])
})

test('a paused program finds what its receive buffer could hold', () => {
  const world = new World(1)
  const a = world.host('a', '192.0.2.1')
  const b = world.host('b', '192.0.2.2', { receiveBufferBytes: 10 })
  const receiver = new Probe(b, [{ port: 7 }])
  const sender = new Probe(a)
  b.pause()
  for (let count = 0; count < 5; count++) sender.send({ address: b.address, port: 7 }, HELLO)
  world.run(10_000)
  assert.is(receiver.received.length, 0)
  b.resume()
  settle(world)
  assert.is(receiver.received.length, 3)
  assert.is(b.count('receive-buffer-full'), 2)
})

test('a deadline that passes during a pause is run at once afterwards', () => {
  const { world, a } = twoHosts()
  let deadline = a.now + 100
  const timeout = () => {
    deadline = NEVER
  }
  a.attach(idleEngine({ nextTimeout: () => deadline, timeout }))
  a.pause()
  world.run(500)
  assert.is.not(deadline, NEVER)
  a.resume()
  world.run(500)
  assert.is(deadline, NEVER)
})

test('a crash takes engines and sockets along; a restart begins anew', () => {
  const { world, a, b } = twoHosts()
  const lost = new Probe(b, [{ port: 7 }])
  const sender = new Probe(a)
  const send = () => sender.send({ address: b.address, port: 7 }, HELLO)
  send()
  settle(world)
  b.pause()
  send()
  settle(world)
  const clock = b.now
  b.crash()
  send()
  settle(world)
  assert.not.ok(b.isUp)
  assert.is(b.count('host-down'), 1)
  assert.throws(() => new Probe(b), hasCode('ERR_PUNCHLINE_SIM_ENGINE'))
  b.restart()
  assert.is.not(b.now, clock)
  send()
  settle(world)
  assert.is(b.count('port-closed'), 2) // What waited at the crash, and what found no socket.
  const found = new Probe(b, [{ port: 7 }])
  send()
  settle(world)
  assert.is(lost.received.length, 1)
  assert.is(found.received.length, 1)
  assert.is(world.datagramsInFlight, 0)
})

test('an engine may bring its own host down', () => {
  const { world, a, b } = twoHosts()
  const receiver = new Probe(b, [{ port: 7 }])
  receiver.onDatagram = ({ from, bytes }) => {
    receiver.send(from, bytes)
    b.crash()
  }
  const sender = new Probe(a)
  for (let count = 0; count < 3; count++) sender.send({ address: b.address, port: 7 }, HELLO)
  settle(world)
  assert.is(sender.received.length, 0)
  assert.is(world.datagramsInFlight, 0)
})

test('a clock that jumps forward makes deadlines due', () => {
  const { world, a } = twoHosts()
  let deadline = a.now + 3_600e6
  const timeout = () => {
    deadline = NEVER
  }
  a.attach(idleEngine({ nextTimeout: () => deadline, timeout }))
  world.run(1_000)
  a.jumpClock(3_600e6)
  assert.is(
    world.run(() => deadline === NEVER),
    'condition',
  )
  assert.is(world.now, 1_000)
  assert.throws(() => a.jumpClock(-1), RangeError)
})

test('partitions keep groups apart, one way or both, and heal', () => {
  const { world, a, b } = twoHosts({ access: {} })
  const c = world.host('c', '192.0.2.3')
  world.link(a, b)
  const probes = [a, b, c].map((host) => new Probe(host, [{ port: 7 }]))
  const everyoneSends = () => {
    for (const probe of probes) probe.received.length = 0
    for (const from of probes) {
      for (const to of [a, b, c]) from.send({ address: to.address, port: 7 }, HELLO)
    }
    world.runFor(0)
    return probes.map(({ received }) => received.length)
  }
  assert.equal(everyoneSends(), [3, 3, 3])
  world.partition({ from: [a], to: [b, c], oneWay: true }, 100, 300)
  world.partition({ from: [a], to: [b] }, 200, 400)
  world.run(150)
  assert.equal(everyoneSends(), [3, 2, 2])
  world.run(250)
  assert.equal(everyoneSends(), [2, 2, 2])
  world.run(350)
  assert.equal(everyoneSends(), [2, 2, 3])
  world.partition({ from: [a, b], to: [c] }, 0, 1_000)
  world.runFor(0)
  world.heal()
  assert.equal(everyoneSends(), [3, 3, 3])
  world.run(2_000)
  assert.equal(everyoneSends(), [3, 3, 3])
})

test('a rebound socket goes on from a new port, and the old one is closed', () => {
  const { world, a, b } = twoHosts()
  const sender = new Probe(a)
  const receiver = new Probe(b, [{ port: 7 }])
  sender.attachment.rebind(0, { port: 77 })
  sender.send({ address: b.address, port: 7 }, HELLO)
  settle(world)
  assert.is(receiver.received[0]?.from.port, 77)
  receiver.send({ address: a.address, port: 77 }, HELLO)
  receiver.send({ address: a.address, port: 49_152 }, HELLO)
  settle(world)
  assert.is(sender.received.length, 1)
  assert.is(a.count('port-closed'), 1)
})

test('drives machines as it drives engines', () => {
  const { world, a, b } = twoHosts()
  /** Repeats a question every 100 µs until it is answered three times. */
  class Asker implements Machine<'done'> {
    private answers = 0
    private askAt = a.now
    private told = false
    handleDatagram() {
      this.answers += 1
    }
    handleTimeout() {}
    pollTransmit(now: number) {
      if (this.answers >= 3 || now < this.askAt) return undefined
      this.askAt = now + 100
      return { to: { socketIndex: 0, address: b.address, port: 7 }, bytes: HELLO }
    }
    pollEvent() {
      if (this.answers < 3 || this.told) return undefined
      this.told = true
      return 'done' as const
    }
    pollTimeout() {
      return this.answers >= 3 ? NEVER : this.askAt
    }
  }
  world.link(a, b, { delayMicros: 10 })
  const echo = new Probe(b, [{ port: 7 }])
  echo.onDatagram = ({ from, bytes }) => echo.send(from, bytes)
  const events: [string, number][] = []
  const start = a.now
  a.attach(machinePort(new Asker(), (event, now) => events.push([event, now - start])))
  settle(world)
  assert.equal(events, [['done', 220]])
})

/** Two echoing probes over a bad link: enough chance for any draw to matter. */
function badEcho(seed: number, options: WorldOptions = {}) {
  const { world, a, b } = twoHosts(options, seed)
  world.link(a, b, {
    delayMicros: 1_000,
    jitterMicros: 400,
    jitterReorders: true,
    lossRate: 0.2,
    duplicateRate: 0.1,
    corruptRate: 0.05,
    corruptPassesChecksum: true,
  })
  const bytes = new Uint8Array(37)
  const echo = new Probe(b, [{ port: 7 }])
  echo.onDatagram = (datagram) => echo.send(datagram.from, datagram.bytes)
  const sender = new Probe(a)
  for (let number = 0; number < 200; number++) {
    world.at(number * 100, () => {
      a.random.fill(bytes)
      sender.send({ address: b.address, port: 7 }, bytes)
    })
  }
  settle(world)
  world.report('received', sender.received.length)
  return { world, hash: world.hash() }
}

const GENERATORS = ['link a>b', 'link b>a', 'host a']

test('the same seed gives the same hash, and another seed another', () => {
  const hashes = new Set<string>()
  for (let seed = 0; seed < 30; seed++) {
    const { hash } = badEcho(seed)
    assert.is(badEcho(seed).hash, hash)
    hashes.add(hash)
  }
  assert.is(hashes.size, 30)
})

test('a recorded run repeats on every engine and machine', () => {
  assert.is(badEcho(1).hash, '1f8925d2ab467fa9')
  assert.is(swarmScenario(stopAndWaitHarness()).run(1).hash, 'ac2769972f211de7')
})

test('a single flipped draw gives another hash', () => {
  const plain = badEcho(1).hash
  const hashes = new Set([plain])
  for (const label of GENERATORS) {
    for (const draw of [0, 1, 2, 3, 50, 199, 300])
      hashes.add(badEcho(1, { flip: { label, draw } }).hash)
  }
  assert.is(hashes.size, 1 + GENERATORS.length * 7)
  assert.is(badEcho(1, { flip: { label: 'link a>b', draw: 1e6 } }).hash, plain)
})

test('a report is part of the hash', () => {
  const hashes = new Set<string>()
  for (const [what, value] of [
    ['a', 0],
    ['a', 1],
    ['b', 0],
  ] as const) {
    const world = new World(1)
    world.report(what, value)
    hashes.add(world.hash())
  }
  assert.is(hashes.size, 3)
})

test('the log has a line for every fate, and changes nothing', () => {
  const lines: string[] = []
  const { world, hash } = badEcho(3, { log: (line) => lines.push(line) })
  assert.is(hash, badEcho(3).hash)
  const { lost, sent, delivered } = world.counts()
  const count = (word: string) => lines.filter((line) => line.includes(`  ${word}  `)).length
  assert.equal([count('lost'), count('sent'), count('delivered')], [lost, sent, delivered])
  assert.match(
    lines[0] as string,
    /^ +0\.000000 {2}a {2}sent {2}192\.0\.2\.1:\d+ -> 192\.0\.2\.2:7 {2}37 B$/,
  )
})

test('generators of a world have different labels', () => {
  const world = new World(1)
  world.generator('mine')
  assert.throws(() => world.generator('mine'), RangeError)
})

test('an hour of silence costs nothing', () => {
  const { world, a } = twoHosts()
  let at = a.now + 15e6
  let wakeUps = 0
  const timeout = (now: number) => {
    at = now + 15e6
    wakeUps += 1
  }
  a.attach(idleEngine({ nextTimeout: () => at, timeout }))
  world.run(3_600e6)
  assert.is(wakeUps, 240)
  assert.ok(world.events < 250)
})

test('memory is reused: a million datagrams leave no record behind', () => {
  const { world, a, b } = twoHosts()
  world.link(a, b, { delayMicros: 100, duplicateRate: 0.1 })
  let received = 0
  b.attach(
    idleEngine({
      deliver: () => ++received > 0,
    }),
    [{ port: 7 }],
  )
  const to = { socketIndex: 0, address: b.address, port: 7 }
  const bytes = new Uint8Array(1_200)
  let left = 1_000_000
  let next = a.now
  a.attach(
    idleEngine({
      nextTimeout: () => (left > 0 ? next : NEVER),
      flush: (now) => {
        if (now < next || left === 0) return 0
        next = now + 1
        return 1
      },
      collect: (take) => {
        left -= 1
        take(to, bytes)
      },
    }),
  )
  const usedBefore = process.memoryUsage().arrayBuffers
  settle(world)
  assert.is(received, 1_000_000 + world.counts().duplicated)
  const grown = process.memoryUsage().arrayBuffers - usedBefore
  // About 110 datagrams are in flight at a time.
  assert.ok(grown < 4e6, `${grown} bytes of buffers`)
})

test.run()
