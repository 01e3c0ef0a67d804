import { randomBytes } from 'node:crypto'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeFolder, startProgram, within } from './testing.ts'

const folder = makeFolder()
const temporary = makeFolder()
const file = join(folder, 'a film.mp4')
writeFileSync(file, randomBytes(2_000_003))

async function runDemo(args: readonly string[], environment: NodeJS.ProcessEnv = {}) {
  const program = startProgram('demo.mjs', args, { TMPDIR: temporary, ...environment })
  const { code } = await within(program.ended, 'the end of the demo', 120_000)
  return { ...program.output, code }
}

test.after.each(() => {
  assert.equal(readdirSync(temporary), [], 'it cleans up')
})

const threeJobs =
  /whole +2000003 .* equal\nparallel +2000003 .* equal\nresumed +2000003 .* 2 +1 +equal\n/

test('runs every job over TCP for comparison, and sees the TCP sockets', async () => {
  const run = await runDemo(['--transport', 'tcp', file], { PUNCHLINE_FAULTS: 'loss=100%' })
  assert.equal([run.code, run.stderr], [0, ''])
  assert.match(run.stdout, /^a film\.mp4: 2000003 bytes, sha256 [0-9a-f]{64}\nover tcp, /)
  assert.match(run.stdout, threeJobs)
  if (process.platform === 'linux') assert.match(run.stdout, /samples: TCP server/)
})

test('runs every job over Punchline, and no TCP socket is seen', async () => {
  const run = await runDemo([file])
  assert.equal([run.code, run.stderr], [0, ''])
  assert.match(run.stdout, threeJobs)
  assert.match(
    run.stdout,
    /server( +\d+){4} +(dgram|mmsg|uring) +(aes-128-gcm|chacha20-poly1305)\n/,
  )
  assert.match(
    run.stdout,
    /client( +\d+){4} +(dgram|mmsg|uring) +(aes-128-gcm|chacha20-poly1305)\n/,
  )
  if (process.platform === 'linux') assert.match(run.stdout, /samples: TCP none, UDP server/)
})

test('brings the same bytes through injected loss, and shows the drops', async () => {
  const run = await runDemo([file], { PUNCHLINE_FAULTS: 'loss=5%' })
  assert.equal([run.code, run.stderr], [0, ''])
  assert.match(run.stdout, 'faults loss=5%')
  assert.match(run.stdout, threeJobs)
  // Process, packets sent, received, retransmitted, drops injected.
  assert.match(run.stdout, /server +\d+ +\d+ +[1-9]\d* +[1-9]\d* /)
})

test('notices a TCP socket', async () => {
  // Opened in all three processes, before Punchline is loaded in two of them.
  const preload = join(folder, 'open-tcp.cjs')
  writeFileSync(preload, `require('net').createServer().listen(0, '127.0.0.1').unref()`)
  const run = await runDemo(['--jobs', 'whole', file], { NODE_OPTIONS: `--require "${preload}"` })
  if (process.platform === 'linux') {
    assert.equal(
      [run.code, run.stderr],
      [1, 'demo failed: TCP sockets were seen in: server, client\n'],
    )
  } else {
    assert.is(run.code, 0)
    assert.match(run.stdout, 'kernel sockets: not checked on this platform')
  }
})

test('serves only the beginning of a file when asked', async () => {
  const run = await runDemo(['--transport', 'tcp', '--max-mib', '1', '--jobs', 'whole', file])
  assert.equal([run.code, run.stderr], [0, ''])
  assert.match(run.stdout, /whole +1048576 /)
})

test('fails with one reason', async () => {
  const failures: [args: string[], reason: RegExp][] = [
    [[join(folder, 'none')], /ENOENT/],
    [[folder], /is not a file/],
    [['--transport', 'pigeon'], /--transport is udp or tcp/],
    [['--max-mib', '0'], /--max-mib is a positive number/],
    [[file, file], /only one FILE/],
    [['--transport', 'tcp', '--jobs', 'half', file], /the client failed \(exit code 2\)/],
    [['--transport', 'tcp', '--deadline-s', '0.05', file], /not over after 0\.05 s/],
  ]
  for (const [args, reason] of failures) {
    const run = await runDemo(args)
    assert.is(run.code, 1)
    const last = run.stderr.trim().split('\n').at(-1) ?? ''
    assert.match(last, /^demo failed: /)
    assert.match(last, reason)
  }
})

test('ends both programs when it is stopped', async () => {
  const program = startProgram('demo.mjs', ['--transport', 'tcp'], { TMPDIR: temporary })
  const { stdout } = program.child
  if (stdout === null) throw new Error('standard output is not a pipe')
  await within(new Promise((resolve) => stdout.once('data', resolve)), 'its first line')
  program.child.kill('SIGTERM')
  // `ended` waits for the pipes as well, of which the two programs hold standard error.
  assert.is((await within(program.ended, 'the end of all three')).code, 1)
  assert.match(program.output.stderr, 'demo failed: stopped by SIGTERM')
})

test.run()
