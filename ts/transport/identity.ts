/**
 * Who a node is: an Ed25519 identity, and an X25519 static key for handshakes that the identity has
 * signed. The node's id is the SHA-256 of its identity key, so nobody can choose or borrow one.
 *
 * *Two keys, not one* – `node:crypto` can't turn the one kind into the other, and the static key can
 * be replaced without a new id – a record of 145 bytes has to travel.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  hkdfSync,
  type KeyObject,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto'
import { inspect } from 'node:util'
import { TransportError } from '../errors.ts'
import type { KeyPair, Random } from '../machine.ts'
import { X25519_KEY_SIZE, x25519KeyPair } from './key-agreement.ts'

export const NODE_ID_SIZE = 32
const ED25519_KEY_SIZE = 32
const SIGNATURE_SIZE = 64

// ── The record that travels: little-endian, as everything of ours ────────────────────────────────

const RECORD_VERSION = 1
const RECORD_IDENTITY = 1
const RECORD_STATIC = RECORD_IDENTITY + ED25519_KEY_SIZE
const RECORD_NOT_BEFORE = RECORD_STATIC + X25519_KEY_SIZE
const RECORD_NOT_AFTER = RECORD_NOT_BEFORE + 8
const RECORD_SIGNATURE = RECORD_NOT_AFTER + 8
export const RECORD_SIZE = RECORD_SIGNATURE + SIGNATURE_SIZE

/** In front of what is signed, so that no signature can be taken for one of something else. */
const SIGNATURE_CONTEXT = Buffer.from('punchline node key record\0')

/** RFC 8410 §7, §4: everything in front of the 32 bytes of a key in DER. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

/** From when until when a static key may be used: seconds since 1970, 0: no bound. */
export interface KeyValidity {
  readonly notBefore: number
  readonly notAfter: number
}

const ALWAYS: KeyValidity = { notBefore: 0, notAfter: 0 }

/** What is public of a node: all of it was signed by its identity. */
export interface PeerKey extends KeyValidity {
  /** 32 bytes; `formatNodeId` makes it readable. */
  readonly nodeId: Uint8Array
  /** Ed25519, 32 bytes. */
  readonly identityKey: Uint8Array
  /** X25519, 32 bytes: what a handshake proves. */
  readonly staticKey: Uint8Array
}

/** What makes up a node key, to be kept as secret as a private key is. Text is base64url. */
export interface NodeKeySecrets {
  readonly version: 1
  /** Ed25519, 32 bytes. */
  readonly identitySecret: string
  /** X25519, 32 bytes. */
  readonly staticSecret: string
  readonly notBefore?: number
  readonly notAfter?: number
}

/**
 * The keys of this node.
 *
 * Private halves are inside `node:crypto`; printing or serialising a NodeKey shows its id only.
 * `exportSecrets` is the one way to get them out.
 */
export class NodeKey {
  /** For handshakes. */
  readonly staticKey: KeyPair
  /** What peers see of this key. */
  readonly peerKey: PeerKey
  readonly #identity: KeyObject
  readonly #record: Uint8Array

  private constructor(identity: KeyObject, staticKey: KeyPair, validity: KeyValidity) {
    this.#identity = identity
    this.staticKey = staticKey
    this.#record = signRecord(identity, staticKey.publicKey, validity)
    this.peerKey = parseRecord(this.#record)
  }

  /** Makes a key. `random` must be unpredictable outside tests and simulations. */
  static generate(random: Random, validity: KeyValidity = ALWAYS): NodeKey {
    const secrets = [new Uint8Array(ED25519_KEY_SIZE), new Uint8Array(X25519_KEY_SIZE)] as const
    for (const secret of secrets) random.fill(secret)
    const [identity, staticSecret] = secrets
    const key = new NodeKey(ed25519Key(identity), x25519KeyPair(staticSecret), validity)
    for (const secret of secrets) secret.fill(0)
    return key
  }

  /**
   * Takes what `exportSecrets` gave, as an object or as JSON.
   * @throws TransportError, ERR_PUNCHLINE_IDENTITY, which names the field but never shows it.
   */
  static from(source: NodeKeySecrets | string): NodeKey {
    const { version, identitySecret, staticSecret, notBefore, notAfter } = parseSource(source)
    if (version !== 1) throw malformed('version is not 1')
    const identity = ed25519Key(secretBytes(identitySecret, 'identitySecret'))
    const staticKey = x25519KeyPair(secretBytes(staticSecret, 'staticSecret'))
    const validity = { notBefore: notBefore ?? 0, notAfter: notAfter ?? 0 }
    return new NodeKey(identity, staticKey, validity)
  }

  get nodeId(): Uint8Array {
    return this.peerKey.nodeId
  }

  /** The record that shows peers this key: RECORD_SIZE bytes, signed. A copy. */
  publicRecord(): Uint8Array {
    return Uint8Array.from(this.#record)
  }

  /** Gives a secret for one purpose: the same for this key at all times, and of no use to find it. */
  deriveSecret(purpose: string, size: number): Uint8Array {
    const der = this.#identity.export({ format: 'der', type: 'pkcs8' })
    const secret = new Uint8Array(hkdfSync('sha256', der, '', `punchline ${purpose}`, size))
    der.fill(0)
    return secret
  }

  /** Gives the private keys, for storing. Whoever has them is this node. */
  exportSecrets(): NodeKeySecrets {
    const { notBefore, notAfter } = this.peerKey
    return {
      version: 1,
      identitySecret: exportSecret(this.#identity),
      staticSecret: exportSecret(this.staticKey.privateKey),
      ...(notBefore !== 0 && { notBefore }),
      ...(notAfter !== 0 && { notAfter }),
    }
  }

  /** What JSON shows: the id. Not `exportSecrets`: objects get into logs by way of JSON. */
  toJSON(): { nodeId: string } {
    return { nodeId: formatNodeId(this.nodeId) }
  }

  toString(): string {
    return `NodeKey ${formatNodeId(this.nodeId)}`
  }

  [inspect.custom](): string {
    return this.toString()
  }
}

/**
 * Reads a peer's record and verifies its signature.
 * @throws TransportError, ERR_PUNCHLINE_IDENTITY.
 */
export function parseRecord(bytes: Uint8Array): PeerKey {
  const record = Buffer.from(bytes)
  if (record.length !== RECORD_SIZE) throw malformed(`a record has ${RECORD_SIZE} bytes`)
  if (record[0] !== RECORD_VERSION) throw malformed(`unknown version ${record[0]} of a record`)
  const identityKey = Uint8Array.from(record.subarray(RECORD_IDENTITY, RECORD_STATIC))
  const signature = record.subarray(RECORD_SIGNATURE)
  // JWK (RFC 8037): OpenSSL 3.0 takes ten times as long for a key in DER.
  const x = Buffer.from(identityKey).toString('base64url')
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
  if (!verify(null, signedPart(record), publicKey, signature)) {
    throw malformed('the signature of a record is wrong')
  }
  return Object.freeze({
    nodeId: nodeIdOf(identityKey),
    identityKey,
    staticKey: Uint8Array.from(record.subarray(RECORD_STATIC, RECORD_NOT_BEFORE)),
    notBefore: readSeconds(record, RECORD_NOT_BEFORE),
    notAfter: readSeconds(record, RECORD_NOT_AFTER),
  })
}

/** A key as those keep it who have many: with a character for each byte it takes a third of the memory. */
export interface PackedPeerKey extends KeyValidity {
  readonly text: string
}

export function packPeerKey(key: PeerKey): PackedPeerKey {
  const { nodeId, identityKey, staticKey, notBefore, notAfter } = key
  const text = Buffer.concat([nodeId, identityKey, staticKey]).toString('latin1')
  return { text, notBefore, notAfter }
}

export function unpackPeerKey({ text, notBefore, notAfter }: PackedPeerKey): PeerKey {
  const bytes = Buffer.from(text, 'latin1')
  const part = (at: number, size: number) => Uint8Array.from(bytes.subarray(at, at + size))
  return Object.freeze({
    nodeId: part(0, NODE_ID_SIZE),
    identityKey: part(NODE_ID_SIZE, ED25519_KEY_SIZE),
    staticKey: part(NODE_ID_SIZE + ED25519_KEY_SIZE, X25519_KEY_SIZE),
    notBefore,
    notAfter,
  })
}

/** Whether a key may be used at a time, in seconds since 1970. Both bounds are included. */
export function isValidAt({ notBefore, notAfter }: KeyValidity, seconds: number): boolean {
  return seconds >= notBefore && (notAfter === 0 || seconds <= notAfter)
}

function signRecord(
  identity: KeyObject,
  staticKey: Uint8Array,
  { notBefore, notAfter }: KeyValidity,
): Uint8Array {
  const record = Buffer.alloc(RECORD_SIZE)
  record[0] = RECORD_VERSION
  record.set(publicBytes(identity), RECORD_IDENTITY)
  record.set(staticKey, RECORD_STATIC)
  writeSeconds(record, RECORD_NOT_BEFORE, notBefore, 'notBefore')
  writeSeconds(record, RECORD_NOT_AFTER, notAfter, 'notAfter')
  if (notAfter !== 0 && notAfter < notBefore) throw malformed('notAfter is before notBefore')
  record.set(sign(null, signedPart(record), identity), RECORD_SIGNATURE)
  return new Uint8Array(record)
}

function signedPart(record: Buffer): Buffer {
  return Buffer.concat([SIGNATURE_CONTEXT, record.subarray(0, RECORD_SIGNATURE)])
}

/** Seconds travel as 64 bits, of which numbers here have 53. */
function readSeconds(record: Buffer, at: number): number {
  const seconds = Number(record.readBigUInt64LE(at))
  if (!Number.isSafeInteger(seconds)) throw malformed('a record is valid for too long')
  return seconds
}

function writeSeconds(record: Buffer, at: number, seconds: number, name: string): void {
  if (!Number.isSafeInteger(seconds) || seconds < 0)
    throw malformed(`${name} is no time in seconds`)
  record.writeBigUInt64LE(BigInt(seconds), at)
}

// ── Node ids ─────────────────────────────────────────────────────────────────────────────────────

/** RFC 4648 §6, lower case: a whole id fits one label of a host name, hexadecimal does not. */
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'
const NODE_ID_CHARACTERS = Math.ceil((NODE_ID_SIZE * 8) / 5)

/** Gives the id that belongs to an identity key. */
export function nodeIdOf(identityKey: Uint8Array): Uint8Array {
  return new Uint8Array(createHash('sha256').update(identityKey).digest())
}

/** Writes an id as 52 characters a–z and 2–7. */
export function formatNodeId(nodeId: Uint8Array): string {
  if (nodeId.length !== NODE_ID_SIZE) throw malformed(`a node id has ${NODE_ID_SIZE} bytes`)
  let text = ''
  let bits = 0
  let bitCount = 0
  for (const byte of nodeId) {
    bits = (bits << 8) | byte
    for (bitCount += 8; bitCount >= 5; bitCount -= 5) {
      text += BASE32[(bits >> (bitCount - 5)) & 31]
    }
    bits &= 31
  }
  return text + BASE32[(bits << (5 - bitCount)) & 31]
}

/**
 * Reads an id; upper case is as good, since names may be changed to it on their way.
 * @throws TransportError, ERR_PUNCHLINE_IDENTITY.
 */
export function parseNodeId(text: string): Uint8Array {
  if (text.length !== NODE_ID_CHARACTERS) {
    throw malformed(`a node id has ${NODE_ID_CHARACTERS} characters`)
  }
  const nodeId = new Uint8Array(NODE_ID_SIZE)
  let size = 0
  let bits = 0
  let bitCount = 0
  for (const character of text.toLowerCase()) {
    const value = BASE32.indexOf(character)
    if (value < 0) throw malformed('a node id consists of a–z and 2–7')
    bits = ((bits << 5) | value) & 0xfff
    bitCount += 5
    if (bitCount >= 8) {
      bitCount -= 8
      nodeId[size++] = bits >> bitCount
    }
  }
  // Else one id would have several spellings.
  if ((bits & ((1 << bitCount) - 1)) !== 0)
    throw malformed('the last character of a node id is wrong')
  return nodeId
}

/** Compares ids in a time that does not tell where they differ. */
export function sameNodeId(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

// ── Keys in and out of node:crypto ───────────────────────────────────────────────────────────────

function ed25519Key(secret: Uint8Array): KeyObject {
  const der = Buffer.concat([PRIVATE_PREFIX, secret])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  return key
}

function publicBytes(privateKey: KeyObject): Buffer {
  const der = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return der.subarray(PUBLIC_PREFIX.length)
}

function exportSecret(key: KeyObject): string {
  const der = key.export({ format: 'der', type: 'pkcs8' })
  const text = der.subarray(PRIVATE_PREFIX.length).toString('base64url')
  der.fill(0)
  return text
}

function secretBytes(text: unknown, name: string): Buffer {
  const bytes = Buffer.from(typeof text === 'string' ? text : '', 'base64url')
  // Decoding skips what it does not know: only what comes out again as it was is taken.
  if (bytes.length !== 32 || bytes.toString('base64url') !== text) {
    throw malformed(`${name} is not 32 bytes in base64url`)
  }
  return bytes
}

function parseSource(source: NodeKeySecrets | string): Partial<NodeKeySecrets> {
  try {
    const value: unknown = typeof source === 'string' ? JSON.parse(source) : source
    if (typeof value === 'object' && value !== null) return value
  } catch {
    // The parser's message would quote the text, and with it the secret.
  }
  throw malformed('a node key is an object, or one in JSON')
}

function malformed(message: string): TransportError {
  return new TransportError('ERR_PUNCHLINE_IDENTITY', message)
}
