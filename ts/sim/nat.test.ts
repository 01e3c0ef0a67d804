import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { NatOptions, NatScope } from './nat.ts'
import { Probe } from './probe.ts'
import { World } from './world.ts'

const SECOND = 1e6
const SCOPES: readonly NatScope[] = ['endpoint', 'address', 'address-and-port']
const BYTES = Uint8Array.of(1, 2, 3)

/** A host behind a NAT, and a server with two addresses and two ports on each. */
function scene(options: NatOptions = {}) {
  const world = new World(1)
  const nat = world.nat('nat', ['203.0.113.1', '203.0.113.2'], options)
  const inside = world.host('inside', '10.0.0.2', { behind: nat })
  const neighbour = world.host('neighbour', '10.0.0.3', { behind: nat })
  const outside = world.host('outside', ['198.51.100.1', '198.51.100.2'])
  const local = new Probe(inside, [{ port: 5_000 }])
  const remotes = [
    ['198.51.100.1', 4_001],
    ['198.51.100.1', 4_002],
    ['198.51.100.2', 4_001],
  ].map(([address, port]) => {
    const at = { address: address as string, port: port as number }
    return { ...at, probe: new Probe(outside, [at]) }
  })
  const [first, otherPort, otherAddress] = remotes as [Remote, Remote, Remote]
  return { world, nat, inside, neighbour, local, first, otherPort, otherAddress }
}

interface Remote {
  readonly address: string
  readonly port: number
  readonly probe: Probe
}

/** Where a remote saw the last datagram come from. */
function seenBy({ probe }: Remote): string {
  const from = probe.received.at(-1)?.from
  return from === undefined ? 'nothing' : `${from.address}:${from.port}`
}

for (const mapping of SCOPES) {
  test(`mapping by ${mapping}: as RFC 4787 §4.1 has it`, () => {
    const { world, local, first, otherPort, otherAddress } = scene({ mapping, ports: 'sequential' })
    for (const remote of [first, otherPort, otherAddress]) local.send(remote, BYTES)
    world.runFor(SECOND)
    const [a, b, c] = [seenBy(first), seenBy(otherPort), seenBy(otherAddress)]
    assert.match(a, /^203\.0\.113\.1:/)
    assert.is(a === b, mapping !== 'address-and-port')
    assert.is(a === c, mapping === 'endpoint')
  })
}

for (const filtering of SCOPES) {
  test(`filtering by ${filtering}: as RFC 4787 §5 has it`, () => {
    const { world, nat, local, first, otherPort, otherAddress } = scene({ filtering })
    local.send(first, BYTES)
    world.runFor(SECOND)
    const back = first.probe.received[0]?.from as { address: string; port: number }
    for (const { probe } of [first, otherPort, otherAddress])
      probe.send({ ...back, socketIndex: 0 }, BYTES)
    world.runFor(SECOND)
    const passed = { endpoint: 3, address: 2, 'address-and-port': 1 }[filtering]
    assert.is(local.received.length, passed)
    assert.is(nat.count('filtered'), 3 - passed)
    assert.is(world.counts().filtered, 3 - passed)
  })
}

/** Whether an answer still comes in after so many seconds, with a datagram in between. */
function answersAfter(options: NatOptions, between: 'in' | 'out' | 'none'): boolean {
  const { world, local, first } = scene({ mappingTimeoutMicros: 30 * SECOND, ...options })
  local.send(first, BYTES)
  world.runFor(20 * SECOND)
  const back = first.probe.received[0]?.from as { address: string; port: number }
  const answer = () => first.probe.send({ ...back, socketIndex: 0 }, BYTES)
  if (between === 'in') answer()
  if (between === 'out') local.send(first, BYTES)
  world.runFor(20 * SECOND)
  const before = local.received.length
  answer()
  world.runFor(SECOND)
  return local.received.length > before
}

test('a mapping is forgotten in silence; what goes out keeps it, what comes in if so set', () => {
  assert.is(answersAfter({}, 'none'), false)
  assert.is(answersAfter({}, 'out'), true)
  assert.is(answersAfter({}, 'in'), false)
  assert.is(answersAfter({ refreshesOnInbound: true }, 'in'), true)
})

test('ports are preserved, counted, or drawn', () => {
  const portOf = (nat: NatOptions) => {
    const { world, local, first } = scene(nat)
    local.send(first, BYTES)
    world.runFor(SECOND)
    return first.probe.received[0]?.from.port
  }
  assert.is(portOf({}), 5_000)
  assert.is.not(portOf({ ports: 'sequential' }), 5_000)
  assert.is.not(portOf({ ports: 'random' }), portOf({ ports: 'sequential' }))
})

test('two hosts with one port get two; the second mapping does not take the first', () => {
  const { world, neighbour, local, first } = scene({})
  const other = new Probe(neighbour, [{ port: 5_000 }])
  local.send(first, BYTES)
  world.runFor(SECOND)
  other.send(first, BYTES)
  world.runFor(SECOND)
  const ports = first.probe.received.map(({ from }) => from.port)
  assert.is(ports[0], 5_000)
  assert.is.not(ports[1], 5_000)
})

test('a rebooted NAT knows nothing, and goes on from another address and port', () => {
  const { world, nat, local, first } = scene({})
  local.send(first, BYTES)
  world.runFor(SECOND)
  const back = first.probe.received[0]?.from as { address: string; port: number }
  nat.reboot()
  assert.is(nat.mappingCount, 0)
  first.probe.send({ ...back, socketIndex: 0 }, BYTES)
  world.runFor(SECOND)
  assert.is(local.received.length, 0)
  assert.is(nat.count('unmapped'), 1)
  local.send(first, BYTES)
  world.runFor(SECOND)
  assert.match(seenBy(first), /^203\.0\.113\.2:/)
})

test('a full table pushes out its oldest mapping', () => {
  const { world, nat, local, first, otherPort, otherAddress } = scene({
    mapping: 'address-and-port',
    mappingsMax: 2,
  })
  for (const remote of [first, otherPort, otherAddress]) {
    local.send(remote, BYTES)
    world.runFor(SECOND)
  }
  assert.is(nat.mappingCount, 2)
  const back = first.probe.received[0]?.from as { address: string; port: number }
  first.probe.send({ ...back, socketIndex: 0 }, BYTES)
  world.runFor(SECOND)
  assert.is(local.received.length, 0)
})

test('neighbours reach each other directly, and by outside addresses only if it hairpins', () => {
  for (const hairpins of [false, true]) {
    const { world, neighbour, local, first } = scene({ hairpins, filtering: 'endpoint' })
    const other = new Probe(neighbour)
    other.send({ address: '10.0.0.2', port: 5_000 }, BYTES)
    local.send(first, BYTES)
    world.runFor(SECOND)
    assert.is(local.received.at(-1)?.from.address, '10.0.0.3')
    const outside = first.probe.received[0]?.from as { address: string; port: number }
    other.send({ ...outside, socketIndex: 0 }, BYTES)
    world.runFor(SECOND)
    assert.is(local.received.length, hairpins ? 2 : 1)
    if (hairpins) assert.match(local.received.at(-1)?.from.address ?? '', /^203\.0\.113/)
  }
})

test('from outside, inside addresses lead nowhere, and partitions reach through the NAT', () => {
  const { world, inside, local, first } = scene({})
  first.probe.send({ address: '10.0.0.2', port: 5_000 }, BYTES)
  world.runFor(SECOND)
  assert.is(world.counts().unroutable, 1)
  local.send(first, BYTES)
  world.runFor(SECOND)
  const back = first.probe.received[0]?.from as { address: string; port: number }
  const outside = first.probe.attachment.host
  world.partition({ from: [outside], to: [inside], oneWay: true }, world.now, world.now + SECOND)
  world.runFor(SECOND / 2)
  first.probe.send({ ...back, socketIndex: 0 }, BYTES)
  local.send(first, BYTES)
  world.runFor(SECOND)
  assert.is(local.received.length, 0)
  assert.is(first.probe.received.length, 2)
})

test('the same seed makes the same world with a NAT in it', () => {
  const hashOf = () => {
    const { world, nat, local, first } = scene({ ports: 'random' })
    local.send(first, BYTES)
    world.runFor(SECOND)
    nat.reboot()
    local.send(first, BYTES)
    world.runFor(SECOND)
    return world.hash()
  }
  assert.is(hashOf(), hashOf())
})

test.run()
