/** docs/protocol.md is what the code does: what is made from the schema, and every vector. */
import { createCipheriv } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { wireFiles } from '../../bindings/build/wire.mjs'
import { CIPHER_CHACHA, Core, SHORT_SIZE } from '../../bindings/core.ts'
import { crc32cReference } from '../dev/crc32c-reference.ts'
import type { Random } from '../machine.ts'
import { Endpoint, type Stream } from './index.ts'

const root = new URL('../../', import.meta.url)
const specification = readFileSync(new URL('docs/protocol.md', root), 'utf8')

/** Lines of a block of vectors: name, then hexadecimal bytes; `(00 × n)` stands for n zeros. */
function vectors(name: string): string[] {
  const block = new RegExp(`<!-- vectors: ${name} -->\\n\\n\`\`\`\\n([\\s\\S]*?)\`\`\``).exec(
    specification,
  )
  return (block?.[1] ?? '').trim().split('\n')
}

test('the files made from assembly/wire.json are up to date', () => {
  for (const [path, text] of Object.entries(wireFiles())) {
    const remedy = `${path}: node bindings/build/wire.mjs`
    assert.is(readFileSync(new URL(path, root), 'utf8') === text, true, remedy)
  }
})

test('no type, code or parameter has two meanings, and fields follow each other', () => {
  const schema = JSON.parse(readFileSync(new URL('assembly/wire.json', root), 'utf8'))
  for (const list of ['packets', 'frames', 'codes', 'parameters']) {
    const values = schema[list].map(([value]: [unknown]) => String(value))
    assert.is(new Set(values).size, values.length, list)
  }
  const sizes = schema.headers.map(({ fields }: { fields: { bytes: number }[] }) =>
    fields.reduce((sum, { bytes }) => sum + bytes, 0),
  )
  assert.equal(sizes, [24, SHORT_SIZE])
})

// ── A connection without protection, byte by byte ────────────────────────────────────────────────

/** Draws 00, 01, 02 … from `first` on: every identifier of the vectors is recognised. */
class Counting implements Random {
  private next: number

  constructor(first: number) {
    this.next = first
  }

  u32(): number {
    return this.next
  }

  fill(bytes: Uint8Array): void {
    for (let index = 0; index < bytes.length; index++) bytes[index] = this.next++ & 0xff
  }
}

const HOP_MICROS = 10_000
const NOBODY = { readable: () => {}, writable: () => {}, failed: () => {} }

/** Two endpoints and everything that passes between them. */
class Exchange {
  readonly lines: string[] = []
  readonly packets: Buffer[] = []
  readonly initiator: Endpoint
  readonly responder: Endpoint
  readonly core = Core.create({ memoryBytes: 8 * 1024 * 1024 })
  private now = 1_000_000

  constructor() {
    const make = (first: number) =>
      new Endpoint({
        core: this.core,
        random: new Counting(first),
        now: this.now,
        options: { memoryBytes: 1024 * 1024 },
        security: { mode: 'none' },
      })
    this.initiator = make(0x00)
    this.responder = make(0x80)
    this.responder.setListening(true)
  }

  connect() {
    const to = { socketIndex: 0, address: '192.0.2.2', port: 4433 }
    const connection = this.initiator.connect(this.now, to, {})
    assert.ok(connection)
    return connection
  }

  /** Passes on what either side has to send, in turns, until both are silent. */
  run(): void {
    for (let idle = 0; idle < 2; ) {
      idle = this.pass(this.initiator, this.responder, '192.0.2.1', 'initiator') ? 0 : idle + 1
      idle = this.pass(this.responder, this.initiator, '192.0.2.2', 'responder') ? 0 : idle + 1
    }
  }

  /** Lets an acknowledgement's time come. */
  wait(): void {
    this.now += 1_000_000
    for (const endpoint of [this.initiator, this.responder]) endpoint.timeout(this.now)
    this.run()
  }

  close(): void {
    this.initiator.destroy()
    this.responder.destroy()
  }

  private pass(from: Endpoint, to: Endpoint, address: string, name: string): boolean {
    const datagrams: Buffer[] = []
    while (from.flush(this.now) > 0) from.collect((_, bytes) => datagrams.push(Buffer.from(bytes)))
    if (datagrams.length === 0) return false
    this.now += HOP_MICROS
    for (const bytes of datagrams) {
      this.packets.push(bytes)
      this.lines.push(`${name}  ${spell(bytes)}`)
      to.deliver({ socketIndex: 0, address, port: 4433 }, bytes)
    }
    to.ingest(this.now, this.core.receivedCount)
    return true
  }
}

function spell(bytes: Buffer): string {
  return bytes.toString('hex').replace(/(?:00){32,}/g, (zeros) => `(00 × ${zeros.length / 2})`)
}

function serve(exchange: Exchange): string[] {
  const received: string[] = []
  exchange.responder.owner = {
    stream: (stream: Stream) => {
      const scratch = new Uint8Array(100)
      return {
        readable: () => {
          const size = stream.readInto(scratch)
          if (size > 0) received.push(Buffer.from(scratch.subarray(0, size)).toString())
          if (stream.ended) stream.finish()
        },
        writable: () => {},
        failed: () => {},
      }
    },
  }
  return received
}

test('a whole connection without protection is byte for byte as specified', () => {
  const exchange = new Exchange()
  const received = serve(exchange)
  const connection = exchange.connect()
  const stream = connection.openStream(4711, NOBODY)
  stream?.write(Buffer.from('hello'))
  stream?.finish()
  exchange.run()
  exchange.wait()
  connection.close()
  exchange.run()
  assert.equal(received, ['hello'])
  assert.equal(exchange.lines, vectors('exchange'))
  for (const packet of exchange.packets) {
    const end = packet.length - 4
    assert.is(packet.readUInt32LE(end), crc32cReference(packet.subarray(0, end)))
  }
  exchange.close()
})

// ── Keys and a sealed packet, by another implementation ──────────────────────────────────────────

const LINK = Buffer.from(Array.from({ length: 32 }, (_, index) => index))

/** The first 128 bytes of a link's keystream. */
function keystream(link: Buffer): Buffer {
  const counterAndNonce = Buffer.alloc(16, 0xff).fill(0, 0, 4)
  return createCipheriv('chacha20', link, counterAndNonce).update(Buffer.alloc(128))
}

test('keys come from links as specified, and packets are sealed with them', () => {
  const stream = keystream(LINK)
  const [key, vector, next] = [
    stream.subarray(0, 32),
    stream.subarray(32, 44),
    stream.subarray(64, 96),
  ]
  const exchange = new Exchange()
  const received = serve(exchange)
  const { core } = exchange
  // In place of what a handshake gives: the same link for both directions.
  const protect = (handle: number) => {
    core.setScratch(Buffer.concat([LINK, LINK]))
    assert.is(core.exports.connectionProtect(handle, 0, CIPHER_CHACHA), 1)
  }
  Object.assign(exchange.initiator, { protect })
  Object.assign(exchange.responder, { protect })
  const opened = exchange.connect().openStream(4711, NOBODY)
  opened?.write(Buffer.from('sealed'))
  exchange.run()
  // After INITIAL and HANDSHAKE.
  const packet = exchange.packets[2] as Buffer
  const header = packet.subarray(0, SHORT_SIZE)
  const nonce = Buffer.alloc(12)
  nonce.writeUInt32LE(header[1] as number, 0)
  nonce.writeUInt32LE(header.readUInt32LE(10), 4)
  for (const [index, byte] of vector.entries()) nonce[index] = (nonce[index] as number) ^ byte
  const frames = Buffer.concat([
    // OPEN stream 0, port 4711; STREAM 0, offset 0, 6 bytes.
    Buffer.from('18009d49', 'hex'),
    Buffer.from('0a000018', 'hex'),
    Buffer.from('sealed'),
  ])
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: 16 })
  cipher.setAAD(header, { plaintextLength: frames.length })
  const sealed = Buffer.concat([header, cipher.update(frames), cipher.final(), cipher.getAuthTag()])
  assert.is(packet.toString('hex'), sealed.toString('hex'))
  assert.equal(vectors('protection'), [
    `link           ${LINK.toString('hex')}`,
    `packet key     ${key.toString('hex')}`,
    `vector         ${vector.toString('hex')}`,
    `next link      ${next.toString('hex')}`,
    `frames         ${frames.toString('hex')}`,
    `sealed packet  ${sealed.toString('hex')}`,
  ])
  assert.equal(received, ['sealed'])
  exchange.close()
})

test('integers and the checksum are as the vectors in the text say', () => {
  const text = /^Vectors: (.*)$/m.exec(specification)?.[1] ?? ''
  const pairs = [...text.matchAll(/`([^`]+)` is `([^`]+)`/g)]
  assert.ok(pairs.length > 5)
  for (const [, name = '', hex = ''] of pairs) {
    const [, base, power = '1', less = '0'] = /^(\d+)(?:\^(\d+))?(?: − (\d+))?$/.exec(name) ?? []
    const value = BigInt(base ?? '') ** BigInt(power) - BigInt(less)
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex')
    const whole = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
    assert.is(1 << Number(whole & 3n), bytes.length, name)
    assert.is(whole >> 2n, value, name)
  }
  const [, checked = '', sum = ''] =
    /Check value: `"(\d+)"` gives `([0-9a-f]+)`/.exec(specification) ?? []
  assert.is(crc32cReference(Buffer.from(checked)).toString(16), sum)
})

test.run()
