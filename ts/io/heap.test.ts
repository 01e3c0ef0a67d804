/** The hot path keeps nothing: neither in the core, whose memory is fixed, nor in JavaScript. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const PACKETS = process.env['PUNCHLINE_LONG'] ? 1_000_000 : 60_000
/** Bytes of heap per packet above what `node:dgram` keeps itself. */
const GROWTH_MAX = 16

const program = fileURLToPath(new URL('./testing/heap-process.ts', import.meta.url))
const run = promisify(execFile)

interface Result {
  readonly packets: number
  readonly heapPerPacket: number
  readonly coreBytesBefore: number
  readonly coreBytesAfter: number
}

async function measure(...args: (string | number)[]): Promise<Result> {
  const options = { timeout: 280_000 }
  const flags = ['--expose-gc', '--import', 'tsx', program, ...args.map(String)]
  const { stdout } = await run(process.execPath, flags, options)
  return JSON.parse(stdout) as Result
}

test('the heap keeps at most 16 bytes per packet more than with dgram, the core nothing', async () => {
  const dgram = await measure('dgram', PACKETS)
  const ours = await measure('punchline', PACKETS)
  assert.ok(ours.packets >= PACKETS)
  assert.is(ours.coreBytesAfter, ours.coreBytesBefore)
  const above = ours.heapPerPacket - Math.max(0, dgram.heapPerPacket)
  assert.ok(above <= GROWTH_MAX, `${above.toFixed(2)} B per packet above dgram`)
})

test('and a leak of 32 bytes per packet is found by the same measurement', async () => {
  const leaking = await measure('punchline', PACKETS, 32)
  assert.ok(leaking.heapPerPacket > GROWTH_MAX, `${leaking.heapPerPacket.toFixed(2)} B per packet`)
})

test.run()
