/**
 * Native sockets come and go, in the middle of traffic, with their memory, with their thread, and
 * nothing of them stays. PUNCHLINE_LONG=1 takes the full counts.
 */
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Worker } from 'node:worker_threads'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { searchAddon } from './addon.ts'
import { missingForNative } from './build/native.mjs'
import { PACKAGE_ROOT } from './package-root.cjs'
import { loopback, NativePair, pattern, until } from './testing/native-pair.ts'

const isLong = process.env['PUNCHLINE_LONG'] === '1'
const SOCKETS = isLong ? 1_000_000 : 4_000
const INSTANCES = isLong ? 1_000 : 40
const THREADS = isLong ? 100 : 4
/** Closing takes a turn of the event loop, and so it gets one after so many sockets. */
const SOCKETS_PER_TURN = 50
/** What a heap, and a checking allocator, may keep beside what is asked for. */
const GROWTH_BYTES_MAX = 64 * 1024 * 1024

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

const missing = missingForNative()
const choice = process.env['PUNCHLINE_NATIVE']
const addon = missing ? undefined : searchAddon(choice, PACKAGE_ROOT).addon
const turn = () => new Promise((resolve) => setImmediate(resolve))
/**
 * Descriptors that are no files: the loader of a thread that is ended may leave one open, the addon
 * opens none.
 */
const descriptors = () =>
  readdirSync('/proc/self/fd').filter((name) => !targetOf(name).startsWith('/')).length

/** What a descriptor leads to; the one that listed them is closed by now, and counts as a file. */
function targetOf(descriptor: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${descriptor}`)
  } catch {
    return '/'
  }
}

const resident = () => process.memoryUsage.rss()

if (addon?.shared === undefined) {
  console.log(`skipped: native sockets (${missing || 'no addon'})`)
  test('without the addon there is nothing to test', () => {})
} else {
  const tiers = addon.probeRing().available ? (['mmsg', 'uring'] as const) : (['mmsg'] as const)
  const nothingIsLeft = async (descriptorsBefore: number) => {
    await until(() => {
      collect()
      const { hubs, sockets } = addon.liveObjects()
      return hubs === 0 && sockets === 0 && descriptors() <= descriptorsBefore
    }, 'everything to close')
  }

  for (const tier of tiers) {
    test(`${tier}: ${SOCKETS} sockets on one memory, closed with datagrams on their way`, async () => {
      await turn()
      const before = descriptors()
      const pair = new NativePair(addon, tier === 'uring')
      const from = pair.open()
      let warm = 0
      for (let count = 0; count < SOCKETS; count += 1) {
        const to = pair.open({ receiveBufferBytes: 65_536 })
        if (count % 4 === 0) {
          pair.lay(pattern(600, count & 255), 0, loopback(4, to.port))
          from.flush()
        }
        to.socket.close()
        if (count % SOCKETS_PER_TURN === 0) await turn()
        if (count === SOCKETS >> 2) warm = resident()
      }
      assert.ok(resident() - warm < GROWTH_BYTES_MAX, `${resident() - warm} bytes more`)
      pair.close()
      await nothingIsLeft(before)
    })

    test(`${tier}: ${INSTANCES} memories, closed or forgotten in the middle of traffic`, async () => {
      await turn()
      const before = descriptors()
      let warm = 0
      for (let count = 0; count < INSTANCES; count += 1) {
        const pair = new NativePair(addon, tier === 'uring')
        const [from, to] = [pair.open(), pair.open()]
        for (let index = 0; index < 20; index += 1) {
          pair.lay(pattern(1200, index), 0, loopback(4, to.port))
        }
        from.flush()
        pair.hub.setDeadline(50)
        if (count % 3 === 0) await turn()
        if (count % 2 === 0) {
          from.socket.close()
          to.socket.close()
        } else pair.close()
        if (count % 10 === 0) collect()
        if (count === INSTANCES >> 2) warm = resident()
      }
      await nothingIsLeft(before)
      assert.ok(resident() - warm < GROWTH_BYTES_MAX, `${resident() - warm} bytes more`)
    })

    test(`${tier}: ${THREADS} threads that end in the middle of traffic`, async () => {
      await turn()
      // Threads do not inherit what reads TypeScript.
      const url = new URL('./testing/cycle-worker.ts', import.meta.url).href
      const loader = import.meta.resolve('tsx/esm/api')
      const text = `import { register } from '${loader}'; register(); await import('${url}')`
      const program = new URL(`data:text/javascript,${encodeURIComponent(text)}`)
      let settled = 0
      for (let count = 0; count < THREADS; count += 1) {
        const worker = new Worker(program, { workerData: { tier }, execArgv: [] })
        const [word] = await once(worker, 'message')
        assert.is(word, 'under way')
        await worker.terminate()
        // The first threads leave behind what all threads share.
        if (count < 2) settled = Math.max(settled, descriptors())
      }
      await until(() => descriptors() <= settled, 'descriptors of threads')
    })
  }
}

test.run()
