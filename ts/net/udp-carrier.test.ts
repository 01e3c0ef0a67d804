import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { memoryForAll } from './udp-carrier.ts'

const MIB = 1024 * 1024

test('the process has twice the memory that an endpoint may hold, 64 MiB to 1 GiB', () => {
  for (const [memoryBytes, expected] of [
    [undefined, 64],
    [65_536, 64],
    [32 * MIB, 64],
    [200 * MIB, 400],
    [1024 * MIB, 1024],
    // Refused when a socket is bound, with a better error than a core could give.
    [4096 * MIB, 1024],
    [Number.NaN, 64],
    [0.5, 64],
  ] as const) {
    const options = memoryBytes === undefined ? {} : { memoryBytes }
    assert.is(memoryForAll(options), expected * MIB, String(memoryBytes))
  }
})

test.run()
