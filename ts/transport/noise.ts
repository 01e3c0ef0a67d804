/**
 * Noise handshakes (revision 34) of the suite 25519_ChaChaPoly_SHA256: `IK` when the initiator
 * knows the responder's static key, `XX` when it does not, both with pre-shared keys if wanted.
 *
 * Names in here are those of the specification, noiseprotocol.org/noise.html, section 5.
 */
import { createCipheriv, createDecipheriv, hkdfSync, hash as oneShotHash } from 'node:crypto'
import { TransportError } from '../errors.ts'
import type { KeyPair, Random } from '../machine.ts'
import { X25519_KEY_SIZE, x25519, x25519KeyPair } from './key-agreement.ts'

const HASH_SIZE = 32
const KEY_SIZE = 32
const TAG_SIZE = 16
/** §3: the longest message. */
export const NOISE_MESSAGE_SIZE_MAX = 65_535

type Token = 'e' | 's' | 'ee' | 'es' | 'se' | 'ss' | 'psk'

export type NoisePattern = 'XX' | 'IK'

/** §7.5: the messages of each pattern in turn, the initiator's first. */
const MESSAGES: Readonly<Record<NoisePattern, readonly (readonly Token[])[]>> = {
  XX: [['e'], ['e', 'ee', 's', 'es'], ['s', 'se']],
  IK: [
    ['e', 'es', 's', 'ss'],
    ['e', 'ee', 'se'],
  ],
}

export interface NoiseOptions {
  readonly pattern: NoisePattern
  readonly isInitiator: boolean
  /** What both sides must agree on beforehand: protocol version, ciphers on offer. */
  readonly prologue: Uint8Array
  readonly staticKey: KeyPair
  /** The responder's static key: for the initiator of `IK`, and only there. */
  readonly remoteStatic?: Uint8Array
  /**
   * Pre-shared keys of 32 bytes by place (§9.4): 0 is the begin of the first message, n the end of
   * the n-th. A ticket goes to place 2, which makes the patterns `XXpsk2` and `IKpsk2`.
   */
  readonly psks?: Readonly<Record<number, Uint8Array>>
  /** Gives the ephemeral key. Must be unpredictable outside tests and simulations. */
  readonly random: Random
}

/** The keys after a handshake: one for each direction. */
export interface NoiseKeys {
  readonly send: Uint8Array
  readonly receive: Uint8Array
}

/**
 * One side of one handshake. Messages alternate, the initiator writes the first.
 *
 * `writeMessage` and `readMessage` throw a TransportError with ERR_PUNCHLINE_HANDSHAKE when keys or
 * the peer's bytes do not fit; the handshake is over then, and says so to every further call.
 */
export class NoiseHandshake {
  private readonly isInitiator: boolean
  private readonly messages: readonly (readonly Token[])[]
  private readonly pskQueue: readonly Uint8Array[]
  private readonly random: Random
  private readonly symmetric: SymmetricState
  private readonly staticKey: KeyPair
  private ephemeral: KeyPair | undefined
  private remoteEphemeral: Uint8Array | undefined
  private remoteStaticKey: Uint8Array | undefined
  private messageIndex = 0
  private pskIndex = 0
  private hasFailed = false
  private hasSplit = false

  constructor(options: NoiseOptions) {
    const { pattern, isInitiator, prologue, staticKey, remoteStatic, psks = {}, random } = options
    const places = Object.keys(psks).map(Number).sort()
    this.isInitiator = isInitiator
    this.messages = withPsks(MESSAGES[pattern], places)
    this.pskQueue = places.map((place) => checkKey(psks[place], `psk ${place}`))
    this.random = random
    this.staticKey = staticKey
    const modifiers = places.map((place) => `psk${place}`).join('+')
    this.symmetric = new SymmetricState(`Noise_${pattern}${modifiers}_25519_ChaChaPoly_SHA256`)
    this.symmetric.mixHash(prologue)
    const isKnown = pattern === 'IK'
    if ((remoteStatic !== undefined) !== (isKnown && isInitiator)) {
      throw new TypeError(`remoteStatic is for the initiator of IK, and must be given there`)
    }
    if (isKnown) {
      if (isInitiator) this.remoteStaticKey = checkKey(remoteStatic, 'remoteStatic')
      this.symmetric.mixHash(this.remoteStaticKey ?? staticKey.publicKey)
    }
  }

  /** Whether all messages are through; the keys are there then. */
  get isComplete(): boolean {
    return !this.hasFailed && this.messageIndex === this.messages.length
  }

  /** Whether the next message is ours to write. */
  get isOurTurn(): boolean {
    return !this.isComplete && (this.messageIndex % 2 === 0) === this.isInitiator
  }

  /** The peer's static key, once it is known. It is proven when the handshake is complete. */
  get remoteStatic(): Uint8Array | undefined {
    return this.remoteStaticKey
  }

  /** §11.2: a value both sides share and no other handshake has. Only when complete. */
  get handshakeHash(): Uint8Array {
    this.assertComplete()
    return Uint8Array.from(this.symmetric.h)
  }

  /**
   * Writes the next message around a payload. How well the payload is protected grows with every
   * message (§7.7): the first of `XX` is readable by all, the first of `IK` may be a replay.
   */
  writeMessage(payload: Uint8Array): Uint8Array {
    const tokens = this.begin(true)
    return this.attempt(() => {
      const parts: Uint8Array[] = []
      for (const token of tokens) {
        if (token === 'e') {
          this.ephemeral = this.drawEphemeral()
          parts.push(this.ephemeral.publicKey)
          this.mixEphemeral(this.ephemeral.publicKey)
        } else if (token === 's') {
          parts.push(this.symmetric.encryptAndHash(this.staticKey.publicKey))
        } else {
          this.mixSecret(token)
        }
      }
      parts.push(this.symmetric.encryptAndHash(payload))
      const message = Buffer.concat(parts)
      if (message.length > NOISE_MESSAGE_SIZE_MAX) throw new RangeError('payload too long')
      this.messageIndex += 1
      return new Uint8Array(message)
    })
  }

  /** Reads the peer's next message and gives its payload. */
  readMessage(message: Uint8Array): Uint8Array {
    const tokens = this.begin(false)
    return this.attempt(() => {
      if (message.length > NOISE_MESSAGE_SIZE_MAX) throw new RangeError('message too long')
      let at = 0
      const take = (size: number) => {
        if (at + size > message.length) throw new RangeError('message too short')
        at += size
        return message.subarray(at - size, at)
      }
      for (const token of tokens) {
        if (token === 'e') {
          this.remoteEphemeral = Uint8Array.from(take(X25519_KEY_SIZE))
          this.mixEphemeral(this.remoteEphemeral)
        } else if (token === 's') {
          const size = X25519_KEY_SIZE + this.symmetric.overhead
          this.remoteStaticKey = new Uint8Array(this.symmetric.decryptAndHash(take(size)))
        } else {
          this.mixSecret(token)
        }
      }
      const payload = this.symmetric.decryptAndHash(message.subarray(at))
      this.messageIndex += 1
      return new Uint8Array(payload)
    })
  }

  /** Gives the keys of both directions and wipes the handshake's own secrets: works once. */
  split(): NoiseKeys {
    this.assertComplete()
    if (this.hasSplit) throw new TypeError('the keys were given out before')
    this.hasSplit = true
    const [first, second] = this.symmetric.split()
    this.wipe()
    return this.isInitiator ? { send: first, receive: second } : { send: second, receive: first }
  }

  /** Forgets all secrets of a handshake that is not to be completed. */
  destroy(): void {
    this.hasFailed = true
    this.wipe()
  }

  private wipe(): void {
    this.ephemeral = undefined
    for (const psk of this.pskQueue) psk.fill(0)
    this.symmetric.wipe()
  }

  private begin(isWriting: boolean): readonly Token[] {
    if (this.hasFailed) throw failure('the handshake has failed before')
    const tokens = this.messages[this.messageIndex]
    if (tokens === undefined || this.isOurTurn !== isWriting) {
      throw new TypeError(`no message to ${isWriting ? 'write' : 'read'} now`)
    }
    return tokens
  }

  /** Ends the handshake when a step fails. The cause never holds secrets: OpenSSL names none. */
  private attempt<Result>(step: () => Result): Result {
    try {
      return step()
    } catch (cause) {
      this.destroy()
      throw failure('the handshake failed: keys or messages do not fit', cause)
    }
  }

  private assertComplete(): void {
    if (!this.isComplete) throw new TypeError('the handshake is not complete')
  }

  private drawEphemeral(): KeyPair {
    const drawn = this.random.x25519KeyPair?.()
    if (drawn) return drawn
    const bytes = new Uint8Array(X25519_KEY_SIZE)
    this.random.fill(bytes)
    const pair = x25519KeyPair(bytes)
    bytes.fill(0)
    return pair
  }

  private mixEphemeral(publicKey: Uint8Array): void {
    this.symmetric.mixHash(publicKey)
    // §9.2: with pre-shared keys, ephemeral keys also make the encryption keys unique.
    if (this.pskQueue.length > 0) this.symmetric.mixKey(publicKey)
  }

  /** Mixes in what both sides know: a pre-shared key, or the secret of two keys. */
  private mixSecret(token: Exclude<Token, 'e' | 's'>): void {
    if (token === 'psk') {
      this.symmetric.mixKeyAndHash(this.pskQueue[this.pskIndex++] as Uint8Array)
      return
    }
    // The first letter is the initiator's key, the second the responder's.
    const [initiators, responders] = token
    const own = this.isInitiator ? initiators : responders
    const other = this.isInitiator ? responders : initiators
    const ownKey = own === 'e' ? this.ephemeral : this.staticKey
    const otherKey = other === 'e' ? this.remoteEphemeral : this.remoteStaticKey
    if (!ownKey || !otherKey) throw new TypeError(`no keys for ${token} yet`)
    const secret = x25519(ownKey.privateKey, otherKey)
    this.symmetric.mixKey(secret)
    secret.fill(0)
  }
}

function failure(message: string, cause?: unknown): TransportError {
  return new TransportError('ERR_PUNCHLINE_HANDSHAKE', message, { cause })
}

function checkKey(key: Uint8Array | undefined, name: string): Uint8Array {
  if (key?.length !== KEY_SIZE) throw new TypeError(`${name} must be ${KEY_SIZE} bytes`)
  return Uint8Array.from(key)
}

/** §9.4: puts the `psk` tokens at their places. */
function withPsks(messages: readonly (readonly Token[])[], places: readonly number[]) {
  const result = messages.map((tokens) => [...tokens])
  for (const place of places) {
    if (place === 0) result[0]?.unshift('psk')
    else if (result[place - 1] === undefined) throw new TypeError(`no place for psk ${place}`)
    else result[place - 1]?.push('psk')
  }
  return result
}

/** §5.1 and §5.2: CipherState and SymmetricState in one; nothing else has a cipher here. */
class SymmetricState {
  h: Buffer
  private ck: Buffer
  private k: Buffer | undefined
  private n = 0

  constructor(protocolName: string) {
    const name = Buffer.from(protocolName)
    this.h = name.length <= HASH_SIZE ? Buffer.concat([name], HASH_SIZE) : hash(name)
    this.ck = Buffer.from(this.h)
  }

  /** What encrypting adds now: nothing before the first key. */
  get overhead(): number {
    return this.k ? TAG_SIZE : 0
  }

  mixHash(data: Uint8Array): void {
    this.h = hash(this.h, data)
  }

  mixKey(material: Uint8Array): void {
    const [ck, k] = this.derive(material, 2)
    this.ck = ck as Buffer
    this.setKey(k as Buffer)
  }

  mixKeyAndHash(material: Uint8Array): void {
    const [ck, h, k] = this.derive(material, 3)
    this.ck = ck as Buffer
    this.mixHash(h as Buffer)
    this.setKey(k as Buffer)
  }

  encryptAndHash(plaintext: Uint8Array): Buffer {
    const ciphertext = this.encrypt(plaintext)
    this.mixHash(ciphertext)
    return ciphertext
  }

  decryptAndHash(ciphertext: Uint8Array): Buffer {
    const plaintext = this.decrypt(ciphertext)
    this.mixHash(ciphertext)
    return plaintext
  }

  /** The transport keys: of what the initiator sends, and of what it receives. */
  split(): [Uint8Array, Uint8Array] {
    const outputs = this.derive(new Uint8Array(0), 2)
    const [first, second] = outputs.map((output) => Uint8Array.from(output))
    for (const output of outputs) output.fill(0)
    return [first as Uint8Array, second as Uint8Array]
  }

  wipe(): void {
    this.ck.fill(0)
    this.k?.fill(0)
    this.k = undefined
  }

  private setKey(key: Buffer): void {
    this.k?.fill(0)
    this.k = key
    this.n = 0
  }

  private encrypt(plaintext: Uint8Array): Buffer {
    if (!this.k) return Buffer.from(plaintext)
    const options = { authTagLength: TAG_SIZE }
    const cipher = createCipheriv('chacha20-poly1305', this.k, this.nextNonce(), options)
    cipher.setAAD(this.h, { plaintextLength: plaintext.length })
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  }

  private decrypt(ciphertext: Uint8Array): Buffer {
    if (!this.k) return Buffer.from(ciphertext)
    const size = ciphertext.length - TAG_SIZE
    if (size < 0) throw new RangeError('message too short')
    const options = { authTagLength: TAG_SIZE }
    const decipher = createDecipheriv('chacha20-poly1305', this.k, this.nextNonce(), options)
    decipher.setAAD(this.h, { plaintextLength: size })
    decipher.setAuthTag(ciphertext.subarray(size))
    return Buffer.concat([decipher.update(ciphertext.subarray(0, size)), decipher.final()])
  }

  /** §12.3: 32 bits of zeros, then the counter; it stays below the number of tokens. */
  private nextNonce(): Buffer {
    const nonce = Buffer.alloc(12)
    nonce.writeUInt32LE(this.n, 4)
    this.n += 1
    return nonce
  }

  /** §4.3: HKDF as RFC 5869 has it, the chaining key as salt. */
  private derive(material: Uint8Array, count: number): Buffer[] {
    const bytes = Buffer.from(hkdfSync('sha256', material, this.ck, '', count * HASH_SIZE))
    this.ck.fill(0)
    return Array.from({ length: count }, (_, index) =>
      bytes.subarray(index * HASH_SIZE, (index + 1) * HASH_SIZE),
    )
  }
}

/** In one call: what `createHash` makes lies outside of V8's heap until that is collected. */
function hash(...parts: readonly Uint8Array[]): Buffer {
  return oneShotHash('sha256', Buffer.concat(parts), 'buffer')
}
