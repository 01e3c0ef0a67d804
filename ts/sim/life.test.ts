// slow: forty lives
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { HarnessStream } from './harness.ts'
import { lifeScenario } from './life.ts'

const CLI = fileURLToPath(new URL('./cli.ts', import.meta.url))
const isLong = process.env['PUNCHLINE_LONG'] === '1'
const SEED_COUNT = isLong ? 1_000 : 40
const SHORT = { dataPackets: 500, chaosMicrosMax: 300e6 }

test(`${SEED_COUNT} lives: nothing wrong is delivered, and all is well 120 s after healing`, () => {
  const args = ['--import', 'tsx', CLI, '--seeds', `${SEED_COUNT}`]
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: SEED_COUNT * 4_000,
  })
  // The status also says whether each fault and each limit was met, when there are 200 seeds.
  assert.is(status, 0, `${stdout}\n${stderr}`)
  assert.match(stdout, new RegExp(`${SEED_COUNT} seeds, 0 failed`))
  assert.ok(sumOf(stdout, 'dataPackets') >= (isLong ? 20_000 : 15_000) * SEED_COUNT, stdout)
  assert.ok(sumOf(stdout, 'inFlightHours') >= SEED_COUNT / 10, stdout)
  assert.ok(sumOf(stdout, 'encrypted') > 0 && sumOf(stdout, 'encrypted') < SEED_COUNT)
})

function sumOf(report: string, figure: string): number {
  return Number(new RegExp(`^${figure} .* ([\\d.]+)$`, 'm').exec(report)?.[1])
}

test('the same seed gives the same life, one flipped draw another', () => {
  const scenario = lifeScenario(SHORT)
  const result = scenario.run(2)
  assert.equal(scenario.run(2), result)
  for (const label of ['life', 'host server', 'link hub>server', 'tasks of client 0']) {
    let other: string
    try {
      other = scenario.run(2, { flip: { label, draw: 0 } }).hash
    } catch (error) {
      other = (error as Error).message
    }
    assert.is.not(other, result.hash, label)
  }
})

/** Defects between the transport and the program, and the alarm that each must raise. */
const DEFECTS: Record<string, [(stream: HarnessStream) => Partial<HarnessStream>, RegExp]> = {
  'an altered byte': [
    (stream) => ({
      readInto: (target) => {
        const size = stream.readInto(target)
        if (size > 400) target[399] = (target[399] as number) ^ 1
        return size
      },
    }),
    /wrong byte at offset \d+/,
  ],
  'a byte delivered twice': [
    (stream) => ({
      readInto: (target) => {
        const size = stream.readInto(target)
        if (size < 10 || size === target.length) return size
        target.copyWithin(5, 4, size)
        return size + 1
      },
    }),
    /wrong byte at offset|bytes of/,
  ],
  'a byte that is missing': [
    (stream) => ({ readInto: (target) => Math.max(0, stream.readInto(target) - 1) }),
    /wrong byte at offset|the end came after/,
  ],
  'an end that is never told': [() => ({ ended: false }), /not through 120 s after healing/],
  'bytes that are accepted and forgotten': [
    (stream) => ({
      write: (bytes) => (bytes.length === 1 ? 1 : stream.write(bytes.subarray(1)) + 1),
    }),
    /wrong byte at offset|the end came after/,
  ],
}
for (const [name, [change, alarm]] of Object.entries(DEFECTS)) {
  test(`raises the alarm for ${name}`, () => {
    const sabotage = (stream: HarnessStream): HarnessStream => ({
      id: stream.id,
      write: (bytes) => stream.write(bytes),
      finish: () => stream.finish(),
      readInto: (target) => stream.readInto(target),
      get ended() {
        return stream.ended
      },
      ...change(stream),
    })
    assert.throws(
      () => lifeScenario({ ...SHORT, sabotage }).run(5),
      (error: Error) => alarm.test(error.message),
    )
  })
}

test.run()
