// slow: fills memories
/** What happens when memory is used up: everything still arrives, later; nothing hangs or leaks. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { connected, DELAY_MICROS } from '../bindings/testing/connected.ts'
import { type Peer, pattern, type RigConnection, type RigStream } from '../bindings/testing/rig.ts'
import { SeededRandom } from '../ts/sim/random.ts'

/** Writes `size` bytes to every stream as room comes, and checks what the other side gets. */
class Transfers {
  readonly left = new Map<RigStream, number>()
  readonly size: number
  receivedBytes = 0
  private readonly from: Peer
  private readonly to: Peer
  private readonly received = new Map<RigStream, number>()

  constructor(from: Peer, to: Peer, size: number) {
    this.from = from
    this.to = to
    this.size = size
    from.onWritable = (stream) => this.write(stream)
    to.onReadable = (stream) => this.read(stream)
  }

  open(connection: RigConnection): void {
    const stream = this.from.open(connection)
    this.left.set(stream, this.size)
    this.write(stream)
  }

  private write(stream: RigStream): void {
    const left = this.left.get(stream)
    if (left === undefined || left === 0) return
    const written = this.from.write(stream, pattern(0, this.size - left, left))
    this.left.set(stream, left - written)
    if (written === left) this.from.finish(stream)
  }

  private read(stream: RigStream): void {
    const bytes = this.to.read(stream)
    const start = this.received.get(stream) ?? 0
    assert.ok(Buffer.from(pattern(0, start, bytes.length)).equals(bytes), 'other bytes than sent')
    this.received.set(stream, start + bytes.length)
    this.receivedBytes += bytes.length
  }
}

test('streams that find no room at first are told when there is', async () => {
  // 60 streams want 64 KiB each, the connection may hold 512 KiB.
  const { rig, client, server, connection } = await connected({ memoryBytes: 1024 * 1024 })
  const transfers = new Transfers(client, server, 64 * 1024)
  for (let count = 0; count < 60; count += 1) transfers.open(connection)
  const isDone = () => transfers.receivedBytes === 60 * 64 * 1024
  assert.ok(rig.run(isDone, 120e6), `${transfers.receivedBytes} bytes arrived`)
  rig.close()
})

test('both sides may fill their memory with what they send: neither blocks the other', async () => {
  const { rig, client, server, connection, accepted } = await connected({
    memoryBytes: 1024 * 1024,
  })
  const up = new Transfers(client, server, 100_000)
  const down = new Transfers(server, client, 100_000)
  for (let count = 0; count < 20; count += 1) {
    up.open(connection)
    down.open(accepted)
  }
  const isDone = () => up.receivedBytes + down.receivedBytes === 40 * 100_000
  assert.ok(rig.run(isDone, 120e6), `${up.receivedBytes} and ${down.receivedBytes} bytes arrived`)
  rig.close()
})

for (const memoryBytes of [65_536, 131_072, 400_000]) {
  test(`everything arrives over a bad network with ${memoryBytes} bytes of memory`, async () => {
    for (let seed = 1; seed <= 6; seed += 1) {
      const random = new SeededRandom(seed)
      const { rig, client, server, connection } = await connected({
        memoryBytes,
        streamWindow: random.pick([4096, 65_536]),
        connectionWindow: random.pick([8192, 131_072]),
      })
      const lossRate = random.pick([0, 0.05, 0.3])
      rig.network = () =>
        random.chance(lossRate) ? [] : [DELAY_MICROS + random.below(random.pick([1, 30_000]))]
      const count = random.between(1, 12)
      const transfers = new Transfers(client, server, 40_000)
      for (let index = 0; index < count; index += 1) transfers.open(connection)
      const isDone = () => transfers.receivedBytes === count * 40_000
      const result = rig.run(isDone, 600e6)
      assert.ok(result, `seed ${seed}: ${transfers.receivedBytes} of ${count * 40_000} arrived`)
      for (const peer of [client, server]) {
        const { memoryUsed, memoryMax } = peer.gauges()
        assert.ok(memoryUsed <= memoryMax)
        for (const each of [...peer.connections.values()]) peer.close(each)
      }
      rig.runFor(30e6)
      for (const peer of [client, server]) assert.is(peer.gauges().memoryUsed, 0)
      rig.close()
    }
  })
}

test.run()
