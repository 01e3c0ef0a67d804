/** Parsers in TypeScript: handshakes, identities, addresses, settings. */
import { createPrivateKey, sign } from 'node:crypto'
import { VERSION } from '../../../bindings/core.ts'
import { IoError, TransportError } from '../../errors.ts'
import { parseFaults } from '../../io/faults.ts'
import { SeededRandom } from '../../sim/random.ts'
import { AddressBook, formatAddress, parseAddress } from '../../transport/address.ts'
import { encodePayload, MALFORMED, parsePayload } from '../../transport/handshake.ts'
import { formatNodeId, NodeKey, parseNodeId, parseRecord } from '../../transport/identity.ts'
import { NoiseHandshake } from '../../transport/noise.ts'
import { ENDPOINT_DEFAULTS } from '../../transport/options.ts'
import {
  HandshakeFailure,
  type HandshakeSetup,
  InitiatorHandshake,
  ResponderHandshake,
} from '../../transport/security.ts'
import type { FuzzTarget } from './engine.ts'

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text))
const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')
const PARAMETERS = ENDPOINT_DEFAULTS
const ID = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)

function must(condition: boolean, message: string): void {
  if (!condition) throw new Error(message)
}

/** Runs a parser that may reject its input with errors of one kind only. */
function rejects(kind: new (...values: never[]) => Error, parse: () => void): void {
  try {
    parse()
  } catch (error) {
    if (!(error instanceof kind)) throw error
  }
}

/** Parameters of a handshake message: ids, integers, strings with lengths. */
function payloadTarget(): FuzzTarget {
  const strings = { resetToken: new Uint8Array(16), cipher: Uint8Array.of(1), connectionId: ID }
  return {
    name: 'payload',
    kind: 'binary',
    longCount: 1e7,
    shortCount: 5_000,
    parser: { 'ts/transport/handshake.ts': ['parsePayload', 'readVarint'] },
    tokens: [0x40, 0x41, 0x43, 0x44, 0x7f].map((id) => Uint8Array.of(id, 4, 9)),
    examples: [encodePayload(PARAMETERS, strings), encodePayload(undefined, strings)],
    run: (input) => {
      const payload = parsePayload(input)
      if (payload === MALFORMED) return
      const size = Object.values(payload.strings).reduce((sum, value) => sum + value.length, 0)
      must(size <= input.length, `${size} bytes out of ${input.length}`)
      for (const [name, value] of Object.entries(payload.parameters)) {
        must(Number.isSafeInteger(value) && value >= 0, `${name} is ${value}`)
      }
      const again = parsePayload(encodePayload(payload.parameters, payload.strings))
      must(again !== MALFORMED, 'what was read can not be written')
    },
  }
}

/** Both sides of a handshake under a hostile other side, which may well have keys. */
function handshakeTarget(): FuzzTarget {
  const random = new SeededRandom(1)
  const [ours, theirs] = [NodeKey.generate(random), NodeKey.generate(random)]
  const ids = { original: ID, initiator: ID }
  const setup = (nodeKey: NodeKey): HandshakeSetup => ({
    nodeKey,
    parameters: PARAMETERS,
    resetToken: new Uint8Array(16),
    hasAes: true,
    random,
    seconds: 1_000,
  })
  const ticket = { id: Uint8Array.of(7, 7), key: new Uint8Array(32).fill(3) }
  const ticketKey = (id: Uint8Array) => (id.length === 2 ? ticket.key : undefined)
  const demands = [
    { mode: 'none' as const },
    { mode: 'noise' as const },
    { mode: 'noise' as const, remoteKey: ours.peerKey },
    { mode: 'noise' as const, ticket },
    { mode: 'noise' as const, remoteKey: ours.peerKey, ticket },
    { mode: 'noise' as const, verify: () => false },
    { mode: 'noise' as const, verify: () => true },
    { mode: 'noise' as const, remoteId: theirs.nodeId },
  ]
  const respond = (message: Uint8Array, isPlain = false) =>
    new ResponderHandshake(
      setup(ours),
      { mode: isPlain ? 'none' : 'noise', ticketKey },
      ids,
      message,
    )
  /** An answer or a first message that the Noise machine takes, with any payload in it. */
  const hostile = (kind: number, payload: Uint8Array): void => {
    const suites = [1, 2] as const
    const suite = suites[kind & 1] as 1 | 2
    const head = Uint8Array.of(suite, 3)
    const prologue = Buffer.concat([Buffer.from('punchline'), version(), head, ID, ID])
    const pattern = suite === 1 ? 'XX' : 'IK'
    const noise = (isInitiator: boolean) =>
      new NoiseHandshake({
        pattern,
        isInitiator,
        prologue,
        staticKey: (isInitiator ? theirs : ours).staticKey,
        random,
        ...(isInitiator && suite === 2 ? { remoteStatic: ours.peerKey.staticKey } : {}),
      })
    if ((kind & 2) === 0) {
      const peer = noise(true)
      const responder = respond(Buffer.concat([head, peer.writeMessage(payload)]))
      if (suite !== 1) return
      peer.readMessage(responder.answer(ID).subarray(1))
      responder.third(Buffer.concat([Uint8Array.of(suite), peer.writeMessage(payload)]))
      responder.result(true)
    } else {
      const demand = demands[suite === 1 ? ([1, 5, 6, 7][(kind >> 2) & 3] ?? 1) : 2] ?? {
        mode: 'noise',
      }
      const initiator = new InitiatorHandshake(setup(theirs), demand, ids)
      const peer = noise(false)
      peer.readMessage(initiator.first().subarray(2))
      initiator.answer(Buffer.concat([Uint8Array.of(suite), peer.writeMessage(payload)]), ID)
    }
  }
  const good = {
    resetToken: new Uint8Array(16),
    cipher: Uint8Array.of(1),
    connectionId: ID,
    record: theirs.publicRecord(),
  }
  const payloads = [
    encodePayload(PARAMETERS, good),
    encodePayload(PARAMETERS, { ...good, record: ours.publicRecord() }),
    encodePayload(PARAMETERS, { ...good, cipher: Uint8Array.of(2) }),
    encodePayload(PARAMETERS, { cipher: Uint8Array.of(1), connectionId: ID }),
    encodePayload(PARAMETERS, {}),
  ]
  const firsts = demands.map((demand) => new InitiatorHandshake(setup(theirs), demand, ids).first())
  return {
    name: 'handshake',
    kind: 'binary',
    longCount: 1e7,
    shortCount: 5_000,
    parser: {
      'ts/transport/security.ts': [
        'ResponderHandshake',
        'payloadOf',
        'read',
        'remoteOf',
        'third',
        'answer',
        'judge',
      ],
    },
    // The first byte: 0 to the responder, 1 likewise in plaintext, 2 an answer, 3 with another third
    // message, 16 and up hostile.
    examples: [
      Uint8Array.of(0, 3, 3),
      ...firsts.map((message) => Uint8Array.of(3, ...message)),
      ...firsts.flatMap((message) => [0, 1].map((kind) => Uint8Array.of(kind, ...message))),
      ...payloads.flatMap((payload) =>
        Array.from({ length: 16 }, (_, kind) => Uint8Array.of(16 + kind, ...payload)),
      ),
      ...demands.map((_, index) => Uint8Array.of(2, index, 0, ...(payloads[0] ?? []))),
      ...demands.map((_, index) => Uint8Array.of(2, index, index, ...(payloads[0] ?? []))),
    ],
    mutate: (draw, input) => {
      // Asymmetric cryptography is dear: most of the time the plaintext suite is enough.
      if (input.length === 0 || draw.chance(0.9)) return Uint8Array.of(1, 0, ...input.subarray(2))
      const changed = input.slice()
      changed[0] = draw.chance(0.2) ? 16 + draw.below(16) : draw.below(4)
      return changed
    },
    run: (input) => {
      const [kind = 0] = input
      const message = input.subarray(1)
      rejects(HandshakeFailure, () => {
        if (kind >= 16) hostile(kind - 16, message)
        else if (kind === 2) {
          const demand = demands[(message[0] ?? 0) % demands.length] as (typeof demands)[number]
          const initiator = new InitiatorHandshake(setup(theirs), demand, ids)
          initiator.first()
          initiator.answer(message.subarray(1), ID)
        } else {
          const responder = respond(message, kind === 1)
          responder.answer(ID)
          if (responder.hasThird) responder.third(kind === 3 ? message.subarray(1) : message)
        }
      })
    },
  }
}

function version(): Uint8Array {
  const first = Buffer.alloc(4)
  first.writeInt32LE(VERSION)
  return first
}

/** The record that tells who a node is: read before anything is known of the peer. */
function recordTarget(): FuzzTarget {
  const random = new SeededRandom(2)
  const bounded = NodeKey.generate(random, { notBefore: 5, notAfter: 9 })
  const records = [
    NodeKey.generate(random).publicRecord(),
    bounded.publicRecord(),
    validForTooLong(bounded),
  ]
  return {
    name: 'record',
    kind: 'binary',
    longCount: 1e7,
    shortCount: 5_000,
    parser: { 'ts/transport/identity.ts': ['parseRecord', 'readSeconds'] },
    examples: records,
    // Verifying is dear: mostly something that is rejected before.
    mutate: (draw, input) =>
      draw.chance(0.98) ? input.slice(0, draw.below(input.length + 1)) : undefined,
    run: (input) => {
      rejects(TransportError, () => {
        const key = parseRecord(input)
        must(key.nodeId.length === 32 && key.staticKey.length === 32, 'a key of another size')
      })
    },
  }
}

/** A record that its node has signed, with a time that no number holds. */
function validForTooLong(key: NodeKey): Uint8Array {
  const der = Buffer.concat([
    Buffer.from('302e020100300506032b657004220420', 'hex'),
    Buffer.from(key.exportSecrets().identitySecret, 'base64url'),
  ])
  const record = Buffer.from(key.publicRecord())
  const signed = record.length - 64
  record.writeBigUInt64LE(2n ** 60n, signed - 8)
  const message = Buffer.concat([
    Buffer.from('punchline node key record\0'),
    record.subarray(0, signed),
  ])
  const identity = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  record.set(sign(null, message, identity), signed)
  return record
}

function nodeKeyTarget(): FuzzTarget {
  const secrets = NodeKey.generate(new SeededRandom(3)).exportSecrets()
  return {
    name: 'node-key',
    kind: 'text',
    longCount: 1e6,
    shortCount: 5_000,
    parser: { 'ts/transport/identity.ts': ['from', 'parseSource', 'secretBytes'] },
    tokens: ['null', '[]', '{}', '"', '-1', '1e999', '"version":1', '\\u0000', ','].map(bytesOf),
    examples: [JSON.stringify(secrets), JSON.stringify({ ...secrets, notBefore: 3 })].map(bytesOf),
    run: (input) => {
      const text = textOf(input)
      rejects(TransportError, () => {
        must(NodeKey.from(text).nodeId.length === 32, 'an id of another size')
      })
      let value: unknown
      try {
        value = JSON.parse(text)
      } catch {
        return
      }
      rejects(TransportError, () => void NodeKey.from(value as string))
    },
  }
}

function nodeIdTarget(): FuzzTarget {
  const id = formatNodeId(NodeKey.generate(new SeededRandom(4)).nodeId)
  return {
    name: 'node-id',
    kind: 'text',
    longCount: 1e6,
    shortCount: 5_000,
    parser: { 'ts/transport/identity.ts': ['parseNodeId', 'formatNodeId'] },
    tokens: ['a', 'z', '7', '1', 'İ', '\u212a'].map(bytesOf),
    examples: [bytesOf(id), bytesOf(id.toUpperCase())],
    run: (input) => {
      const text = textOf(input)
      rejects(TransportError, () => {
        const parsed = parseNodeId(text)
        must(formatNodeId(parsed) === text.toLowerCase(), 'an id with two spellings')
      })
      rejects(TransportError, () => void formatNodeId(input))
    },
  }
}

function addressTarget(): FuzzTarget {
  const book = new AddressBook({ zones: new Map([['eth0', 2]]) })
  return {
    name: 'address',
    kind: 'text',
    longCount: 1e6,
    shortCount: 5_000,
    parser: {
      'ts/transport/address.ts': [
        'parseAddress',
        'parseIPv4',
        'parseIPv6',
        'groups',
        'formatAddress',
      ],
    },
    tokens: ['::', ':', '.', '0', 'ffff', '255', '%eth0', '%', '1:2:3:4:5:6:7:8', '1.2.3.4'].map(
      bytesOf,
    ),
    run: (input) => {
      const text = textOf(input)
      const bytes = parseAddress(text)
      const packed = book.pack(text, 4_433)
      if (bytes === undefined) return
      must(bytes.length === 16, `${bytes.length} bytes`)
      const canonical = formatAddress(bytes)
      const again = parseAddress(canonical)
      must(again !== undefined && Buffer.compare(again, bytes) === 0, `${canonical} is another one`)
      must(packed !== undefined && book.unpack(packed, 0).port === 4_433, 'not packed')
    },
  }
}

/** Text of PUNCHLINE_FAULTS. */
function faultsTarget(): FuzzTarget {
  return {
    name: 'faults',
    kind: 'text',
    longCount: 1e6,
    shortCount: 5_000,
    parser: { 'ts/io/faults.ts': ['parseFaults', 'parsePart', 'parseShare', 'parseTime'] },
    tokens: [
      'loss=',
      'blackout=',
      '3s@2s',
      'seed=7',
      ',',
      '%',
      '1.5',
      'ms',
      'm',
      ':',
      '__proto__=1',
    ].map(bytesOf),
    run: (input) => {
      rejects(IoError, () => {
        const { loss, duplicate, corrupt, reorder, holdMs, blackouts, seed } = parseFaults(
          textOf(input),
        )
        for (const share of [loss, duplicate, corrupt, reorder]) {
          must(share >= 0 && share <= 1, `a share of ${share}`)
        }
        must(holdMs >= 0 && seed >= 0 && blackouts.length <= input.length, 'out of range')
      })
    },
  }
}

export function textTargets(): FuzzTarget[] {
  return [
    payloadTarget(),
    handshakeTarget(),
    recordTarget(),
    nodeKeyTarget(),
    nodeIdTarget(),
    addressTarget(),
    faultsTarget(),
  ]
}
