// slow: a process for each way to choose
/** Which tier a process gets, and what it says about it. */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { chooseBackend } from './backend.ts'
import { availableBackends, REFUSER } from './testing/backends.ts'

const run = promisify(execFile)
const program = fileURLToPath(new URL('./testing/backend-process.ts', import.meta.url))
const available = availableBackends()

interface Outcome {
  readonly backend?: string
  readonly reason?: string
  readonly code?: string
  readonly message?: string
  readonly events: readonly { readonly backend: string; readonly reason: string }[]
}

async function choose(env: NodeJS.ProcessEnv, launcher: readonly string[] = []): Promise<Outcome> {
  const [command = '', ...values] = [...launcher, process.execPath, '--import', 'tsx', program]
  const base = { ...process.env, PUNCHLINE_BACKEND: '', ...env }
  const { stdout, stderr } = await run(command, values, { env: base, timeout: 60_000 })
  assert.is(stderr, '')
  return JSON.parse(stdout) as Outcome
}

test('the fastest one there is, with one event that says so', async () => {
  const { backend, reason, events } = await choose({})
  assert.is(backend, available[0]?.backend)
  assert.equal(events, [{ backend, reason }])
  if (backend === 'uring') assert.is(reason, '')
  else assert.ok((reason?.length ?? 0) > 0)
})

test('without the addon datagrams go through node:dgram, and the reason is known', async () => {
  const { backend, reason, events } = await choose({ PUNCHLINE_NATIVE: '0' })
  assert.is(backend, 'dgram')
  assert.is(reason, 'no addon (PUNCHLINE_NATIVE=0)')
  assert.equal(events, [{ backend, reason }])
})

for (const { backend } of available) {
  test(`PUNCHLINE_BACKEND=${backend} is what is taken`, async () => {
    const outcome = await choose({ PUNCHLINE_BACKEND: backend })
    assert.is(outcome.backend, backend)
    assert.is(outcome.reason, backend === 'uring' ? '' : 'PUNCHLINE_BACKEND')
  })
}

test('a tier that can’t be had is an error with the reason', async () => {
  const forced = await choose({ PUNCHLINE_NATIVE: '0', PUNCHLINE_BACKEND: 'mmsg' })
  assert.is(forced.code, 'ERR_PUNCHLINE_BACKEND_UNAVAILABLE')
  assert.match(forced.message ?? '', 'PUNCHLINE_NATIVE=0')
  const unknown = await choose({ PUNCHLINE_BACKEND: 'carrier-pigeon' })
  assert.is(unknown.code, 'ERR_PUNCHLINE_BACKEND_UNAVAILABLE')
  assert.match(unknown.message ?? '', 'uring, mmsg, dgram')
})

test('the choice is made once', () => {
  assert.is(chooseBackend('dgram'), chooseBackend('dgram'))
})

/** Newer Nodes have a ring of their own, and do not stand it that only entering one fails. */
function nodeLives(errno: string, calls: string): boolean {
  const listen = 'require("net").createServer().listen(0, () => process.exit())'
  const launch = [errno, calls, process.execPath, '-e', listen]
  return spawnSync(REFUSER, launch).status === 0
}

if (existsSync(REFUSER)) {
  for (const errno of ['EPERM', 'ENOSYS']) {
    for (const calls of ['all', 'register', 'enter']) {
      if (!nodeLives(errno, calls)) {
        console.log(
          `skipped: ${errno} (${calls}): libuv of Node ${process.version} ends the process`,
        )
        continue
      }
      test(`where io_uring is refused with ${errno} (${calls}) the poll set serves`, async () => {
        const launcher = [REFUSER, errno, calls]
        const { backend, reason } = await choose({}, launcher)
        assert.is(backend, 'mmsg')
        assert.match(reason ?? '', /^io_uring: .*(not permitted|not implemented)/)
        const forced = await choose({ PUNCHLINE_BACKEND: 'uring' }, launcher)
        assert.is(forced.code, 'ERR_PUNCHLINE_BACKEND_UNAVAILABLE')
        assert.match(forced.message ?? '', /not permitted|not implemented/)
      })
    }
  }
} else {
  console.log('skipped: io_uring refused by a filter (the addon is not built)')
}

test.run()
