// slow: three processes, and a flood that lasts
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { runFlood } from './flood.ts'

const MIB = 1 << 20

test('a flood of first packets: memory is bounded, honest clients and open streams get through', async () => {
  const result = await runFlood({ seconds: 3, rate: 10_000 })
  assert.ok(result.cookieRate > 0, 'the server asked for cookies')
  // Resident memory also moves with the engine's heap: `npm run bench:flood` prints it.
  assert.ok(result.heldGrowthBytes <= 16 * MIB, `+ ${result.heldGrowthBytes / MIB} MiB`)
  assert.is(result.connectsFailed, 0)
  assert.ok(result.connectMs.length > 0)
  assert.ok(result.floodRate > 0)
})

test.run()
