import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { hex } from '../dev/rfc8439.ts'
import { TransportError } from '../errors.ts'
import { SeededRandom } from '../sim/random.ts'
import {
  formatNodeId,
  isValidAt,
  NODE_ID_SIZE,
  NodeKey,
  type NodeKeySecrets,
  nodeIdOf,
  packPeerKey,
  parseNodeId,
  parseRecord,
  RECORD_SIZE,
  sameNodeId,
  unpackPeerKey,
} from './identity.ts'
import { x25519 } from './key-agreement.ts'

const generate = (seed = 1) => NodeKey.generate(new SeededRandom(seed))

const isIdentityError = (error: unknown) =>
  error instanceof TransportError && error.code === 'ERR_PUNCHLINE_IDENTITY'

const base64url = (digits: string) => hex(digits).toString('base64url')

// ── Published vectors ────────────────────────────────────────────────────────────────────────────

test('has the public keys of RFC 8032 §7.1 and RFC 7748 §6.1', () => {
  const { peerKey } = NodeKey.from({
    version: 1,
    identitySecret: base64url('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'),
    staticSecret: base64url('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'),
  })
  const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
  assert.is(
    toHex(peerKey.identityKey),
    'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  )
  assert.is(
    toHex(peerKey.staticKey),
    '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  )
})

test('agrees on the secret of RFC 7748 §6.1', () => {
  const alice = NodeKey.from({
    ...generate().exportSecrets(),
    staticSecret: base64url('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'),
  })
  const bob = hex('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f')
  assert.is(
    x25519(alice.staticKey.privateKey, bob).toString('hex'),
    '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742',
  )
})

test('an id is the SHA-256 of the identity key, written as RFC 4648 has it', () => {
  const { peerKey } = generate()
  const expected = createHash('sha256').update(peerKey.identityKey).digest()
  assert.equal(Buffer.from(nodeIdOf(peerKey.identityKey)), expected)
  assert.equal(Buffer.from(peerKey.nodeId), expected)
  // "foobar" from the RFC's vectors, six bytes and zeros.
  const foobar = Buffer.concat([Buffer.from('foobar')], NODE_ID_SIZE)
  assert.is(formatNodeId(foobar), `mzxw6ytboi${'a'.repeat(42)}`)
})

// ── Keys and records ─────────────────────────────────────────────────────────────────────────────

test('chance decides the key, and all of it', () => {
  const ids = [1, 1, 2].map((seed) => formatNodeId(generate(seed).nodeId))
  assert.is(ids[0], ids[1])
  assert.is.not(ids[0], ids[2])
  const { identitySecret, staticSecret } = generate().exportSecrets()
  assert.is.not(identitySecret, staticSecret)
})

test('what was exported is the same key again, as an object and as text', () => {
  const validity = { notBefore: 1_700_000_000, notAfter: 1_800_000_000 }
  for (const key of [generate(), NodeKey.generate(new SeededRandom(3), validity)]) {
    const secrets = key.exportSecrets()
    for (const copy of [NodeKey.from(secrets), NodeKey.from(JSON.stringify(secrets, null, 2))]) {
      assert.equal(copy.peerKey, key.peerKey)
      assert.equal(copy.publicRecord(), key.publicRecord())
      assert.equal(copy.exportSecrets(), secrets)
    }
  }
})

test('a record has a fixed layout and shows what its key shows', () => {
  const validity = { notBefore: 0x0102030405, notAfter: Number.MAX_SAFE_INTEGER }
  const key = NodeKey.generate(new SeededRandom(4), validity)
  const record = Buffer.from(key.publicRecord())
  assert.is(record.length, RECORD_SIZE)
  assert.is(RECORD_SIZE, 145)
  assert.is(record[0], 1)
  assert.equal(record.subarray(1, 33), Buffer.from(key.peerKey.identityKey))
  assert.equal(record.subarray(33, 65), Buffer.from(key.staticKey.publicKey))
  assert.is(record.toString('hex', 65, 81), '0504030201000000ffffffffffff1f00')
  assert.equal(parseRecord(record), key.peerKey)
  assert.equal(unpackPeerKey(packPeerKey(key.peerKey)), key.peerKey)
  assert.equal(key.peerKey.notBefore, validity.notBefore)
  assert.equal(key.peerKey.notAfter, validity.notAfter)
})

test('what a caller does to a record or to secrets does not reach the key', () => {
  const key = generate()
  key.publicRecord().fill(0)
  assert.equal(parseRecord(key.publicRecord()), key.peerKey)
  const bytes = key.publicRecord()
  const peer = parseRecord(bytes)
  bytes.fill(0)
  assert.equal(peer, key.peerKey)
})

test('every flipped bit of a record is refused, and every other length', () => {
  const record = generate().publicRecord()
  for (let bit = 0; bit < record.length * 8; bit += 1) {
    const at = bit >> 3
    record[at] = (record[at] as number) ^ (1 << (bit & 7))
    assert.throws(() => parseRecord(record), isIdentityError, `bit ${bit}`)
    record[at] = (record[at] as number) ^ (1 << (bit & 7))
  }
  for (let length = 0; length < record.length; length += 1) {
    assert.throws(() => parseRecord(record.subarray(0, length)), isIdentityError)
  }
  assert.throws(() => parseRecord(Buffer.concat([record, Buffer.of(0)])), isIdentityError)
})

test("another identity's signature is refused", () => {
  const [mine, theirs] = [generate(1).publicRecord(), generate(2).publicRecord()]
  const forged = Buffer.concat([mine.subarray(0, 81), theirs.subarray(81)])
  assert.throws(() => parseRecord(forged), isIdentityError)
})

test('any bytes are refused, without any other error', () => {
  const lengths = fc.oneof(fc.constant(RECORD_SIZE), fc.nat(200))
  const bytes = lengths.chain((length) => fc.uint8Array({ minLength: length, maxLength: length }))
  fc.assert(
    fc.property(bytes, (random) => {
      if (random.length > 0) random[0] = 1
      assert.throws(() => parseRecord(random), isIdentityError)
    }),
    { seed: 1, numRuns: 300 },
  )
})

test('a key is valid from its first to its last second, without bounds always', () => {
  const bounds = { notBefore: 100, notAfter: 200 }
  const at = (seconds: number) => isValidAt(bounds, seconds)
  assert.equal([99, 100, 150, 200, 201].map(at), [false, true, true, true, false])
  assert.ok(isValidAt({ notBefore: 0, notAfter: 0 }, 0))
  assert.ok(isValidAt({ notBefore: 0, notAfter: 0 }, 4e9))
  assert.not.ok(isValidAt({ notBefore: 100, notAfter: 0 }, 99))
})

test('times that are none, or the wrong way round, are refused', () => {
  for (const [notBefore, notAfter] of [
    [-1, 0],
    [0.5, 0],
    [0, Number.NaN],
    [0, 2 ** 53],
    [200, 100],
  ] as const) {
    const make = () => NodeKey.generate(new SeededRandom(1), { notBefore, notAfter })
    assert.throws(make, isIdentityError)
  }
})

// ── Secrets ──────────────────────────────────────────────────────────────────────────────────────

test('a key that is printed, logged or serialised shows its id and no secret', () => {
  const key = generate()
  const { identitySecret, staticSecret } = key.exportSecrets()
  const shown = [
    String(key),
    `${key}`,
    inspect(key),
    inspect(key, { showHidden: true, depth: 9 }),
    inspect({ key }, { depth: 9 }),
    inspect(key.staticKey, { showHidden: true, depth: 9 }),
    inspect(key.peerKey, { maxArrayLength: null }),
    JSON.stringify({ key }),
    JSON.stringify(key.staticKey),
    JSON.stringify(Object.entries(key)),
  ]
  assert.is(inspect(key), `NodeKey ${formatNodeId(key.nodeId)}`)
  for (const secret of [identitySecret, staticSecret].map((text) =>
    Buffer.from(text, 'base64url'),
  )) {
    for (const encoding of ['base64url', 'base64', 'hex'] as const) {
      for (const text of shown) assert.not.ok(text.includes(secret.toString(encoding)))
    }
    for (const text of shown) {
      assert.not.ok(text.replace(/[\s,]+/g, ',').includes([...secret.subarray(0, 8)].join(',')))
    }
  }
})

test('a malformed key is refused; the error tells which part, never what it was', () => {
  const secrets = generate().exportSecrets()
  const canary = Buffer.from('secret canary, 32 bytes, hush!!!').toString('base64url')
  const broken: unknown[] = [
    null,
    7,
    '',
    '{',
    `{"identitySecret":"${canary}"`,
    'null',
    '"text"',
    [],
    {},
    { ...secrets, version: 2 },
    { ...secrets, identitySecret: undefined },
    { ...secrets, identitySecret: 5 },
    { ...secrets, identitySecret: `${canary}AA` },
    { ...secrets, identitySecret: canary.slice(1) },
    { ...secrets, staticSecret: `${canary}=` },
    { ...secrets, staticSecret: ` ${canary}` },
    { ...secrets, staticSecret: '' },
    { ...secrets, notAfter: '1' },
    { ...secrets, notBefore: null, notAfter: -1 },
  ]
  for (const source of broken) {
    try {
      NodeKey.from(source as NodeKeySecrets)
      assert.unreachable(`taken: ${JSON.stringify(source)}`)
    } catch (error) {
      assert.ok(isIdentityError(error), String(error))
      const shown = inspect(error, { depth: 9 })
      for (const secret of [canary.slice(0, 20), secrets.identitySecret, secrets.staticSecret]) {
        assert.not.ok(shown.includes(secret))
      }
    }
  }
})

// ── Ids ──────────────────────────────────────────────────────────────────────────────────────────

test('every id can be written and read, fits a label of a host name and has one spelling', () => {
  const ids = fc.uint8Array({ minLength: NODE_ID_SIZE, maxLength: NODE_ID_SIZE })
  fc.assert(
    fc.property(ids, (nodeId) => {
      const text = formatNodeId(nodeId)
      assert.match(text, /^[a-z2-7]{52}$/)
      assert.equal(parseNodeId(text), nodeId)
      assert.equal(parseNodeId(text.toUpperCase()), nodeId)
    }),
    { seed: 1 },
  )
  const zeros = formatNodeId(new Uint8Array(NODE_ID_SIZE))
  assert.throws(() => parseNodeId(`${zeros.slice(0, -1)}b`), isIdentityError)
})

test('text that is no id is refused', () => {
  const text = formatNodeId(generate().nodeId)
  for (const wrong of [
    '',
    text.slice(1),
    `${text}a`,
    `1${text.slice(1)}`,
    ` ${text.slice(1)}`,
    `ı${text.slice(1)}`,
    `${text.slice(0, -1)}=`,
  ]) {
    assert.throws(() => parseNodeId(wrong), isIdentityError, wrong)
  }
  assert.throws(() => formatNodeId(new Uint8Array(31)), isIdentityError)
})

test('ids are compared as a whole', () => {
  const { nodeId } = generate()
  assert.ok(sameNodeId(nodeId, Uint8Array.from(nodeId)))
  assert.not.ok(sameNodeId(nodeId, nodeId.subarray(1)))
  for (let at = 0; at < NODE_ID_SIZE; at += 1) {
    const other = Uint8Array.from(nodeId)
    other[at] = (other[at] as number) ^ 1
    assert.not.ok(sameNodeId(nodeId, other))
  }
})

test.run()
