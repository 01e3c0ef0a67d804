import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ENDPOINT_DEFAULTS, type EndpointOptionsGiven, resolveEndpointOptions } from './options.ts'

test('without options the defaults count, and they are frozen', () => {
  assert.equal(resolveEndpointOptions(), ENDPOINT_DEFAULTS)
  assert.ok(Object.isFrozen(resolveEndpointOptions({ keepAliveMs: 1 })))
})

test("the requirements' names are taken, and ours are stronger", () => {
  const named = {
    peer_start_heartbeat_timeout: 4_000,
    peer_heartbeat_timeout: 6_000,
    max_confirmation_delay: 25,
    min_packet_size: 600,
    max_packet_size: 1_400,
  }
  const { keepAliveMs, idleTimeoutMs, ackDelayMicros, packetBytesStart, packetBytesMax } =
    resolveEndpointOptions(named)
  assert.equal(
    [keepAliveMs, idleTimeoutMs, ackDelayMicros, packetBytesStart, packetBytesMax],
    [4_000, 10_000, 25_000, 600, 1_400],
  )
  const ours = { keepAliveMs: 1_000, packetBytesMax: 1_200 }
  const mixed = resolveEndpointOptions({ ...named, ...ours })
  assert.equal(
    [mixed.keepAliveMs, mixed.idleTimeoutMs, mixed.packetBytesMax],
    [1_000, 7_000, 1_200],
  )
  assert.not('peer_start_heartbeat_timeout' in mixed)
})

test('what is out of range or no number is refused, by whatever name', () => {
  for (const options of [
    { keepAliveMs: -1 },
    { packetBytesMax: 547 },
    { max_packet_size: 65_508 },
    { peer_start_heartbeat_timeout: 2 ** 31 },
    { max_confirmation_delay: Number.NaN },
    { congestion: 'none' as never },
  ] satisfies EndpointOptionsGiven[]) {
    assert.throws(
      () => resolveEndpointOptions(options),
      (error: Error) => error instanceof RangeError,
    )
  }
  assert.throws(
    () => resolveEndpointOptions({ keepAliveMs: '1' as never }),
    (error: Error) => error instanceof TypeError,
  )
})

test.run()
