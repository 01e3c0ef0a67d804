import { createCipheriv } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NOISE_VECTORS } from '../dev/noise-vectors.ts'
import { hex } from '../dev/rfc8439.ts'
import { TransportError } from '../errors.ts'
import type { KeyPair, Random } from '../machine.ts'
import { SeededRandom } from '../sim/random.ts'
import { x25519KeyPair } from './key-agreement.ts'
import { NOISE_MESSAGE_SIZE_MAX, NoiseHandshake, type NoisePattern } from './noise.ts'

/** "Chance" that gives the ephemeral key of a vector. */
const chosen = (bytes: Uint8Array): Random => ({ u32: () => 0, fill: (into) => into.set(bytes) })

const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

const isRefusal = (error: unknown) =>
  error instanceof TransportError && error.code === 'ERR_PUNCHLINE_HANDSHAKE'

/** A message behind the handshake: the counter is the nonce, nothing is associated. */
function protect(key: Uint8Array, counter: number, plaintext: Uint8Array): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32LE(counter, 4)
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

for (const vector of NOISE_VECTORS) {
  const { source, pattern, prologue } = vector
  const psks = Object.fromEntries(
    Object.entries(vector.psks).map(([place, key]) => [place, hex(key)]),
  )
  const name = `${pattern}${Object.keys(psks).map((place) => ` psk${place}`)}`

  test(`gives the published messages and keys of ${name} (${source})`, () => {
    const responderStatic = x25519KeyPair(hex(vector.responderStatic))
    const initiator = new NoiseHandshake({
      pattern,
      isInitiator: true,
      prologue: hex(prologue),
      staticKey: x25519KeyPair(hex(vector.initiatorStatic)),
      ...(pattern === 'IK' && { remoteStatic: responderStatic.publicKey }),
      psks,
      random: chosen(hex(vector.initiatorEphemeral)),
    })
    const responder = new NoiseHandshake({
      pattern,
      isInitiator: false,
      prologue: hex(prologue),
      staticKey: responderStatic,
      psks,
      random: chosen(hex(vector.responderEphemeral)),
    })
    const waiting = [...vector.messages]
    let [writer, reader] = [initiator, responder]
    while (!initiator.isComplete) {
      const [payload = '', message = ''] = waiting.shift() ?? []
      assert.is(toHex(writer.writeMessage(hex(payload))), message)
      assert.is(toHex(reader.readMessage(hex(message))), payload)
      ;[writer, reader] = [reader, writer]
    }
    assert.ok(responder.isComplete)
    assert.equal(initiator.remoteStatic, responderStatic.publicKey)
    assert.equal(initiator.handshakeHash, responder.handshakeHash)
    if (vector.handshakeHash) assert.is(toHex(initiator.handshakeHash), vector.handshakeHash)

    const keys = new Map([
      [initiator, initiator.split()],
      [responder, responder.split()],
    ])
    assert.equal(keys.get(initiator)?.receive, keys.get(responder)?.send)
    assert.equal(keys.get(initiator)?.send, keys.get(responder)?.receive)
    assert.ok(waiting.length >= 2)
    for (const [index, [payload, message]] of waiting.entries()) {
      const { send } = keys.get(writer) as { send: Uint8Array }
      assert.is(protect(send, index >> 1, hex(payload)).toString('hex'), message)
      ;[writer, reader] = [reader, writer]
    }
  })
}

// ── Properties ───────────────────────────────────────────────────────────────────────────────────

interface Setting {
  readonly pattern: NoisePattern
  readonly psk?: Uint8Array
  /** What the responder has in place of the same. */
  readonly other?: {
    readonly pattern?: NoisePattern
    readonly psk?: Uint8Array | undefined
    readonly prologue?: Uint8Array
    readonly staticKey?: KeyPair
  }
}

const random = new SeededRandom(1)
const draw = (size: number) => {
  const bytes = new Uint8Array(size)
  random.fill(bytes)
  return bytes
}
const PSK = draw(32)
const PROLOGUE = Buffer.from('version 1')
const SETTINGS: readonly Setting[] = [
  { pattern: 'XX' },
  { pattern: 'IK' },
  { pattern: 'XX', psk: PSK },
  { pattern: 'IK', psk: PSK },
]
const nameOf = ({ pattern, psk }: Setting) => `${pattern}${psk ? 'psk2' : ''}`

function makePair({ pattern, psk, other = {} }: Setting): [NoiseHandshake, NoiseHandshake] {
  const responderStatic = x25519KeyPair(draw(32))
  const withPsk = (key: Uint8Array | undefined) => (key ? { psks: { 2: key } } : {})
  const initiator = new NoiseHandshake({
    pattern,
    isInitiator: true,
    prologue: PROLOGUE,
    staticKey: x25519KeyPair(draw(32)),
    ...(pattern === 'IK' && { remoteStatic: responderStatic.publicKey }),
    ...withPsk(psk),
    random,
  })
  const responder = new NoiseHandshake({
    pattern: other.pattern ?? pattern,
    isInitiator: false,
    prologue: other.prologue ?? PROLOGUE,
    staticKey: other.staticKey ?? responderStatic,
    ...withPsk('psk' in other ? other.psk : psk),
    random,
  })
  return [initiator, responder]
}

/**
 * Runs a handshake to its end and gives the payloads as written and as read. `alter` may change a
 * message on its way.
 */
function run(
  [initiator, responder]: [NoiseHandshake, NoiseHandshake],
  alter: (message: Uint8Array, index: number) => Uint8Array = (message) => message,
): [written: Uint8Array, read: Uint8Array][] {
  const payloads: [Uint8Array, Uint8Array][] = []
  let [writer, reader] = [initiator, responder]
  for (let index = 0; !(initiator.isComplete && responder.isComplete); index += 1) {
    const payload = draw(7 + index)
    const message = alter(writer.writeMessage(payload), index)
    payloads.push([payload, reader.readMessage(message)])
    ;[writer, reader] = [reader, writer]
  }
  return payloads
}

/** Runs a handshake that must be refused; afterwards nobody can go on with it. */
function assertRefused(pair: [NoiseHandshake, NoiseHandshake], alter?: Parameters<typeof run>[1]) {
  assert.throws(() => run(pair, alter), isRefusal)
  assert.not(pair[0].isComplete && pair[1].isComplete)
  const failed = pair.find((side) => !side.isComplete) as NoiseHandshake
  assert.throws(() => failed.split(), /not complete/)
}

for (const setting of SETTINGS) {
  const name = nameOf(setting)

  test(`${name}: both sides know each other and share keys that no other handshake has`, () => {
    const seen = new Set<string>()
    for (let count = 0; count < 10; count += 1) {
      const [initiator, responder] = makePair(setting)
      for (const [written, read] of run([initiator, responder])) assert.equal(read, written)
      assert.equal(initiator.handshakeHash, responder.handshakeHash)
      const ours = initiator.split()
      const theirs = responder.split()
      assert.equal([ours.send, ours.receive], [theirs.receive, theirs.send])
      for (const key of [ours.send, ours.receive, initiator.handshakeHash]) seen.add(toHex(key))
    }
    assert.is(seen.size, 30)
  })

  test(`${name}: every flipped byte of every message is refused`, () => {
    const sizes: number[] = []
    run(makePair(setting), (message, index) => {
      sizes[index] = message.length
      return message
    })
    for (const [changed, size] of sizes.entries()) {
      for (let at = 0; at < size; at += 1) {
        assertRefused(makePair(setting), (message, index) => {
          if (index === changed) message[at] = (message[at] as number) ^ (1 << (at & 7))
          return message
        })
      }
    }
  })

  test(`${name}: the bit of a public key that X25519 ignores counts here`, () => {
    assertRefused(makePair(setting), (message, index) => {
      if (index === 0) message[31] = (message[31] as number) ^ 0x80
      return message
    })
  })

  test(`${name}: a message cut anywhere, or with a byte more, is refused`, () => {
    const sizes: number[] = []
    run(makePair(setting), (message, index) => {
      sizes[index] = message.length
      return message
    })
    for (const [changed, size] of sizes.entries()) {
      for (let length = 0; length < size; length += 1) {
        assertRefused(makePair(setting), (message, index) =>
          index === changed ? message.subarray(0, length) : message,
        )
      }
      assertRefused(makePair(setting), (message, index) =>
        index === changed ? Buffer.concat([message, Buffer.of(0)]) : message,
      )
    }
  })

  test(`${name}: another prologue, another key, a missing or wrong pre-shared key are refused`, () => {
    const others: Setting['other'][] = [
      { prologue: Buffer.from('version 2') },
      { psk: draw(32) },
      { psk: setting.psk ? undefined : PSK },
      { pattern: setting.pattern === 'XX' ? 'IK' : 'XX' },
    ]
    if (setting.pattern === 'IK') others.push({ staticKey: x25519KeyPair(draw(32)) })
    for (const other of others) assertRefused(makePair({ ...setting, other: other ?? {} }))
  })

  test(`${name}: a message of another handshake is refused`, () => {
    const other: Uint8Array[] = []
    run(makePair(setting), (message, index) => {
      other[index] = message
      return message
    })
    for (const swapped of other.keys()) {
      assertRefused(makePair(setting), (message, index) =>
        index === swapped ? (other[index] as Uint8Array) : message,
      )
    }
  })
}

test('keys of small order are refused: their secret is the same for everybody', () => {
  const points = [
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  ]
  for (const point of points) {
    const [, responder] = makePair({ pattern: 'XX' })
    responder.readMessage(hex(point))
    assert.throws(() => responder.writeMessage(new Uint8Array(0)), isRefusal)
    const initiator = new NoiseHandshake({
      pattern: 'IK',
      isInitiator: true,
      prologue: PROLOGUE,
      staticKey: x25519KeyPair(draw(32)),
      remoteStatic: hex(point),
      random,
    })
    assert.throws(() => initiator.writeMessage(new Uint8Array(0)), isRefusal)
  }
})

test('a handshake that has failed stays failed', () => {
  const [initiator, responder] = makePair({ pattern: 'IK' })
  const message = initiator.writeMessage(draw(5))
  assert.throws(() => responder.readMessage(message.subarray(1)), isRefusal)
  assert.throws(() => responder.readMessage(message), isRefusal)
  assert.throws(() => responder.writeMessage(draw(5)), isRefusal)
  assert.not(responder.isComplete)
  initiator.destroy()
  assert.throws(() => initiator.readMessage(message), isRefusal)
})

test('turns are kept, and keys are given out once', () => {
  const pair = makePair({ pattern: 'IK' })
  const [initiator, responder] = pair
  assert.equal([initiator.isOurTurn, responder.isOurTurn], [true, false])
  assert.throws(() => initiator.readMessage(draw(100)), TypeError)
  assert.throws(() => responder.writeMessage(draw(100)), TypeError)
  assert.throws(() => initiator.handshakeHash, TypeError)
  run(pair)
  assert.equal([initiator.isOurTurn, responder.isOurTurn], [false, false])
  assert.throws(() => initiator.writeMessage(draw(1)), TypeError)
  initiator.split()
  assert.throws(() => initiator.split(), TypeError)
  assert.is(initiator.handshakeHash.length, 32)
})

test('payloads have the longest size that fits a message, and not one byte more', () => {
  const [initiator] = makePair({ pattern: 'XX' })
  const longest = NOISE_MESSAGE_SIZE_MAX - 32
  assert.is(initiator.writeMessage(new Uint8Array(longest)).length, NOISE_MESSAGE_SIZE_MAX)
  const [other, responder] = makePair({ pattern: 'XX' })
  assert.throws(() => other.writeMessage(new Uint8Array(longest + 1)), isRefusal)
  assert.throws(() => responder.readMessage(new Uint8Array(NOISE_MESSAGE_SIZE_MAX + 1)), isRefusal)
})

test('options that make no sense are refused at once', () => {
  const staticKey = x25519KeyPair(draw(32))
  const base = { isInitiator: true, prologue: PROLOGUE, staticKey, random } as const
  const make = (options: object) => () => new NoiseHandshake({ pattern: 'XX', ...base, ...options })
  assert.throws(make({ pattern: 'IK' }), TypeError)
  assert.throws(make({ remoteStatic: draw(32) }), TypeError)
  assert.throws(make({ pattern: 'IK', remoteStatic: draw(31) }), TypeError)
  assert.throws(make({ pattern: 'IK', remoteStatic: draw(32), isInitiator: false }), TypeError)
  assert.throws(make({ psks: { 2: draw(31) } }), TypeError)
  assert.throws(make({ psks: { 4: draw(32) } }), TypeError)
  assert.throws(make({ pattern: 'IK', remoteStatic: draw(32), psks: { 3: PSK } }), TypeError)
})

test.run()
