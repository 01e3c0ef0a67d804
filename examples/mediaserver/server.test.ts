import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, symlinkSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  exchangeRaw,
  get,
  makeFolder,
  parseAnswer,
  readAll,
  startServer,
  within,
} from './testing.ts'

const folder = makeFolder()
const root = join(folder, 'root')
const content = randomBytes(100_000)
const modified = new Date('2024-02-29T12:34:56.789Z')
const modifiedText = 'Thu, 29 Feb 2024 12:34:56 GMT'
const uglyName = 'a&b <i>"50%"#?\'.txt'

mkdirSync(join(root, 'films', 'old'), { recursive: true })
writeFileSync(join(folder, 'secret.txt'), 'outside')
writeFileSync(join(root, 'film.mp4'), content)
utimesSync(join(root, 'film.mp4'), modified, modified)
writeFileSync(join(root, 'empty.bin'), '')
writeFileSync(join(root, 'large.bin'), '')
truncateSync(join(root, 'large.bin'), 64 * 1024 * 1024)
writeFileSync(join(root, 'films', uglyName), 'ugly')
symlinkSync(join(folder, 'secret.txt'), join(root, 'leak.txt'))
symlinkSync(folder, join(root, 'leak'))
symlinkSync(join(root, 'film.mp4'), join(root, 'alias.mp4'))
symlinkSync('loop', join(root, 'loop'))

const server = await startServer(root)
const { port } = server
const whole = await get(port, '/film.mp4')
const etag = whole.headers.get('etag') ?? ''

test.after(async () => {
  server.child.kill('SIGTERM')
  await within(server.ended, 'the end of the server')
})

test('serves a file whole, with everything a client needs to ask for parts', () => {
  assert.is(whole.status, 200)
  assert.ok(whole.body.equals(content))
  assert.is(whole.headers.get('content-type'), 'video/mp4')
  assert.is(whole.headers.get('content-length'), '100000')
  assert.is(whole.headers.get('accept-ranges'), 'bytes')
  assert.is(whole.headers.get('last-modified'), modifiedText)
  assert.match(etag, /^"[^"]+"$/)
})

test('answers HEAD with the head of GET, and ignores Range there', async () => {
  const head = await get(port, '/film.mp4', { Range: 'bytes=0-9' }, 'HEAD')
  assert.is(head.status, 200)
  assert.is(head.body.length, 0)
  for (const name of ['content-type', 'content-length', 'etag', 'last-modified', 'accept-ranges']) {
    assert.is(head.headers.get(name), whole.headers.get(name), name)
  }
})

const satisfiable: [header: string, first: number, last: number][] = [
  ['bytes=0-0', 0, 0],
  ['bytes=0-99999', 0, 99_999],
  ['bytes=10-19', 10, 19],
  ['bytes=99999-', 99_999, 99_999],
  ['bytes=500-', 500, 99_999],
  ['bytes=-1', 99_999, 99_999],
  ['bytes=-500', 99_500, 99_999],
  ['bytes=-100001', 0, 99_999],
  ['bytes=99990-999999999999999999999999', 99_990, 99_999],
  [`bytes=5-${'9'.repeat(400)}`, 5, 99_999],
  ['BYTES=1-2', 1, 2],
  ['bytes = 1 - 2', 1, 2],
  ['bytes=,, 1-2 ,', 1, 2],
  ['bytes=1-2,200000-', 1, 2],
]
for (const [header, first, last] of satisfiable) {
  test(`serves Range ${header.slice(0, 40)}`, async () => {
    const answer = await get(port, '/film.mp4', { Range: header })
    assert.is(answer.status, 206)
    assert.is(answer.headers.get('content-range'), `bytes ${first}-${last}/100000`)
    assert.is(answer.headers.get('content-length'), String(last - first + 1))
    assert.ok(answer.body.equals(content.subarray(first, last + 1)))
  })
}

for (const header of ['bytes=100000-', 'bytes=100000-100001', 'bytes=-0', 'bytes=100000-,-0']) {
  test(`refuses Range ${header} with the size`, async () => {
    const answer = await get(port, '/film.mp4', { Range: header })
    assert.is(answer.status, 416)
    assert.is(answer.headers.get('content-range'), 'bytes */100000')
  })
}

const ignored = [
  'bytes=9-5',
  'bytes=',
  'bytes=-',
  'bytes=a-b',
  'bytes=1-2;3-4',
  'bytes=0x10-0x20',
  'bytes=1.5-2',
  'bytes=--5',
  'items=0-5',
  '0-5',
  // Overlapping ranges that add up to more than the file.
  'bytes=0-,0-',
  `bytes=${Array.from({ length: 17 }, (_, i) => `${i * 2}-${i * 2}`).join(',')}`,
]
for (const header of ignored) {
  test(`ignores Range ${header.slice(0, 40)}`, async () => {
    const answer = await get(port, '/film.mp4', { Range: header })
    assert.is(answer.status, 200)
    assert.ok(answer.body.equals(content))
  })
}

test('serves several ranges as multipart/byteranges', async () => {
  const answer = await get(port, '/film.mp4', { Range: 'bytes=0-4,-5,50000-50009' })
  assert.is(answer.status, 206)
  assert.is(answer.headers.get('content-range'), undefined)
  assert.is(answer.headers.get('content-length'), String(answer.body.length))
  const type = answer.headers.get('content-type') ?? ''
  const boundary = /^multipart\/byteranges; boundary=(\S+)$/.exec(type)?.[1] ?? ''
  const parts = [
    [0, 4],
    [99_995, 99_999],
    [50_000, 50_009],
  ].map(([first = 0, last = 0]) =>
    Buffer.concat([
      Buffer.from(
        `\r\n--${boundary}\r\nContent-Type: video/mp4\r\n` +
          `Content-Range: bytes ${first}-${last}/100000\r\n\r\n`,
      ),
      content.subarray(first, last + 1),
    ]),
  )
  const expected = Buffer.concat([...parts, Buffer.from(`\r\n--${boundary}--\r\n`)])
  assert.ok(answer.body.equals(expected))
})

test('serves an empty file, of which no range but the last bytes exists', async () => {
  const answer = await get(port, '/empty.bin')
  assert.equal([answer.status, answer.headers.get('content-length')], [200, '0'])
  assert.is((await get(port, '/empty.bin', { Range: 'bytes=-5' })).status, 200)
  const refused = await get(port, '/empty.bin', { Range: 'bytes=0-' })
  assert.equal([refused.status, refused.headers.get('content-range')], [416, 'bytes */0'])
})

const later = 'Fri, 01 Mar 2024 00:00:00 GMT'
const earlier = 'Wed, 28 Feb 2024 00:00:00 GMT'
const conditions: [headers: Record<string, string>, status: number][] = [
  [{ 'If-None-Match': etag }, 304],
  [{ 'If-None-Match': `W/${etag}` }, 304],
  [{ 'If-None-Match': `"x", ${etag}` }, 304],
  [{ 'If-None-Match': '*' }, 304],
  [{ 'If-None-Match': '"x"' }, 200],
  [{ 'If-None-Match': 'garbage' }, 200],
  [{ 'If-Modified-Since': modifiedText }, 304],
  [{ 'If-Modified-Since': later }, 304],
  [{ 'If-Modified-Since': earlier }, 200],
  [{ 'If-Modified-Since': 'yesterday' }, 200],
  // RFC 9110 §13.1.3: a date is ignored beside If-None-Match.
  [{ 'If-None-Match': '"x"', 'If-Modified-Since': later }, 200],
  [{ 'If-Match': etag }, 200],
  [{ 'If-Match': '*' }, 200],
  [{ 'If-Match': '"x"' }, 412],
  [{ 'If-Match': `W/${etag}` }, 412],
  [{ 'If-Unmodified-Since': earlier }, 412],
  [{ 'If-Unmodified-Since': modifiedText }, 200],
  [{ 'If-Match': etag, 'If-Unmodified-Since': earlier }, 200],
  [{ 'If-None-Match': etag, Range: 'bytes=0-1' }, 304],
  [{ 'If-Range': etag, Range: 'bytes=0-1' }, 206],
  [{ 'If-Range': modifiedText, Range: 'bytes=0-1' }, 206],
  [{ 'If-Range': '"x"', Range: 'bytes=0-1' }, 200],
  [{ 'If-Range': `W/${etag}`, Range: 'bytes=0-1' }, 200],
  [{ 'If-Range': later, Range: 'bytes=0-1' }, 200],
  [{ 'If-Range': 'garbage', Range: 'bytes=0-1' }, 200],
  [{ 'If-Range': '"x"', Range: 'bytes=999999-' }, 200],
]
for (const [headers, status] of conditions) {
  test(`answers ${status} to ${JSON.stringify(headers).replaceAll(etag, 'ETAG')}`, async () => {
    const answer = await get(port, '/film.mp4', headers)
    assert.is(answer.status, status)
    const sizes = new Map([
      [200, 100_000],
      [206, 2],
      [304, 0],
    ])
    if (status !== 412) assert.is(answer.body.length, sizes.get(status))
    assert.is(answer.headers.get('etag'), etag)
  })
}

test('does not trust a date of this very second in If-Range', async () => {
  const path = join(root, 'fresh.bin')
  writeFileSync(path, 'fresh')
  // A date in the future stays younger than one second, however slow this machine is.
  const soon = new Date(Math.ceil(Date.now() / 1_000) * 1_000 + 600_000)
  utimesSync(path, soon, soon)
  const headers = { 'If-Range': soon.toUTCString(), Range: 'bytes=0-0' }
  assert.is((await get(port, '/fresh.bin', headers)).status, 200)
})

test('gives another ETag once the file has changed', async () => {
  const path = join(root, 'changing.bin')
  writeFileSync(path, 'one')
  utimesSync(path, modified, modified)
  const before = await get(port, '/changing.bin')
  writeFileSync(path, 'two')
  utimesSync(path, modified, new Date(modified.getTime() + 1))
  const after = await get(port, '/changing.bin')
  assert.is.not(before.headers.get('etag'), after.headers.get('etag'))
})

const targets: [target: string, status: number][] = [
  ['/film.mp4?quality=high', 200],
  ['http://elsewhere.test/film.mp4', 200],
  ['//film.mp4', 200],
  ['/./films/../film.mp4', 403],
  ['/alias.mp4', 200],
  ['/%66ilm.mp4', 200],
  ['/none.mp4', 404],
  ['/film.mp4/', 404],
  ['/film.mp4/more', 404],
  [`/${'x'.repeat(5_000)}`, 404],
  ['/loop', 404],
  ['/../secret.txt', 403],
  ['/films/../../secret.txt', 403],
  ['/%2e%2e/secret.txt', 403],
  ['/%2e%2e%2fsecret.txt', 403],
  ['/films/..%2f..%2fsecret.txt', 403],
  ['http://test/../secret.txt', 403],
  ['/leak.txt', 404],
  ['/leak/secret.txt', 404],
  ['/leak/', 404],
  ['/%00', 400],
  ['/film.mp4%00.txt', 400],
  ['/%zz', 400],
  ['/%c3', 400],
  ['*', 400],
  ['film.mp4', 400],
]
for (const [target, status] of targets) {
  test(`answers ${status} to ${target.slice(0, 40)}`, async () => {
    const answer = await get(port, target)
    assert.is(answer.status, status)
    assert.not(answer.body.includes('outside'))
  })
}

test('lists a directory with every name escaped, and serves the links of the list', async () => {
  const answer = await get(port, '/films/')
  assert.is(answer.status, 200)
  assert.is(answer.headers.get('content-type'), 'text/html; charset=utf-8')
  const html = answer.body.toString()
  assert.not.match(html, '<i>')
  assert.match(html, '<a href="../">')
  assert.match(html, '<a href="./old/">')
  const link = /href="\.\/([^"]*\.txt)"/.exec(html)?.[1] ?? ''
  assert.is(decodeURIComponent(link), uglyName)
  // A browser reads &#39; in an attribute as the character; encodeURIComponent leaves it as it is.
  assert.is((await get(port, `/films/${link}`)).body.toString(), 'ugly')
})

test('sends a directory without slash to the one with it, on this host', async () => {
  const answer = await get(port, '/films?sort=name')
  assert.equal([answer.status, answer.headers.get('location')], [301, '/films/?sort=name'])
  assert.is((await get(port, '//films')).headers.get('location'), '/films/')
})

for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
  test(`refuses ${method}`, async () => {
    const answer = await get(port, '/film.mp4', { 'Content-Length': '0' }, method)
    assert.equal([answer.status, answer.headers.get('allow')], [405, 'GET, HEAD'])
  })
}

test('does not serve what is no file', async () => {
  const path = join(root, 'socket')
  const listener = createServer().listen(path)
  await within(once(listener, 'listening'), 'a local socket')
  try {
    assert.is((await get(port, '/socket')).status, 404)
    assert.not.match((await get(port, '/')).body.toString(), '"./socket"')
  } finally {
    listener.close()
  }
})

test('answers two requests on one connection, in order', async () => {
  const head = 'Host: test\r\n'
  const first = `GET /film.mp4 HTTP/1.1\r\n${head}Range: bytes=0-4\r\n\r\n`
  const second = `GET /film.mp4 HTTP/1.1\r\n${head}Range: bytes=5-9\r\nConnection: close\r\n\r\n`
  const answer = await exchangeRaw(port, first + second)
  assert.ok(answer.body.subarray(0, 5).equals(content.subarray(0, 5)))
  const next = parseAnswer(answer.body.subarray(5))
  assert.is(next.status, 206)
  assert.ok(next.body.equals(content.subarray(5, 10)))
})

test('answers 400 to what is not HTTP, and lives on', async () => {
  assert.is((await exchangeRaw(port, '\x16\x03\x01\x02\r\n\r\n')).status, 400)
  assert.is((await get(port, '/empty.bin')).status, 200)
})

test('breaks the connection when a file shrinks while it is sent', async () => {
  const sizeBytes = 64 * 1024 * 1024
  const path = join(root, 'shrinking.bin')
  writeFileSync(path, '')
  truncateSync(path, sizeBytes)
  const socket = connect(port, '127.0.0.1')
  socket.write('GET /shrinking.bin HTTP/1.1\r\nHost: test\r\n\r\n')
  // The head is here, most of the body cannot be: nobody reads it.
  await within(once(socket, 'readable'), 'the head of the answer')
  truncateSync(path, 1)
  const answer = parseAnswer(await within(readAll(socket), 'the end of the connection'))
  assert.is(answer.headers.get('content-length'), String(sizeBytes))
  assert.ok(answer.body.length < sizeBytes)
})

test('outlives clients that leave in the middle of an answer', async () => {
  for (let i = 0; i < 20; i += 1) {
    const socket = connect(port, '127.0.0.1')
    socket.write('GET /large.bin HTTP/1.1\r\nHost: test\r\n\r\n')
    await within(once(socket, 'data'), 'the first bytes')
    socket.resetAndDestroy()
  }
  assert.is((await get(port, '/empty.bin')).status, 200)
})

test('stops on SIGTERM although a client keeps its idle connection', async () => {
  const other = await startServer(root, [])
  const socket = connect(other.port, '127.0.0.1')
  const closed = readAll(socket)
  socket.write('GET /empty.bin HTTP/1.1\r\nHost: test\r\n\r\n')
  await within(once(socket, 'data'), 'an answer')
  other.child.kill('SIGTERM')
  assert.equal(await within(other.ended, 'the end of the server'), { code: 0, signal: null })
  await within(closed, 'the end of the connection')
})

test('stops when standard input ends, after finishing the answer under way', async () => {
  const other = await startServer(root, ['--stop-on-stdin-end', '--log'])
  const socket = connect(other.port, '127.0.0.1')
  socket.write('GET /large.bin HTTP/1.1\r\nHost: test\r\nRange: bytes=0-33554431\r\n\r\n')
  await within(once(socket, 'readable'), 'the head of the answer')
  other.child.stdin?.end()
  const answer = parseAnswer(await within(readAll(socket), 'the end of the answer'))
  assert.is(answer.body.length, 33_554_432)
  assert.equal(await within(other.ended, 'the end of the server'), { code: 0, signal: null })
  assert.match(other.output.stderr, / GET \/large\.bin 206\n/)
})

test('says what is wrong with its options', async () => {
  for (const args of [
    ['--root', join(root, 'none')],
    ['--root', join(root, 'film.mp4')],
  ]) {
    await startServer(args[1] ?? '').then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, 'usage: '),
    )
  }
  await startServer(root, ['--port', '70000']).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, '--port is 0 … 65535'),
  )
})

test('says that its port is taken', async () => {
  await startServer(root, ['--port', String(port)]).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, 'EADDRINUSE'),
  )
})

test.run()
