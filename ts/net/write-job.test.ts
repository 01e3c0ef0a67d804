import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { WriteEntries } from './internals.ts'
import type { Line } from './line.ts'
import { WriteJob } from './write-job.ts'

/** Accepts a given number of bytes per call, and keeps what it accepted. */
class Sink {
  readonly accepted: Buffer[] = []
  callCount = 0
  room: number

  constructor(room: number) {
    this.room = room
  }

  write(chunk: Uint8Array): number {
    this.callCount += 1
    const size = Math.min(this.room, chunk.length)
    this.room -= size
    this.accepted.push(Buffer.from(chunk.subarray(0, size)))
    return size
  }

  get line(): Line {
    return this as unknown as Line
  }

  get text(): string {
    return Buffer.concat(this.accepted).toString('latin1')
  }
}

function entries(...chunks: (Uint8Array | string)[]): WriteEntries {
  return chunks.map((chunk) => ({ chunk, encoding: 'utf8' as const }))
}

test('one buffer is written as it is', () => {
  const sink = new Sink(Number.POSITIVE_INFINITY)
  const job = WriteJob.ofChunk(Buffer.from('hello'), 'utf8')
  assert.is(job.sizeBytes, 5)
  assert.ok(job.flush(sink.line))
  assert.equal([sink.text, sink.callCount], ['hello', 1])
})

test('small pieces are gathered into one write', () => {
  const sink = new Sink(Number.POSITIVE_INFINITY)
  const job = WriteJob.ofEntries(entries('GET / ', Buffer.from('HTTP'), '/1.1\r\n', 'x'))
  assert.ok(job.flush(sink.line))
  assert.equal([sink.text, sink.callCount, job.sizeBytes], ['GET / HTTP/1.1\r\nx', 1, 17])
})

test('big and small pieces keep their order', () => {
  const sink = new Sink(Number.POSITIVE_INFINITY)
  const big = Buffer.alloc(200_000, 'b')
  const job = WriteJob.ofEntries(entries('a', big, 'c', big, 'd'))
  assert.ok(job.flush(sink.line))
  assert.is(job.sizeBytes, 400_003)
  assert.is(sink.text, `a${big}c${big}d`)
})

for (const room of [1, 2, 7, 1_000, 65_535, 65_536, 65_537]) {
  test(`goes on where it stopped when ${room} bytes are accepted at a time`, () => {
    const pieces = [Buffer.alloc(3, 'x'), 'yy', Buffer.alloc(70_000, 'z'), '', 'w', Buffer.alloc(0)]
    const expected = pieces.map((piece) => piece.toString()).join('')
    const sink = new Sink(0)
    const job = WriteJob.ofEntries(entries(...pieces))
    let rounds = 0
    for (; ; rounds += 1) {
      sink.room = room
      if (job.flush(sink.line)) break
      // What was gathered belongs to the job, not to the next one.
      WriteJob.ofEntries(entries('other', 'socket')).flush(new Sink(99).line)
    }
    assert.is(sink.text, expected)
    assert.ok(rounds <= Math.ceil(expected.length / room))
  })
}

test('encodings that need decoding are counted in bytes', () => {
  const sink = new Sink(Number.POSITIVE_INFINITY)
  const list = [
    { chunk: 'cafe', encoding: 'hex' },
    { chunk: 'YWJj', encoding: 'base64' },
    { chunk: '\u20ac', encoding: 'utf16le' },
    { chunk: '\u00e4', encoding: 'latin1' },
    { chunk: 'x', encoding: 'UTF8' },
  ] as unknown as WriteEntries
  const job = WriteJob.ofEntries(list)
  assert.is(job.sizeBytes, 2 + 3 + 2 + 1 + 1)
  assert.ok(job.flush(sink.line))
  assert.is(Buffer.concat(sink.accepted).toString('hex'), 'cafe616263ac20e478')
})

test.run()
