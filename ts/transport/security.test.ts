/** Who gets in, who does not, and that both sides know why. PUNCHLINE_LONG=1 changes every byte. */
import { inspect } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { seal } from '../../bindings/testing/mutate.ts'
import { SeededRandom } from '../sim/random.ts'
import { type Direction, Wire, type WireOptions } from '../sim/testing/wire.ts'
import {
  CODE_CONNECT_TIMEOUT,
  CODE_DENIED,
  CODE_HANDSHAKE,
  CODE_IDENTITY,
  CODE_RESET,
  CODE_SECURITY,
  CODE_VERSION,
} from './codes.ts'
import { SUITE_NONE, SUITE_XX } from './handshake.ts'
import { Endpoint, NodeKey, parseRecord, sameNodeId } from './index.ts'

const IS_LONG = process.env['PUNCHLINE_LONG'] === '1'
const SECOND = 1e6
const MARKER = Buffer.from('these words must not be seen on the way')

const keyOf = (seed: number) => NodeKey.generate(new SeededRandom(seed))
const recordOf = (key: NodeKey) => parseRecord(key.publicRecord())
const isLong = (bytes: Uint8Array) => ((bytes[0] as number) & 0x20) !== 0
const typeOf = (bytes: Uint8Array) => (isLong(bytes) ? (bytes[0] as number) & 0x1f : -1)

/** Connects and says the marker as soon as that is possible. */
function talk(wire: Wire, demands: Parameters<Wire['connect']>[0] = {}) {
  const outcome: { code: number | undefined; echoed: number } = { code: undefined, echoed: 0 }
  const connection = wire.connect(demands, {
    closed: (code) => {
      outcome.code = code
    },
  })
  const stream = connection.openStream(1, {
    readable: () => {
      outcome.echoed += stream?.read()?.length ?? 0
    },
    writable() {},
    failed() {},
  })
  stream?.write(MARKER)
  return { connection, outcome }
}

/** A handshake that must work; gives both ends. */
function meet(options: WireOptions, demands: Parameters<Wire['connect']>[0] = {}) {
  const wire = new Wire(options)
  const { connection, outcome } = talk(wire, demands)
  assert.ok(
    wire.run(() => outcome.echoed === MARKER.length),
    `closed with ${outcome.code}`,
  )
  assert.ok(wire.received.equals(MARKER))
  const [accepted] = wire.accepted
  assert.ok(accepted)
  return { wire, connection, accepted }
}

/** A handshake that must not: no byte reaches the program, and both sides give the code. */
function fail(options: WireOptions, demands: Parameters<Wire['connect']>[0], code: number): Wire {
  const wire = new Wire(options)
  const { outcome } = talk(wire, demands)
  assert.ok(wire.run(() => outcome.code !== undefined, 60 * SECOND))
  wire.run(() => false, SECOND)
  assert.is(outcome.code, code)
  assert.equal(
    wire.reports.map((report) => report.code),
    [code],
  )
  assert.is(wire.received.length, 0)
  assert.is(wire.accepted.length, 0)
  return wire
}

test('without configuration: encrypted, opportunistic, each knows the other', () => {
  const { wire, connection, accepted } = meet({})
  assert.equal(
    { ...connection.security, remote: undefined },
    {
      mode: 'noise',
      handshake: 'XX',
      cipher: 'chacha20-poly1305',
      remote: undefined,
      isAuthenticated: false,
    },
  )
  const seen = connection.security?.remote?.nodeId ?? new Uint8Array(0)
  assert.ok(sameNodeId(seen, wire.server.nodeKey.nodeId))
  assert.ok(
    sameNodeId(accepted.security?.remote?.nodeId ?? seen.slice(1), wire.client.nodeKey.nodeId),
  )
  for (const { bytes } of wire.datagrams) assert.not(Buffer.from(bytes).includes(MARKER))
  wire.close()
})

test('with a known key: IK, and who listens learns nothing of the client', () => {
  const key = keyOf(5)
  const client = keyOf(6)
  const { wire, connection } = meet(
    { server: { nodeKey: key }, client: { nodeKey: client } },
    { remoteKey: recordOf(key) },
  )
  assert.is(connection.security?.handshake, 'IK')
  assert.ok(connection.security?.isAuthenticated)
  const record = Buffer.from(client.publicRecord()).subarray(1, 65)
  for (const { bytes } of wire.datagrams) {
    assert.not(Buffer.from(bytes).includes(record.subarray(0, 32)))
    assert.not(Buffer.from(bytes).includes(record.subarray(32)))
  }
  wire.close()
})

test('with a known id the answer is compared before any byte leaves', () => {
  const key = keyOf(7)
  const right = meet({ server: { nodeKey: key } }, { remoteId: key.nodeId })
  assert.ok(right.connection.security?.isAuthenticated)
  right.wire.close()
  const wire = fail({ server: { nodeKey: key } }, { remoteId: keyOf(8).nodeId }, CODE_IDENTITY)
  assert.not(wire.datagrams.some(({ bytes }) => !isLong(bytes)))
  wire.close()
})

test('a wrong key is refused by the responder', () => {
  fail({ server: { nodeKey: keyOf(1) } }, { remoteKey: recordOf(keyOf(2)) }, CODE_HANDSHAKE).close()
})

test('the program decides about peers it does not know', () => {
  const key = keyOf(9)
  const asked: Uint8Array[] = []
  const verify = ({ nodeId }: { nodeId: Uint8Array }) => {
    asked.push(nodeId)
    return asked.length === 1
  }
  const { wire, connection } = meet({ server: { nodeKey: key } }, { verify })
  assert.ok(connection.security?.isAuthenticated)
  assert.equal(asked, [key.nodeId])
  wire.close()
  fail({ server: { nodeKey: key } }, { verify }, CODE_IDENTITY).close()
})

test('plaintext only if both sides say so', () => {
  const { wire, connection, accepted } = meet(
    { server: { mode: 'none' }, client: { mode: 'none' } },
    {},
  )
  for (const { security } of [connection, accepted]) {
    assert.is(security?.mode, 'none')
    assert.is(security?.cipher, 'none')
    assert.is(security?.isAuthenticated, false)
  }
  assert.ok(wire.datagrams.some(({ bytes }) => Buffer.from(bytes).includes(MARKER)))
  wire.close()
  fail({ server: { mode: 'none' } }, {}, CODE_SECURITY).close()
  fail({ client: { mode: 'none' } }, {}, CODE_SECURITY).close()
})

test('tickets: the right one, a wrong one, one that nobody knows', () => {
  const ticket = { id: Buffer.from('ticket 1'), key: new Uint8Array(32).fill(7) }
  const ticketKey = (id: Uint8Array) => (Buffer.from(id).equals(ticket.id) ? ticket.key : undefined)
  const key = keyOf(3)
  for (const remoteKey of [undefined, recordOf(key)]) {
    const demands = { ticket, remoteKey }
    const { wire, connection, accepted } = meet({ server: { ticketKey, nodeKey: key } }, demands)
    assert.is(connection.security?.handshake, remoteKey ? 'IKpsk2' : 'XXpsk2')
    assert.ok(connection.security?.isAuthenticated)
    assert.ok(accepted.security?.isAuthenticated)
    wire.close()
    const wrong = { ...ticket, key: new Uint8Array(32).fill(8) }
    const options = { server: { ticketKey, nodeKey: key } }
    fail(options, { ticket: wrong, remoteKey }, CODE_HANDSHAKE).close()
    const unknown = { ...ticket, id: Buffer.from('ticket 2') }
    fail(options, { ticket: unknown, remoteKey }, CODE_SECURITY).close()
    fail({ server: { nodeKey: key } }, demands, CODE_SECURITY).close()
  }
})

test('authorize: asked with a proven key before anything is accepted', async () => {
  const key = keyOf(4)
  for (const demands of [{}, { remoteKey: recordOf(key) }]) {
    const requests: { nodeId: Uint8Array; address: string }[] = []
    const authorize = (isWelcome: boolean) => (request: { publicKey: { nodeId: Uint8Array } }) => {
      requests.push({ nodeId: request.publicKey.nodeId, address: '' })
      return isWelcome
    }
    const { wire, accepted } = meet(
      { server: { nodeKey: key, authorize: authorize(true) } },
      demands,
    )
    assert.ok(accepted.security?.isAuthenticated)
    assert.equal(requests[0]?.nodeId, wire.client.nodeKey.nodeId)
    wire.close()
    fail({ server: { nodeKey: key, authorize: authorize(false) } }, demands, CODE_DENIED).close()
    const slow = new Wire({ server: { nodeKey: key, authorize: async () => true } })
    const { outcome } = talk(slow, demands)
    for (let turn = 0; turn < 20 && outcome.echoed === 0; turn += 1) {
      slow.run(() => outcome.echoed > 0, SECOND / 2)
      await Promise.resolve()
    }
    assert.is(outcome.echoed, MARKER.length)
    slow.close()
    // What the program throws is a no, and the program's to hear.
    const broken = new Wire({
      server: {
        nodeKey: key,
        authorize: () => {
          throw new Error('the database is gone')
        },
      },
    })
    const errors: unknown[] = []
    broken.server.onError = (error) => errors.push(error)
    const refused = talk(broken, demands)
    assert.ok(broken.run(() => refused.outcome.code !== undefined))
    assert.is(refused.outcome.code, CODE_DENIED)
    assert.match(String(errors[0]), /database/)
    broken.close()
  }
})

test('who is asked about a peer that gives up hears of it', () => {
  let signal: AbortSignal | undefined
  const wire = new Wire({
    server: {
      authorize: (_, given) => {
        signal = given
        return new Promise<boolean>(() => {})
      },
    },
  })
  const { connection } = talk(wire)
  assert.ok(wire.run(() => signal !== undefined))
  connection.close()
  wire.run(() => false, 11 * SECOND)
  assert.ok(signal?.aborted)
  assert.is(wire.accepted.length, 0)
  wire.close()
})

test('a last message behind other packets keeps nobody waiting', () => {
  const wire = new Wire()
  const first = talk(wire)
  assert.ok(wire.run(() => first.outcome.echoed === MARKER.length))
  const stream = first.connection.openStream(2, { readable() {}, writable() {}, failed() {} })
  const held: Uint8Array[] = []
  wire.change = (direction, bytes) => {
    if (direction === 'to client' || typeOf(bytes) === 0) return bytes
    held.push(bytes)
    return undefined
  }
  talk(wire)
  wire.run(() => held.some((bytes) => typeOf(bytes) === 1))
  stream?.write(MARKER)
  wire.run(() => false, 1_000)
  // One batch: a packet of the first connection, then all of the second.
  const mine = held.filter((bytes) => typeOf(bytes) === -1).at(-1) as Uint8Array
  const batch = [mine, ...held.filter((bytes) => bytes !== mine)]
  for (const bytes of batch) {
    wire.server.deliver({ socketIndex: 0, address: '192.0.2.1', port: 1111 }, bytes)
  }
  wire.server.ingest(wire.now, batch.length)
  assert.is(wire.received.length, 3 * MARKER.length)
  wire.close()
})

/** Changes byte `index` of every packet of a type; the checksum fits again. */
function mend(bytes: Uint8Array, index: number, by: number): Uint8Array {
  const changed = Uint8Array.from(bytes)
  changed[index] = (changed[index] as number) ^ by
  return seal(changed)
}

const TAMPERED: readonly (readonly [name: string, direction: Direction, type: number])[] = [
  ['first', 'to server', 0],
  ['second', 'to client', 1],
  ['third', 'to server', 1],
]
for (const pattern of ['XX', 'IK'] as const) {
  for (const [name, direction, type] of TAMPERED) {
    if (pattern === 'IK' && name === 'third') continue
    test(`${pattern}: no byte of the ${name} message can be changed on the way`, () => {
      const key = keyOf(11)
      const demands = pattern === 'IK' ? { remoteKey: recordOf(key) } : {}
      const codes = new Map<number | undefined, number>()
      let size = 100
      for (let index = 0; index < size - 4; index += IS_LONG ? 1 : 5) {
        const wire = new Wire({
          seed: index + 1,
          server: { nodeKey: key },
          endpoint: { connectTimeoutMs: 2000, idleTimeoutMs: 4000, keepAliveMs: 1000 },
        })
        wire.change = (towards, bytes) => {
          if (towards !== direction || typeOf(bytes) !== type) return bytes
          size = bytes.length
          return mend(bytes, index, 1 << (index & 7))
        }
        const { outcome } = talk(wire, demands)
        wire.run(() => outcome.code !== undefined || outcome.echoed > 0, 20 * SECOND)
        assert.is(wire.received.length, 0, `byte ${index}: the server's program was given bytes`)
        assert.is(outcome.echoed, 0)
        codes.set(outcome.code, (codes.get(outcome.code) ?? 0) + 1)
        wire.close()
      }
      // Time is up where the change hits what finds the handshake; else somebody says what is wrong.
      assert.not(codes.has(undefined), `no end: ${inspect(codes)}`)
      assert.ok((codes.get(CODE_HANDSHAKE) ?? 0) > 5, inspect(codes))
    })
  }
}

test('nobody in the middle can talk the two into plaintext', () => {
  // The suite's number is changed: the responder does not take plaintext.
  const wire = new Wire()
  wire.change = (direction, bytes) => {
    if (direction !== 'to server' || typeOf(bytes) !== 0) return bytes
    return mend(bytes, 24, SUITE_XX ^ SUITE_NONE)
  }
  const { outcome } = talk(wire)
  assert.ok(wire.run(() => outcome.code !== undefined, 40 * SECOND))
  assert.is(outcome.code, CODE_SECURITY)
  assert.equal(
    wire.reports.map(({ code }) => code),
    [CODE_SECURITY],
  )
  wire.close()
  // The one in the middle answers for the responder, in plaintext.
  const liar = new Wire({ server: { mode: 'none' } })
  const plain = new Wire({ client: { mode: 'none' }, server: { mode: 'none' }, seed: 2 })
  let first: Uint8Array | undefined
  plain.change = (_, bytes) => {
    first ??= bytes
    return bytes
  }
  plain.connect()
  plain.run(() => first !== undefined)
  liar.change = (direction, bytes) => {
    if (direction !== 'to server' || typeOf(bytes) !== 0 || first === undefined) return bytes
    const forged = Uint8Array.from(first)
    forged.set(bytes.subarray(2, 22), 2)
    return seal(forged)
  }
  const lied = talk(liar)
  assert.ok(liar.run(() => lied.outcome.code !== undefined, 40 * SECOND))
  assert.is(lied.outcome.code, CODE_SECURITY)
  assert.is(liar.received.length, 0)
  for (const { bytes } of liar.datagrams) assert.not(Buffer.from(bytes).includes(MARKER))
  liar.close()
  plain.close()
})

test('another version is answered with ours, which ends it', () => {
  const wire = new Wire()
  wire.change = (direction, bytes) =>
    direction === 'to server' && typeOf(bytes) === 0 ? mend(bytes, 10, 2) : bytes
  const { outcome } = talk(wire)
  assert.ok(wire.run(() => outcome.code !== undefined))
  assert.is(outcome.code, CODE_VERSION)
  wire.close()
})

for (const [name, damage] of [
  ['lost, three in a row at times', undefined],
  ['corrupted', 1],
] as const) {
  test(`50 of 50 handshakes where 30 % of all datagrams are ${name}`, () => {
    const times: number[] = []
    for (let seed = 1; seed <= 50; seed += 1) {
      const wire = new Wire({ seed, endpoint: { connectTimeoutMs: 300_000 } })
      const chance = new SeededRandom(seed * 7)
      let burst = 0
      wire.change = (_, bytes) => {
        if (burst === 0 && chance.chance(0.3 / 2)) burst = chance.between(1, 3)
        if (burst === 0) return bytes
        burst -= 1
        if (damage === undefined) return undefined
        const changed = Uint8Array.from(bytes)
        changed[chance.below(bytes.length)] = chance.u32()
        return changed
      }
      const start = wire.now
      const { outcome } = talk(wire, seed % 2 ? {} : { remoteKey: recordOf(wire.server.nodeKey) })
      assert.ok(
        wire.run(() => outcome.echoed === MARKER.length, 300 * SECOND),
        `seed ${seed}: ${outcome.code}`,
      )
      assert.ok(wire.received.equals(MARKER))
      times.push(wire.now - start)
      wire.close()
    }
    times.sort((a, b) => a - b)
    assert.ok((times[47] ?? 0) <= 10 * SECOND, `p95 ${times[47]} µs`)
  })
}

test('a server that was restarted says so, and only it can', () => {
  const key = keyOf(12)
  for (const after of [key, keyOf(13)]) {
    const { wire, connection } = meet({ server: { nodeKey: key } })
    const restarted = new Endpoint({
      core: wire.core,
      random: wire.random,
      now: wire.now,
      security: { nodeKey: after },
    })
    let code: number | undefined
    connection.owner = {
      closed: (given) => {
        code = given
      },
    }
    const stream = connection.openStream(2, { readable() {}, writable() {}, failed() {} })
    stream?.write(Buffer.alloc(500))
    const answers: Uint8Array[] = []
    wire.change = (direction, bytes) => {
      if (direction !== 'to server') return undefined
      restarted.deliver({ socketIndex: 0, address: '192.0.2.1', port: 1111 }, bytes)
      restarted.ingest(wire.now, 1)
      while (restarted.flush(wire.now) > 0) {
        restarted.collect((_, answer) => answers.push(Uint8Array.from(answer)))
      }
      return undefined
    }
    wire.run(() => answers.length > 0)
    assert.ok(answers.length > 0)
    for (const answer of answers) wire.deliver('to client', answer)
    assert.is(code, after === key ? CODE_RESET : undefined)
    restarted.destroy()
    wire.close()
  }
})

test('a peer that never answers is given up', () => {
  const wire = new Wire({ endpoint: { connectTimeoutMs: 3000 } })
  wire.change = () => undefined
  const { outcome } = talk(wire)
  assert.ok(wire.run(() => outcome.code !== undefined, 4 * SECOND))
  assert.is(outcome.code, CODE_CONNECT_TIMEOUT)
  wire.close()
})

test('keys show nowhere', () => {
  const key = keyOf(14)
  const secrets = JSON.stringify(key.exportSecrets()).match(/[\w+/=-]{40,}/g) ?? []
  assert.ok(secrets.length >= 2)
  const { wire, connection } = meet({ server: { nodeKey: key } })
  const seen = inspect({ key, wire, connection, counters: wire.server.counters() }, { depth: 6 })
  for (const secret of secrets) {
    const bytes = Buffer.from(secret, 'base64url')
    assert.not(seen.includes(secret))
    assert.not(seen.includes(bytes.toString('hex')))
    assert.not(seen.includes(bytes.toString('base64')))
  }
  wire.close()
})

test.run()
