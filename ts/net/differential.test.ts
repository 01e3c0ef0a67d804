/**
 * The scripts of `differential/` on `node:net` and on ours: over a carrier in memory, or with
 * `PUNCHLINE_TEST_CARRIER=udp` over real UDP sockets.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { setCarrier } from './carrier.ts'
import { runBoth, scenarios } from './differential/index.ts'
import { configure } from './index.ts'
import { MemoryCarrier } from './memory-carrier.ts'

test.before(() => {
  if (process.env['PUNCHLINE_TEST_CARRIER'] !== 'udp') setCarrier(new MemoryCarrier())
  configure({ transport: 'udp' })
})

test.after(() => {
  setCarrier(null)
  configure({ transport: undefined })
})

for (const scenario of scenarios) {
  test(scenario.name, async () => {
    const { expected, actual } = await runBoth(scenario)
    assert.equal(actual, expected)
  })
}

test.run()
