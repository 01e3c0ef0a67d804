// slow: starts dozens of processes, and waits for retries
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeFolder, runClient, startServer, within } from './testing.ts'

const folder = makeFolder()
const content = randomBytes(3_000_017)
const sha256 = createHash('sha256').update(content).digest('hex')
writeFileSync(join(folder, 'a film.mp4'), content)
writeFileSync(join(folder, 'one.bin'), '1')
writeFileSync(join(folder, 'empty.bin'), '')
writeFileSync(join(folder, 'large.bin'), '')
truncateSync(join(folder, 'large.bin'), 200 * 1024 * 1024)

const server = await startServer(folder)
const film = new URL('a%20film.mp4', server.url).href

test.after(async () => {
  server.child.kill('SIGTERM')
  await within(server.ended, 'the end of the server')
})

/** Runs the client against a server that behaves as `listener` says. */
async function runAgainst(listener: RequestListener, args: readonly string[]) {
  const strange = createServer(listener)
  await new Promise<void>((resolve) => strange.listen(0, '127.0.0.1', resolve))
  const { port } = strange.address() as AddressInfo
  try {
    return await runClient([...args, `http://127.0.0.1:${port}/file`])
  } finally {
    strange.close()
    strange.closeAllConnections()
  }
}

/** Serves `content` as asked, but at most `sizeMaxBytes` of it before it breaks the connection. */
function serveBroken(
  request: IncomingMessage,
  response: ServerResponse,
  { sizeMaxBytes, headers }: { sizeMaxBytes: number; headers: Record<string, string> },
) {
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
  const first = Number(range?.[1] ?? 0)
  const last = Number(range?.[2] ?? content.length - 1)
  response.writeHead(range === null ? 200 : 206, {
    'Content-Length': last - first + 1,
    ...(range === null ? {} : { 'Content-Range': `bytes ${first}-${last}/${content.length}` }),
    'Accept-Ranges': 'bytes',
    ...headers,
  })
  if (request.method === 'HEAD') {
    response.end()
    return
  }
  const end = Math.min(last + 1, first + sizeMaxBytes)
  response.write(content.subarray(first, end), () => {
    if (end <= last) response.destroy()
    else response.end()
  })
}

test('fetches whole, in parallel ranges and resumed, each with the right hash', async () => {
  const run = await runClient(['--jobs', 'whole,parallel,resumed', '--json', film])
  assert.equal([run.code, run.stderr], [0, ''])
  const results = run.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  assert.equal(
    results.map(({ job }) => job),
    ['whole', 'parallel', 'resumed'],
  )
  for (const result of results) assert.equal([result.bytes, result.sha256], [3_000_017, sha256])
  assert.equal(
    results.map(({ requests, cuts }) => [requests, cuts]),
    // HEAD and four ranges; GET and the rest of it.
    [
      [1, 0],
      [5, 0],
      [2, 1],
    ],
  )
  assert.is(results[2].resumedAt.length, 1)
})

test('cuts its connection exactly where it is told, as often as it is told', async () => {
  const offsets = [1, 2, 65_536, 1_500_000, 3_000_016]
  const run = await runClient(['--jobs', 'resumed', '--cut', offsets.join(), '--json', film])
  assert.equal([run.code, run.stderr], [0, ''])
  const result = JSON.parse(run.stdout)
  assert.equal([result.resumedAt, result.cuts, result.sha256], [offsets, 5, sha256])
})

test('writes a file and gives it its name when it is complete', async () => {
  for (const job of ['whole', 'parallel', 'resumed']) {
    const output = join(folder, `${job}.out`)
    const run = await runClient(['--jobs', job, '--output', output, '--sha256', sha256, film])
    assert.equal([run.code, run.stderr], [0, ''])
    assert.match(run.stdout, new RegExp(`^${job}: 3000017 bytes .* sha256 ${sha256}\n$`))
    assert.ok(readFileSync(output).equals(content))
    assert.not.ok(existsSync(`${output}.part`))
  }
})

test('fails and leaves no file when the hash is another', async () => {
  const output = join(folder, 'wrong.out')
  const run = await runClient(['--output', output, '--sha256', '0'.repeat(64), film])
  assert.is(run.code, 1)
  assert.is(run.stderr, `whole: SHA-256 is ${sha256} instead of ${'0'.repeat(64)}\n`)
  assert.not.ok(existsSync(output) || existsSync(`${output}.part`))
})

test('fetches more than it may hold in memory, out of order', async () => {
  const zeros = createHash('sha256')
    .update(Buffer.alloc(200 * 1024 * 1024))
    .digest('hex')
  const url = new URL('large.bin', server.url).href
  const run = await runClient(['--jobs', 'parallel', '--connections', '16', '--sha256', zeros, url])
  assert.equal([run.code, run.stderr], [0, ''])
})

test('fetches files of no and of one byte, which cannot be cut', async () => {
  for (const [name, size] of [
    ['empty.bin', 0],
    ['one.bin', 1],
  ] as const) {
    const url = new URL(name, server.url).href
    const run = await runClient(['--jobs', 'whole,parallel', '--json', url])
    assert.equal([run.code, run.stderr], [0, ''])
    for (const line of run.stdout.trim().split('\n')) assert.is(JSON.parse(line).bytes, size)
    const cut = await runClient(['--jobs', 'resumed', url])
    assert.is(cut.code, 1)
    assert.match(cut.stderr, 'no middle to be cut in')
  }
})

test('goes on by itself when the server breaks the connection', async () => {
  const headers = { ETag: '"1"' }
  for (const job of ['whole', 'parallel']) {
    const run = await runAgainst(
      (request, response) => serveBroken(request, response, { sizeMaxBytes: 700_000, headers }),
      ['--jobs', job, '--json', '--sha256', sha256],
    )
    assert.equal([run.code, run.stderr], [0, ''])
    assert.ok(JSON.parse(run.stdout).resumedAt.length >= 4)
  }
})

test('does not go on without a strong validator', async () => {
  for (const headers of [{}, { ETag: 'W/"1"' }] as Record<string, string>[]) {
    const run = await runAgainst(
      (request, response) => serveBroken(request, response, { sizeMaxBytes: 700_000, headers }),
      [],
    )
    assert.is(run.code, 1)
    assert.match(run.stderr, 'gave no ETag to go on with')
  }
})

test('gives up after several attempts that bring nothing', async () => {
  let requests = 0
  const run = await runAgainst((request, response) => {
    requests += 1
    const headers = { ETag: '"1"' }
    if (requests === 1) serveBroken(request, response, { sizeMaxBytes: 10, headers })
    else response.destroy()
  }, [])
  assert.equal([run.code, requests], [1, 7])
})

test('gives up a server that falls silent', async () => {
  const run = await runAgainst(() => {}, ['--idle-timeout-s', '1'])
  assert.equal([run.code, run.stderr], [1, 'whole: nothing heard for 1000 ms\n'])
})

test('notices that the file changed between two requests', async () => {
  const run = await runAgainst((request, response) => {
    delete request.headers.range
    serveBroken(request, response, { sizeMaxBytes: 700_000, headers: { ETag: '"1"' } })
  }, [])
  assert.equal([run.code, run.stderr], [1, 'whole: the file changed while it was fetched\n'])
})

test('notices a range that was not asked for', async () => {
  const run = await runAgainst(
    (request, response) => {
      const headers = {
        ETag: '"1"',
        ...(request.method === 'GET' && { 'Content-Range': 'bytes 0-9/10' }),
      }
      serveBroken(request, response, { sizeMaxBytes: content.length, headers })
    },
    ['--jobs', 'parallel'],
  )
  assert.is(run.code, 1)
  assert.match(run.stderr, /^parallel: asked for bytes \d+-\d+\/3000017, got bytes 0-9\/10\n$/)
})

test('says why a server does not serve', async () => {
  const missing = await runClient([new URL('none', server.url).href])
  assert.equal([missing.code, missing.stderr], [1, 'whole: the server answered 404 Not Found\n'])
  const noRanges = await runAgainst(
    (request, response) =>
      serveBroken(request, response, { sizeMaxBytes: 9, headers: { 'Accept-Ranges': 'none' } }),
    ['--jobs', 'parallel'],
  )
  assert.equal(
    [noRanges.code, noRanges.stderr],
    [1, 'parallel: the server offers no ranges of this file\n'],
  )
  const chunked = await runAgainst((_, response) => response.end('chunked'), [])
  assert.equal([chunked.code, chunked.stderr.includes('how long the file is')], [0, false])
})

test('says that nobody listens', async () => {
  const free = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => free.once('listening', resolve))
  const { port } = free.address() as AddressInfo
  await new Promise((resolve) => free.close(resolve))
  const run = await runClient([`http://127.0.0.1:${port}/`])
  assert.equal([run.code, run.stderr], [1, `whole: connect ECONNREFUSED 127.0.0.1:${port}\n`])
})

test('explains options that it does not understand', async () => {
  const wrong: [args: string[], reason: string][] = [
    [[], 'exactly one URL'],
    [['http://a/', 'http://b/'], 'exactly one URL'],
    [['nonsense'], 'Invalid URL'],
    [['ftp://a/'], 'ftp: is not supported'],
    [['--jobs', 'half', 'http://a/'], 'no job "half"'],
    [['--connections', '0', 'http://a/'], '--connections is an integer from 1 to 64'],
    [['--cut', '5,x', 'http://a/'], '--cut is an integer'],
    [['--sha256', 'abc', 'http://a/'], '--sha256 takes 64 hexadecimal digits'],
  ]
  for (const [args, reason] of wrong) {
    const run = await runClient(args)
    assert.is(run.code, 2)
    assert.ok(run.stderr.includes(reason), run.stderr)
  }
  const late = await runClient(['--jobs', 'resumed', '--cut', '9999999', film])
  assert.equal([late.code, late.stderr.includes('cannot cut at 9999999')], [1, true])
})

interface ProgressModule {
  ProgressBar: new (
    terminal: object,
    label: string,
  ) => { update(totalBytes: number, sizeBytes: number): void; clear(): void }
}

test('paints its progress on a terminal, and on nothing else', async () => {
  // By URL, because this folder's programs are JavaScript without declarations.
  const module: ProgressModule = await import(new URL('./progress.mjs', import.meta.url).href)
  for (const [isTTY, expected] of [
    [true, 2],
    [false, 0],
  ] as const) {
    const written: string[] = []
    const terminal = { isTTY, columns: 60, write: (text: string) => written.push(text) }
    const bar = new module.ProgressBar(terminal, 'whole')
    bar.update(500_000, 1_000_000)
    bar.update(500_001, 1_000_000)
    bar.clear()
    assert.is(written.length, expected)
    if (!isTTY) continue
    assert.match(
      written[0] ?? '',
      /\rwhole {4}\[############------------\] {2}50 % {2}0\.5\/1\.0 MB/,
    )
    // A longer line would wrap, and could not be painted over.
    assert.ok((written[0] ?? '').length <= 60 + '\r\x1b[K'.length)
  }
})

test.run()
