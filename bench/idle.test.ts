// slow: two processes, and hundreds of handshakes
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { runIdle } from './idle.ts'

test('idle connections are all there, and one timer serves them', async () => {
  const { client, server } = await runIdle(300, 1)
  for (const side of [client, server]) {
    assert.is(side.open, 300)
    assert.equal(side.ended, {})
    assert.ok(side.timersMax <= 1, `${side.timersMax} timers`)
    assert.ok(side.coreBytesEach > 0 && side.coreBytesEach < 4096, `${side.coreBytesEach} bytes`)
  }
})

test.run()
