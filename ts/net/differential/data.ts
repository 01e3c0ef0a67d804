/** Bytes: order, encodings, back-pressure, half-close, reading styles, counters. */
import type net from 'node:net'
import { pipeline } from 'node:stream/promises'
import { collect, next, pattern, scenario, turns, until } from './harness.ts'

const echo = (socket: net.Socket): void => {
  socket.pipe(socket)
}

export const dataScenarios = [
  scenario('an echo of many sizes', async (w) => {
    const server = await w.serve(echo, { allowHalfOpen: true })
    for (const size of [0, 1, 2, 1_399, 16_384, 65_535, 65_536, 65_537, 1_000_000]) {
      const client = w.dial(server)
      const sent = pattern(size)
      client.end(sent)
      const received = await collect(client)
      w.note('c', size, received.length, received.equals(sent))
      await next(client, 'close')
      w.note('c', client.bytesRead, client.bytesWritten)
    }
  }),

  scenario('many small writes arrive in order, each with its callback', async (w) => {
    const server = await w.serve(echo, { allowHalfOpen: true })
    const client = w.dial(server)
    let called = 0
    for (let index = 0; index < 500; index += 1) {
      client.write(`${index} `, () => {
        if (called !== index) w.note('c', 'out of order', index, called)
        called += 1
      })
    }
    client.end(() => w.note('c', 'end', called))
    const text = (await collect(client)).toString()
    w.note('c', text.length, text.split(' ').length, text.endsWith('498 499 '))
    await next(client, 'close')
  }),

  scenario('encodings of writes', async (w) => {
    const server = await w.serve(echo, { allowHalfOpen: true })
    const client = w.dial(server)
    const texts: [string, BufferEncoding | undefined][] = [
      ['plain', undefined],
      ['\u00e4\u20ac\u{1f600}', 'utf8'],
      ['\u00e4\u00ff', 'latin1'],
      ['\u00e4\u00ff', 'binary'],
      ['abc\u00e4', 'ascii'],
      ['\u20acx', 'utf16le'],
      ['\u20acy', 'ucs2'],
      ['cafe00', 'hex'],
      ['YWJj', 'base64'],
      ['YWJj_-', 'base64url'],
      ['Upper', 'UTF8' as BufferEncoding],
    ]
    for (const [text, encoding] of texts) client.write(text, encoding)
    client.write(new Uint8Array([1, 2, 3]))
    client.end()
    const received = await collect(client)
    w.note('c', received.toString('hex'), client.bytesWritten)
    await next(client, 'close')
  }),

  scenario('the same encodings, corked', async (w) => {
    const server = await w.serve(echo, { allowHalfOpen: true })
    const client = w.dial(server)
    await next(client, 'connect')
    client.cork()
    client.write('\u00e4\u20ac', 'utf8', () => w.note('c', 'first'))
    client.write('cafe', 'hex')
    client.write(Buffer.from('buffer'))
    client.write('\u00e4', 'latin1', () => w.note('c', 'last'))
    w.note('c', client.bytesWritten, client.writableLength, client.writableCorked)
    client.uncork()
    w.note('c', client.bytesWritten, client.writableLength, client.writableCorked)
    client.end()
    w.note('c', (await collect(client)).toString('hex'))
    await next(client, 'close')
  }),

  scenario('write refuses what is not bytes', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    for (const value of [null, undefined, 1, true, {}, [], () => {}, Symbol('s')]) {
      w.try('c', typeof value, () => client.write(value as never))
    }
    w.try('c', 'encoding', () => client.write('x', 'no-such-encoding' as never))
    await next(client, 'ready')
    w.note('c', client.destroyed)
  }),

  scenario('setEncoding splits no character', async (w) => {
    const text = '\u20ac\u{1f600}'.repeat(40_000)
    const server = await w.serve((socket) => socket.end(text))
    const client = w.dial(server).setEncoding('utf8')
    let received = ''
    client.on('data', (part: unknown) => {
      if (typeof part !== 'string') w.note('c', 'not a string')
      received += String(part)
    })
    await next(client, 'close')
    w.note('c', received === text, client.bytesRead, client.readableEncoding)
  }),

  scenario('a writer is held back while nobody reads, and goes on', async (w) => {
    let accepted: net.Socket | undefined
    const server = await w.serve((socket) => {
      accepted = socket.pause()
    })
    const client = w.dial(server)
    await next(client, 'connect')
    const chunk = pattern(1 << 20)
    let written = 0
    let isDrained = false
    while (client.write(chunk) || written < 40) written += 1
    client.once('drain', () => {
      isDrained = true
    })
    await turns(50)
    w.note('c', isDrained, client.writableNeedDrain, client.writableLength > 0)
    w.note('c', client.bytesWritten === (written + 1) * chunk.length)
    let received = 0
    accepted?.on('data', (data) => {
      received += data.length
    })
    client.end()
    accepted?.resume()
    client.resume()
    await next(client, 'close')
    w.note('s', received === client.bytesWritten)
    w.note('c', isDrained, client.writableLength)
  }),

  scenario('pause stops data, resume brings it', async (w) => {
    const server = await w.serve((socket) => socket.end(pattern(300_000)))
    const client = w.dial(server)
    let received = 0
    client.once('data', (data) => {
      received += data.length
      w.note('c', client.pause() === client, client.isPaused())
    })
    await until(() => received > 0)
    await turns(50)
    const before = received
    client.on('data', (data) => {
      received += data.length
    })
    w.note('c', received === before, client.isPaused(), client.readableFlowing)
    w.note('c', client.resume() === client, client.isPaused())
    await next(client, 'close')
    w.note('c', received)
  }),

  scenario('read and readable', async (w) => {
    const server = await w.serve((socket) => socket.end(pattern(100_000)))
    const client = w.dial(server)
    const parts: Buffer[] = []
    client.on('readable', () => {
      for (;;) {
        const part: Buffer | null = client.read(1_000)
        if (part === null) break
        if (part.length !== 1_000 && !client.readableEnded) {
          if (client.readableLength > 0) w.note('c', 'short', part.length)
        }
        parts.push(part)
      }
    })
    await next(client, 'close')
    w.note('c', Buffer.concat(parts).equals(pattern(100_000)), client.bytesRead)
  }),

  scenario('asynchronous iteration', async (w) => {
    const server = await w.serve((socket) => socket.end(pattern(200_000)))
    const client = w.dial(server)
    let received = 0
    for await (const chunk of client) received += (chunk as Buffer).length
    w.note('c', received, client.destroyed, client.readableEnded)
    await until(() => client.closed)
  }),

  scenario('pipeline through a socket', async (w) => {
    const server = await w.serve(echo, { allowHalfOpen: true })
    const client = w.dial(server)
    const source = async function* (): AsyncGenerator<Buffer> {
      for (let index = 0; index < 20; index += 1) yield pattern(50_000)
    }
    let received = 0
    const sink = async (readable: AsyncIterable<Buffer>): Promise<void> => {
      for await (const chunk of readable) received += chunk.length
    }
    await pipeline(source, client, sink)
    w.note('c', received)
    await until(() => client.closed)
  }),

  scenario('onread with one buffer', async (w) => {
    const server = await w.serve((socket) => socket.end('hello world'))
    const buffer = Buffer.alloc(8)
    const parts: string[] = []
    const client = w.dial(server, {
      onread: {
        buffer,
        callback(this: net.Socket, size: number, given: Buffer) {
          w.note('c', size <= 8, given === buffer, this === client)
          parts.push(given.toString('latin1', 0, size))
        },
      },
    })
    client.on('data', () => w.note('c', 'never'))
    await next(client, 'close')
    w.note('c', parts.join(''), client.bytesRead)
  }),

  scenario('onread with buffers of its own making', async (w) => {
    const server = await w.serve((socket) => socket.end('hello world'))
    let made = 0
    let text = ''
    const client = w.dial(server, {
      onread: {
        buffer: () => {
          made += 1
          return new Uint8Array(2)
        },
        callback: (size: number, given: Uint8Array) => {
          text += Buffer.from(given.subarray(0, size)).toString()
          return true
        },
      },
    })
    await next(client, 'close')
    w.note('c', made, text)
  }),

  scenario('onread that asks for a break', async (w) => {
    const server = await w.serve((socket) => socket.end('hello world'))
    let isBreak = false
    let text = ''
    const client = w.dial(server, {
      onread: {
        buffer: Buffer.alloc(4),
        callback(this: net.Socket, size: number, given: Buffer) {
          if (isBreak) w.note('c', 'read in the break')
          isBreak = true
          text += given.toString('latin1', 0, size)
          setImmediate(() => {
            isBreak = false
            this.resume()
          })
          return false
        },
      },
    })
    await next(client, 'close')
    w.note('c', text, client.bytesRead)
  }),

  scenario('onread and pause', async (w) => {
    const server = await w.serve((socket) => socket.end('hello world'))
    let text = ''
    const client = w.dial(server, {
      onread: {
        buffer: Buffer.alloc(4),
        callback(this: net.Socket, size: number, given: Buffer) {
          text += given.toString('latin1', 0, size)
          this.pause()
          setImmediate(() => this.resume())
        },
      },
    })
    await next(client, 'close')
    w.note('c', text)
  }),

  scenario('half-close: the server answers after the end', async (w) => {
    const onSocket = (socket: net.Socket): void => {
      socket.resume()
      socket.on('end', () => {
        w.note('s', 'writable', socket.writable, socket.readyState, socket.allowHalfOpen)
        setImmediate(() => socket.end('answer', () => w.note('s', 'ended')))
      })
    }
    const server = await w.serve(onSocket, { allowHalfOpen: true })
    const client = w.dial(server)
    client.end('question')
    w.note('c', (await collect(client)).toString())
    await next(client, 'close')
  }),

  scenario('half-close: the client answers after the end', async (w) => {
    const server = await w.serve((socket) => {
      let received = ''
      socket.on('data', (data) => {
        received += String(data)
      })
      socket.on('end', () => w.note('s', received))
      socket.end('question')
    })
    const client = w.dial(server, { allowHalfOpen: true })
    client.resume()
    await next(client, 'end')
    w.note('c', client.readyState, client.writable, client.allowHalfOpen)
    client.end('answer')
    await next(client, 'close')
  }),

  scenario('without half-open the socket ends itself', async (w) => {
    const server = await w.serve((socket) => socket.end('bye'))
    const client = w.dial(server)
    client.on('end', () => w.note('c', 'in end', client.writable, client.writableEnded))
    client.resume()
    await next(client, 'close')
    w.note('c', client.writableEnded, client.writableFinished)
  }),

  scenario('writing in the tick of end is possible, after it is EPIPE', async (w) => {
    const server = await w.serve((socket) => {
      socket.resume()
      socket.end('bye')
    })
    const client = w.dial(server)
    client.on('end', () => {
      w.note(
        'c',
        client.write('last', (error) => w.note('c', 'last', error)),
      )
      process.nextTick(() => {
        setImmediate(() => {
          w.note(
            'c',
            client.write('late', (error) => w.note('c', 'late', error)),
          )
        })
      })
    })
    client.resume()
    await next(client, 'close')
    await turns()
  }),

  scenario('write after end', async (w) => {
    const server = await w.serve(echo, { allowHalfOpen: true })
    const client = w.dial(server)
    client.resume()
    await next(client, 'connect')
    client.end('x')
    w.note(
      'c',
      client.write('y', (error) => w.note('c', 'callback', error)),
    )
    await next(client, 'close')
  }),

  scenario('end twice and end with callbacks', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = w.dial(server)
    client.resume()
    w.note('c', client.end('a', () => w.note('c', 'first')) === client)
    client.end(() => w.note('c', 'second'))
    client.end('b', 'utf8', w.callback('c', 'third'))
    await next(client, 'close')
    client.end(w.callback('c', 'fourth'))
    await turns()
  }),

  // So many bytes fit into any window: which of 'finish' and 'end' is first is no race.
  scenario('end and bytes at once in both directions', async (w) => {
    const server = await w.serve((socket) => {
      let size = 0
      socket.on('data', (data) => {
        size += data.length
      })
      socket.on('end', () => w.note('s', size))
      socket.end(pattern(50_000))
    })
    const client = w.dial(server)
    client.end(pattern(40_000))
    w.note('c', (await collect(client)).equals(pattern(50_000)))
    await next(client, 'close')
    w.note('c', client.bytesRead, client.bytesWritten)
  }),

  scenario('received chunks are private', async (w) => {
    const server = await w.serve((socket) => {
      socket.write('a'.repeat(100), () => setImmediate(() => socket.end('b'.repeat(100))))
    })
    const client = w.dial(server)
    const chunks: Buffer[] = []
    client.on('data', (chunk) => chunks.push(chunk))
    await next(client, 'close')
    w.note('c', Buffer.concat(chunks).toString() === 'a'.repeat(100) + 'b'.repeat(100))
  }),

  scenario('a writer may change its buffer after the callback', async (w) => {
    const server = await w.serve(echo, { allowHalfOpen: true })
    const client = w.dial(server)
    const bytes = Buffer.alloc(3, 'x')
    client.write(bytes, () => {
      bytes.fill('y')
      client.end(bytes)
    })
    w.note('c', (await collect(client)).toString())
    await next(client, 'close')
  }),

  scenario('bytesWritten counts what waits', async (w) => {
    const server = await w.serve((socket) => socket.resume())
    const client = new w.net.Socket()
    w.watch('c', client)
    const port = (server.address() as net.AddressInfo).port
    client.connect(port, '127.0.0.1')
    client.write('\u20ac')
    client.write('\u20ac', 'utf16le')
    client.write(Buffer.alloc(10))
    w.note('c', client.bytesWritten, client.writableLength, client.bufferSize)
    await next(client, 'connect')
    await turns()
    w.note('c', client.bytesWritten, client.writableLength, client.bufferSize)
    client.resume().end()
    await next(client, 'close')
    w.note('c', client.bytesWritten, client.bufferSize)
  }),
]
