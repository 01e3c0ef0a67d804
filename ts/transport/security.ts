/**
 * Who the two sides of a connection are, and which keys they have: the Noise handshake around the
 * parameters of `handshake.ts`. Pure: messages in, messages and keys out.
 */
import {
  CIPHER_AES,
  CIPHER_CHACHA,
  CIPHER_NONE,
  CODE_HANDSHAKE,
  CODE_IDENTITY,
  CODE_SECURITY,
  VERSION,
} from '../../bindings/core.ts'
import type { Random } from '../machine.ts'
import {
  encodePayload,
  type HandshakePayload,
  type HandshakeStrings,
  MALFORMED,
  parsePayload,
  SUITE_IK,
  SUITE_IK_PSK,
  SUITE_NONE,
  SUITE_XX,
  SUITE_XX_PSK,
  type TransportParameters,
} from './handshake.ts'
import { isValidAt, type NodeKey, type PeerKey, parseRecord, sameNodeId } from './identity.ts'
import { NoiseHandshake, type NoisePattern } from './noise.ts'

/** Encrypted and authenticated, or plaintext with a checksum. */
export type SecurityMode = 'noise' | 'none'

/** A secret that somebody both sides trust has given them for one connection. */
export interface Ticket {
  /** What the responder finds the key by, up to 255 bytes. */
  readonly id: Uint8Array
  /** 32 bytes. */
  readonly key: Uint8Array
}

/** What was proven about a connection. */
export interface SecurityInfo {
  readonly mode: SecurityMode
  /** Pattern of the handshake (Noise Protocol Framework §7); `none` without one. */
  readonly handshake: 'none' | 'XX' | 'IK' | 'XXpsk2' | 'IKpsk2'
  readonly cipher: 'none' | 'chacha20-poly1305' | 'aes-128-gcm'
  /** The peer's key; it has proven that it holds it. Undefined without protection. */
  readonly remote: PeerKey | undefined
  /**
   * The peer's key was known beforehand, or the program said yes to it. Otherwise the connection is
   * opportunistic: nobody reads it on the way, but who is at the other end is not known.
   */
  readonly isAuthenticated: boolean
}

/** What an initiator knows of its peer and asks of the handshake. */
export interface InitiatorDemands {
  readonly mode: SecurityMode
  /** The peer's key: the first message is encrypted to it, and nobody else can answer. */
  readonly remoteKey?: PeerKey | undefined
  /** The peer's node id: compared before any byte of the program leaves. */
  readonly remoteId?: Uint8Array | undefined
  /** Asked when neither is given; false ends the connection. Default: trust. */
  readonly verify?: ((remote: PeerKey) => boolean) | undefined
  readonly ticket?: Ticket | undefined
}

/** A handshake that comes to nothing: CODE_…. */
export class HandshakeFailure extends Error {
  readonly code: number
  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}

/** What a finished handshake gives. */
export interface HandshakeResult {
  readonly parameters: TransportParameters
  /** CIPHER_…. */
  readonly cipher: number
  /** First links of the chains for sending and receiving, 32 bytes each; empty without cipher. */
  readonly links: Uint8Array
  readonly resetToken: Uint8Array | undefined
  readonly info: SecurityInfo
}

/** What one side of a handshake has to go by. */
export interface HandshakeSetup {
  readonly nodeKey: NodeKey
  readonly parameters: TransportParameters
  /** This side's reset token. */
  readonly resetToken: Uint8Array
  /** Whether this side can do AES-128-GCM. */
  readonly hasAes: boolean
  readonly random: Random
  /** Seconds since 1970, for keys that are not valid for ever; without it they count as valid. */
  readonly seconds?: number | undefined
}

/** Connection ids that the headers of the messages carry. */
export interface HandshakeIds {
  /** Where the first packet goes to, and what it names as its sender. */
  readonly original: Uint8Array
  readonly initiator: Uint8Array
}

const CIPHER_BIT_CHACHA = 1
const CIPHER_BIT_AES = 2

/** Where the ticket's key goes in: the end of the second message (Noise §9.4). */
const PSK_PLACE = 2
const TICKET_ID_SIZE_MAX = 255

interface Suite {
  readonly pattern: NoisePattern
  readonly hasTicket: boolean
}

const SUITES: ReadonlyMap<number, Suite> = new Map([
  [SUITE_XX, { pattern: 'XX', hasTicket: false }],
  [SUITE_IK, { pattern: 'IK', hasTicket: false }],
  [SUITE_XX_PSK, { pattern: 'XX', hasTicket: true }],
  [SUITE_IK_PSK, { pattern: 'IK', hasTicket: true }],
] as const)

/** What both sides must agree on, or nothing decrypts: no downgrade passes. */
function prologue(head: Uint8Array, ids: HandshakeIds): Uint8Array {
  const version = Buffer.alloc(4)
  version.writeInt32LE(VERSION)
  return Buffer.concat([Buffer.from('punchline'), version, head, ids.original, ids.initiator])
}

function infoOf(
  suite: number,
  cipher: number,
  remote: PeerKey | undefined,
  isAuthenticated: boolean,
): SecurityInfo {
  if (suite === SUITE_NONE) {
    return {
      mode: 'none',
      handshake: 'none',
      cipher: 'none',
      remote: undefined,
      isAuthenticated: false,
    }
  }
  return {
    mode: 'noise',
    handshake: nameOf(suite),
    cipher: cipher === CIPHER_AES ? 'aes-128-gcm' : 'chacha20-poly1305',
    remote,
    isAuthenticated,
  }
}

function nameOf(number: number): SecurityInfo['handshake'] {
  const suite = SUITES.get(number)
  if (suite === undefined) return 'none'
  return suite.hasTicket ? `${suite.pattern}psk2` : suite.pattern
}

/** Reads what a peer says; nothing of it may throw anything else. */
function payloadOf(bytes: Uint8Array): HandshakePayload {
  const payload = parsePayload(bytes)
  if (payload === MALFORMED) throw new HandshakeFailure(CODE_HANDSHAKE, 'malformed parameters')
  return payload
}

function read(noise: NoiseHandshake, message: Uint8Array): HandshakePayload {
  let bytes: Uint8Array
  try {
    bytes = noise.readMessage(message)
  } catch {
    throw new HandshakeFailure(CODE_HANDSHAKE, 'the message was not made for this handshake')
  }
  return payloadOf(bytes)
}

/** The peer's key: its record must name the static key that the handshake has proven. */
function remoteOf(
  noise: NoiseHandshake,
  strings: HandshakeStrings,
  seconds: number | undefined,
): PeerKey {
  try {
    const key = parseRecord(strings.record ?? new Uint8Array(0))
    const proven = noise.remoteStatic
    const isValid = seconds === undefined || isValidAt(key, seconds)
    if (isValid && proven && Buffer.compare(key.staticKey, proven) === 0) return key
  } catch {
    // Falls through: whatever is wrong with it.
  }
  throw new HandshakeFailure(CODE_IDENTITY, "the peer's record does not fit its key")
}

function linksOf(noise: NoiseHandshake): Uint8Array {
  const { send, receive } = noise.split()
  return Buffer.concat([send, receive])
}

function joined(head: Iterable<number>, message: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.from(head), message])
}

/** What a first message begins with: suite, ciphers on offer, name of the ticket. */
function headOf(suite: number, hasAes: boolean, ticket: Uint8Array | undefined): Uint8Array {
  if (suite === SUITE_NONE) return Uint8Array.of(suite)
  const ciphers = CIPHER_BIT_CHACHA | (hasAes ? CIPHER_BIT_AES : 0)
  if (ticket === undefined) return Uint8Array.of(suite, ciphers)
  if (ticket.length > TICKET_ID_SIZE_MAX) throw new TypeError("the ticket's name is too long")
  return Uint8Array.of(suite, ciphers, ticket.length, ...ticket)
}

// ── Initiator ────────────────────────────────────────────────────────────────────────────────────

export class InitiatorHandshake {
  private readonly setup: HandshakeSetup
  private readonly demands: InitiatorDemands
  private readonly suite: number
  private readonly head: Uint8Array
  private readonly noise: NoiseHandshake | undefined

  /** @throws TypeError for a ticket whose name or key has the wrong size. */
  constructor(setup: HandshakeSetup, demands: InitiatorDemands, ids: HandshakeIds) {
    this.setup = setup
    this.demands = demands
    this.suite = suiteOf(demands)
    this.head = headOf(this.suite, setup.hasAes, demands.ticket?.id)
    const suite = SUITES.get(this.suite)
    if (suite === undefined) return
    const { remoteKey, ticket } = demands
    this.noise = new NoiseHandshake({
      pattern: suite.pattern,
      isInitiator: true,
      prologue: prologue(this.head, ids),
      staticKey: setup.nodeKey.staticKey,
      random: setup.random,
      ...(remoteKey === undefined ? {} : { remoteStatic: remoteKey.staticKey }),
      ...(ticket === undefined ? {} : { psks: { [PSK_PLACE]: ticket.key } }),
    })
  }

  /** The first message. */
  first(): Uint8Array {
    const { parameters, resetToken, nodeKey } = this.setup
    if (this.noise === undefined) return joined(this.head, encodePayload(parameters))
    // With IK it is encrypted; otherwise who we are has to wait.
    const isEncrypted = this.demands.remoteKey !== undefined
    const about = isEncrypted ? { resetToken, record: nodeKey.publicRecord() } : {}
    return joined(this.head, this.noise.writeMessage(encodePayload(parameters, about)))
  }

  /**
   * The responder's answer, from a packet that named `connectionId` as its sender.
   * @throws HandshakeFailure
   */
  answer(
    message: Uint8Array,
    connectionId: Uint8Array,
  ): HandshakeResult & { readonly third: Uint8Array | undefined } {
    if (message[0] !== this.suite) {
      throw new HandshakeFailure(CODE_SECURITY, 'the answer is of another suite')
    }
    if (this.noise === undefined) {
      const { parameters } = payloadOf(message.subarray(1))
      const info = infoOf(SUITE_NONE, CIPHER_NONE, undefined, false)
      const [cipher, links] = [CIPHER_NONE, new Uint8Array(0)]
      return { parameters, cipher, links, resetToken: undefined, info, third: undefined }
    }
    const { parameters, strings } = read(this.noise, message.subarray(1))
    if (Buffer.compare(strings.connectionId ?? new Uint8Array(0), connectionId) !== 0) {
      throw new HandshakeFailure(CODE_HANDSHAKE, 'the packet was changed on its way')
    }
    const cipher = strings.cipher?.[0] ?? CIPHER_NONE
    if (cipher !== CIPHER_CHACHA && !(cipher === CIPHER_AES && this.setup.hasAes)) {
      throw new HandshakeFailure(CODE_SECURITY, 'the cipher was not offered')
    }
    const remote = remoteOf(this.noise, strings, this.setup.seconds)
    const isAuthenticated = this.judge(remote)
    let third: Uint8Array | undefined
    if (!this.noise.isComplete) {
      const { resetToken, nodeKey } = this.setup
      const payload = encodePayload(undefined, { resetToken, record: nodeKey.publicRecord() })
      third = joined([this.suite], this.noise.writeMessage(payload))
    }
    const info = infoOf(this.suite, cipher, remote, isAuthenticated)
    const { resetToken } = strings
    return { parameters, cipher, links: linksOf(this.noise), resetToken, info, third }
  }

  /** Whether the peer is known; throws when it is not who it has to be. */
  private judge(remote: PeerKey): boolean {
    const { remoteId, remoteKey, verify, ticket } = this.demands
    const wanted = [remoteId, remoteKey?.nodeId].filter((id) => id !== undefined)
    if (!wanted.every((id) => sameNodeId(id, remote.nodeId))) {
      throw new HandshakeFailure(CODE_IDENTITY, 'the peer is somebody else')
    }
    if (wanted.length > 0) return true
    if (verify === undefined) return ticket !== undefined
    if (verify(remote)) return true
    throw new HandshakeFailure(CODE_IDENTITY, 'the program does not know this peer')
  }
}

function suiteOf({ mode, remoteKey, ticket }: InitiatorDemands): number {
  if (mode === 'none') return SUITE_NONE
  if (remoteKey !== undefined) return ticket === undefined ? SUITE_IK : SUITE_IK_PSK
  return ticket === undefined ? SUITE_XX : SUITE_XX_PSK
}

// ── Responder ────────────────────────────────────────────────────────────────────────────────────

/** What a responder asks of its peers. */
export interface ResponderDemands {
  readonly mode: SecurityMode
  /** Finds the key of a ticket; undefined: there is none of that name. */
  readonly ticketKey?: ((id: Uint8Array) => Uint8Array | undefined) | undefined
}

export class ResponderHandshake {
  /** Name of the ticket that the initiator has; its key is proven once the handshake is through. */
  readonly ticket: Uint8Array | undefined
  /** Who the initiator is; with XX only after the third message. */
  remote: PeerKey | undefined
  private readonly setup: HandshakeSetup
  private readonly suite: number
  private readonly noise: NoiseHandshake | undefined
  private readonly cipher: number
  private readonly parameters: TransportParameters
  private readonly isIK: boolean = false
  private resetToken: Uint8Array | undefined

  /**
   * Reads the first message.
   * @throws HandshakeFailure
   */
  constructor(
    setup: HandshakeSetup,
    demands: ResponderDemands,
    ids: HandshakeIds,
    message: Uint8Array,
  ) {
    this.setup = setup
    this.suite = message[0] ?? -1
    if ((this.suite === SUITE_NONE) !== (demands.mode === 'none')) {
      throw new HandshakeFailure(CODE_SECURITY, 'one side wants protection, the other does not')
    }
    if (this.suite === SUITE_NONE) {
      this.parameters = payloadOf(message.subarray(1)).parameters
      this.cipher = CIPHER_NONE
      return
    }
    const suite = SUITES.get(this.suite)
    const ciphers = message[1] ?? 0
    if (suite === undefined || (ciphers & CIPHER_BIT_CHACHA) === 0) {
      throw new HandshakeFailure(CODE_SECURITY, 'no common suite')
    }
    const headSize = suite.hasTicket ? 3 + (message[2] ?? 0) : 2
    if (suite.hasTicket) this.ticket = message.slice(3, headSize)
    const ticketKey = this.ticket && demands.ticketKey?.(this.ticket)
    if (suite.hasTicket && ticketKey === undefined) {
      throw new HandshakeFailure(CODE_SECURITY, 'the ticket is not known')
    }
    const hasAes = setup.hasAes && (ciphers & CIPHER_BIT_AES) !== 0
    this.cipher = hasAes ? CIPHER_AES : CIPHER_CHACHA
    this.isIK = suite.pattern === 'IK'
    this.noise = new NoiseHandshake({
      pattern: suite.pattern,
      isInitiator: false,
      prologue: prologue(message.subarray(0, headSize), ids),
      staticKey: setup.nodeKey.staticKey,
      random: setup.random,
      ...(ticketKey === undefined ? {} : { psks: { [PSK_PLACE]: ticketKey } }),
    })
    const { parameters, strings } = read(this.noise, message.subarray(headSize))
    this.parameters = parameters
    if (this.isIK) {
      this.remote = remoteOf(this.noise, strings, this.setup.seconds)
      this.resetToken = strings.resetToken
    }
  }

  /** Parameters of the initiator. */
  get peerParameters(): TransportParameters {
    return this.parameters
  }

  /** Whether a third message has to come before it is known who the initiator is. */
  get hasThird(): boolean {
    return this.noise !== undefined && !this.isIK
  }

  /** The answer, for a packet that names `connectionId` as its sender. */
  answer(connectionId: Uint8Array): Uint8Array {
    const { parameters, resetToken, nodeKey } = this.setup
    if (this.noise === undefined) return joined([this.suite], encodePayload(parameters))
    const payload = encodePayload(parameters, {
      resetToken,
      record: nodeKey.publicRecord(),
      cipher: Uint8Array.of(this.cipher),
      connectionId,
    })
    return joined([this.suite], this.noise.writeMessage(payload))
  }

  /**
   * The initiator's third message.
   * @throws HandshakeFailure
   */
  third(message: Uint8Array): void {
    if (this.noise === undefined || message[0] !== this.suite) {
      throw new HandshakeFailure(CODE_HANDSHAKE, 'not a third message')
    }
    const { strings } = read(this.noise, message.subarray(1))
    this.remote = remoteOf(this.noise, strings, this.setup.seconds)
    this.resetToken = strings.resetToken
  }

  /** What the handshake gives, after `answer` and, if there is one, `third`. */
  result(isAuthorized: boolean): HandshakeResult {
    return {
      parameters: this.parameters,
      cipher: this.cipher,
      links: this.noise === undefined ? new Uint8Array(0) : linksOf(this.noise),
      resetToken: this.resetToken,
      info: infoOf(this.suite, this.cipher, this.remote, isAuthorized),
    }
  }
}
