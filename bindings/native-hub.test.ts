/** The native tiers, socket by socket: what the kernel is told and what it tells. */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { searchAddon } from './addon.ts'
import { missingForNative } from './build/native.mjs'
import {
  Core,
  DESC_COUNT,
  DESC_SIZE,
  JOB_SIZE,
  RX_ARENA,
  RX_ARENA_SIZE,
  RX_DESC,
  TX_ARENA,
  TX_ARENA_SIZE,
  TX_DESC,
} from './core.ts'
import { PACKAGE_ROOT } from './package-root.cjs'
import { AesLists, cryptoSeal } from './testing/aes-lists.ts'
import {
  EADDRINUSE,
  EAGAIN,
  ECONNREFUSED,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENOBUFS,
  loopback,
  NativePair,
  pattern,
  type Run,
  SocketFault,
  type TestSocket,
  until,
} from './testing/native-pair.ts'

const missing = missingForNative()
const choice = process.env['PUNCHLINE_NATIVE']
const addon = missing ? undefined : searchAddon(choice, PACKAGE_ROOT).addon

if (addon?.shared === undefined) {
  console.log(`skipped: tests of the native tiers (${missing || 'no addon'})`)
  test('without the addon there is nothing to test', () => {})
} else {
  const shared = addon.shared
  const ring = addon.probeRing()
  if (!ring.available) console.log(`skipped: tests of io_uring (${ring.reason})`)
  const tiers = ring.available ? (['mmsg', 'uring'] as const) : (['mmsg'] as const)

  test('both sides agree on the layout', () => {
    assert.is(shared.descriptorBytes, DESC_SIZE)
    assert.ok(shared.slots * shared.slotBytes < RX_ARENA_SIZE)
  })

  test('a layout that does not fit the memory is refused', () => {
    const core = Core.create({ memoryBytes: 4 * 1024 * 1024 })
    const words = new Int32Array(shared.words)
    const good = [RX_DESC, TX_DESC, DESC_COUNT, RX_ARENA, RX_ARENA_SIZE, TX_ARENA, TX_ARENA_SIZE]
    const open = (layout: number[], memory = core.u8, shared = words) =>
      addon.openHub({}, memory, Int32Array.from(layout), shared, () => {})
    for (const [index, value] of [
      [0, core.u8.length - 64],
      [0, 2 ** 31 - 64],
      [0, RX_DESC + 1],
      [2, 0],
      [2, 2 ** 30],
      [3, core.u8.length - 1024],
      [4, 65_536],
      [4, -1],
      [5, -65_536],
      [6, core.u8.length],
    ] as const) {
      const layout = good.with(index, value)
      assert.throws(() => open(layout), /layout/, String(layout))
    }
    assert.throws(() => open(good, core.u8.subarray(0, 65_536)), /layout/)
    assert.throws(() => open(good, core.u8, new Int32Array(8)), /shared words/)
    const anchor = {}
    const { id } = addon.openHub(anchor, core.u8, Int32Array.from(good), words, () => {})
    assert.throws(
      () => addon.openHub(anchor, core.u8, Int32Array.from(good), words, () => {}),
      /anchor/,
    )
    addon.closeHub(id)
    addon.closeHub(id)
  })

  test('calls with ids that nobody has do nothing', () => {
    for (const id of [0, -1, 7, 65_536, 2 ** 31 - 1]) {
      assert.is(addon.flush(id, 1), -1)
      assert.is(addon.send(id, new Uint8Array(1), loopback(4, 1)), -1)
      assert.is(addon.runJobs(id, 0, 0, 0), -1)
      assert.is(addon.takeRefusals(id), -1)
      assert.is(addon.socketFigures(id), undefined)
      assert.is(addon.hubFigures(id), undefined)
      addon.closeSocket(id)
      addon.closeHub(id)
      addon.setDeadline(id, 1)
    }
  })

  test('the address that a way starts from is known without sending', () => {
    const out = new Int32Array(6)
    assert.is(addon.localAddressTo(loopback(4, 9), 4, out), 0)
    assert.equal(out.subarray(0, 4), loopback(4).subarray(0, 4))
    assert.is(addon.localAddressTo(loopback(6, 9), 6, out), 0)
    assert.equal(out.subarray(0, 4), loopback(6).subarray(0, 4))
    assert.is(addon.localAddressTo(loopback(6, 9), 4, out), EINVAL)
  })

  for (const tier of tiers) {
    const open = () => new NativePair(addon, tier === 'uring')

    /** A case with a pair of its own, closed in any case. */
    const check = (name: string, run: (pair: NativePair) => Promise<void> | void) => {
      test(`${tier}: ${name}`, async () => {
        const pair = open()
        try {
          await run(pair)
        } finally {
          pair.close()
        }
        assert.is(addon.liveObjects().sockets, 0)
      })
    }

    check('trains arrive as they left, in one call each way', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      const trains = [0, 1, 2].map((seed) => pattern(54 * 1200 - seed * 100, seed))
      for (const train of trains) pair.lay(train, 1200, loopback(4, to.port))
      assert.equal(from.flush(), { isBlocked: false, hasRefusals: false })
      await until(() => to.datagrams().length >= 162, 'three trains')
      assert.equal(Buffer.concat(to.datagrams()), Buffer.concat(trains))
      const [run] = to.runs as [Run]
      assert.is(run.segment, 1200)
      assert.is((run.from[4] as number) & 0xffff, from.port)
      assert.equal(run.from.subarray(0, 4), loopback(4).subarray(0, 4))
      assert.is(from.socket.figures()?.sendCalls, 1)
      assert.is(from.socket.figures()?.datagramsSent, 162)
      assert.is(to.socket.figures()?.datagramsReceived, 162)
      assert.is(to.runs.length, 3)
      assert.is(to.socket.isOnRing, tier === 'uring')
    })

    check(
      'what is put off to the end of an event comes after its ticks, and once',
      async (pair) => {
        assert.not(pair.hub.settleLater(), 'no event is being told')
        const [from, to] = [pair.open(), pair.open()]
        const log: string[] = []
        to.onReceived = () => {
          log.push('received')
          assert.ok(pair.hub.settleLater() && pair.hub.settleLater())
          process.nextTick(() => {
            log.push(`tick ${pair.settles}`)
            queueMicrotask(() => process.nextTick(() => log.push(`late tick ${pair.settles}`)))
          })
        }
        pair.lay(pattern(100, 1), 0, loopback(4, to.port))
        from.flush()
        await until(() => pair.settles > 0, 'settling')
        assert.equal(log, ['received', 'tick 0', 'late tick 0'])
        assert.is(pair.settles, 1)
        // After datagrams it comes unasked: streams may have left bytes where they arrived.
        to.onReceived = () => {}
        pair.lay(pattern(100, 1), 0, loopback(4, to.port))
        from.flush()
        await until(() => pair.settles > 1, 'settling unasked')
      },
    )

    check('without offload the same datagrams leave and arrive one by one', async (pair) => {
      const from = pair.open({ segmentation: false })
      const to = pair.open({ receiveOffload: false })
      const train = pattern(64 * 700 - 33, 4)
      pair.lay(train, 700, loopback(4, to.port))
      from.flush()
      await until(() => to.runs.length === 64, '64 datagrams')
      assert.equal(Buffer.concat(to.datagrams()), train)
      assert.ok(to.runs.every(({ segment }) => segment === 0))
    })

    check('empty, tiny and the largest datagrams pass', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      const sizes = [0, 1, 2047, 2048, 2049, 65_507]
      for (const size of sizes) pair.lay(pattern(size, size), 0, loopback(4, to.port))
      from.flush()
      await until(() => to.runs.length === sizes.length, 'all sizes')
      assert.equal(
        to.runs.map(({ bytes }) => bytes),
        sizes.map((size) => pattern(size, size)),
      )
    })

    check('hundreds of small datagrams come in few callbacks', async (pair) => {
      const [from, to] = [pair.open({ segmentation: false }), pair.open({ receiveOffload: false })]
      let callbacks = 0
      to.onReceived = () => {
        callbacks += 1
      }
      const count = 900
      for (let index = 0; index < count; index++) {
        pair.lay(pattern(64, index), 0, loopback(4, to.port))
      }
      from.flush()
      await until(() => to.runs.length === count, 'all of them')
      assert.equal(
        Buffer.concat(to.datagrams()),
        Buffer.concat(to.runs.map((_, i) => pattern(64, i))),
      )
      assert.ok(callbacks <= 8, `${callbacks} callbacks`)
    })

    for (const family of [4, 6] as const) {
      check(`IPv${family}: addresses, the local one too`, async (pair) => {
        const any = new Int32Array(6)
        if (family === 4) any[2] = 0xffff0000 | 0
        const from = pair.open({ family })
        const to = pair.open({ family, ipv6Only: true, index: 3 }, any)
        pair.lay(pattern(100, 1), 0, loopback(family, to.port))
        from.flush()
        await until(() => to.runs.length === 1, 'the datagram')
        const [run] = to.runs as [Run]
        assert.equal(run.from.subarray(0, 4), loopback(family).subarray(0, 4))
        assert.is((run.from[4] as number) & 0xffff, from.port)
        assert.equal(run.local, Buffer.from(loopback(family).buffer, 0, 16))
        assert.is(run.socketIndex, 3)
        // And back, from that very address.
        pair.lay(pattern(50, 2), 0, run.from, { local: run.local })
        to.flush()
        await until(() => from.runs.length === 1, 'the answer')
        assert.equal(from.runs[0]?.bytes, pattern(50, 2))
        assert.is((from.runs[0]?.from[4] as number) & 0xffff, to.port)
      })
    }

    check('dual stack: IPv4 on an IPv6 socket is written in its mapped form', async (pair) => {
      const dual = pair.open({ family: 6 }, new Int32Array(6))
      const four = pair.open()
      pair.lay(pattern(10, 1), 0, loopback(4, dual.port))
      four.flush()
      await until(() => dual.runs.length === 1, 'the datagram')
      const [run] = dual.runs as [Run]
      assert.equal(run.from.subarray(0, 4), loopback(4).subarray(0, 4))
      assert.equal(run.local, Buffer.from(loopback(4).buffer, 0, 16))
      pair.lay(pattern(20, 2), 0, run.from, { local: run.local })
      dual.flush()
      await until(() => four.runs.length === 1, 'the answer')
      assert.equal(four.runs[0]?.bytes, pattern(20, 2))
    })

    check('an address of the other family is refused, nothing else', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      pair.lay(pattern(10, 1), 0, loopback(6, to.port))
      pair.lay(pattern(11, 1), 0, loopback(4, to.port))
      assert.ok(from.flush().hasRefusals)
      assert.is(from.socket.takeRefusals(), 1)
      await until(() => to.runs.length === 1, 'the other one')
    })

    for (const family of [4, 6] as const) {
      check(`IPv${family}: ECN bits go there and are seen here`, async (pair) => {
        const from = pair.open({ family })
        const to = pair.open({ family, ecn: true })
        const deaf = pair.open({ family })
        for (const ecn of [0, 1, 2, 3]) {
          pair.lay(pattern(10, ecn), 0, loopback(family, to.port), { ecn })
          pair.lay(pattern(10, ecn), 0, loopback(family, deaf.port), { ecn })
        }
        from.flush()
        await until(() => to.runs.length === 4 && deaf.runs.length === 4, 'four datagrams')
        assert.equal(
          to.runs.map(({ ecn }) => ecn),
          [0, 1, 2, 3],
        )
        assert.ok(deaf.runs.every(({ ecn }) => ecn === 0))
      })
    }

    for (const family of [4, 6] as const) {
      check(`IPv${family}: a closed port is told, and costs others nothing`, async (pair) => {
        const [from, to, gone] = [
          pair.open({ family }),
          pair.open({ family }),
          pair.open({ family }),
        ]
        const { port } = gone
        gone.socket.close()
        for (let index = 0; index < 20; index++) {
          pair.lay(pattern(10, index), 0, loopback(family, port))
          pair.lay(pattern(10, index), 0, loopback(family, to.port))
          from.flush()
          if (from.socket.takeRefusals() > 0) from.refusals.push(...pair.hub.readRefusals(1))
        }
        await until(() => from.refusals.length > 0, 'the refusal')
        await until(() => to.runs.length === 20, 'the others')
        const [refusal] = from.refusals
        assert.is(refusal?.error, ECONNREFUSED)
        assert.equal(refusal?.address, loopback(family, port))
        // The socket that heard of it goes on receiving.
        pair.lay(pattern(5, 5), 0, loopback(family, from.port))
        to.flush()
        await until(() => from.runs.length === 1, 'a datagram to the refused one')
        assert.equal(from.failures, [])
      })
    }

    check('a closed port behind a dual-stack socket is told in mapped form', async (pair) => {
      const from = pair.open({ family: 6 }, new Int32Array(6))
      const gone = pair.open()
      const { port } = gone
      gone.socket.close()
      pair.lay(pattern(10, 0), 0, loopback(4, port))
      from.flush()
      await until(() => from.refusals.length > 0, 'the refusal')
      assert.equal(from.refusals[0]?.address, loopback(4, port))
    })

    check('descriptors that point out of bounds are dropped and counted', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      const hostile = [
        { pointer: 0 },
        { pointer: -1 },
        { pointer: TX_ARENA - 1 },
        { pointer: TX_ARENA + TX_ARENA_SIZE },
        { pointer: TX_ARENA + TX_ARENA_SIZE - 9 },
        { pointer: 2 ** 31 - 1, length: 2 ** 31 - 1 },
        { pointer: TX_ARENA, length: -1 },
        { pointer: TX_ARENA, length: TX_ARENA_SIZE + 1 },
      ]
      for (const options of hostile) {
        pair.lay(pattern(10, 0), 0, loopback(4, to.port), options)
        pair.lay(pattern(10, 7), 0, loopback(4, to.port))
      }
      from.flush()
      await until(() => to.runs.length === hostile.length, 'the good ones')
      assert.ok(to.runs.every(({ bytes }) => bytes.equals(pattern(10, 7))))
      assert.is(from.socket.figures()?.descriptorsRefused, hostile.length)
      // More descriptors than there are, and fewer than none.
      from.socket.flush(2 ** 31 - 1)
      from.socket.flush(-1)
    })

    check('segment sizes without sense do no harm', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      for (const segment of [-1, 2 ** 31 - 1, 1, 10, 11]) {
        pair.lay(pattern(10, segment & 0xff), segment, loopback(4, to.port))
      }
      from.flush()
      const total = () => to.runs.reduce((sum, { bytes }) => sum + bytes.length, 0)
      await until(() => total() === 50, 'all bytes')
    })

    check('more segments than one train may have go in several', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      const bytes = pattern(1000 * 40, 9)
      pair.lay(bytes, 40, loopback(4, to.port))
      from.flush()
      await until(() => to.datagrams().length === 1000, '1,000 datagrams')
      assert.equal(Buffer.concat(to.datagrams()), bytes)
      assert.is(from.socket.figures()?.sendCalls, 1)
    })

    for (const error of [EIO, EINVAL]) {
      check(`a train that fails with ${error} leaves at once as datagrams`, async (pair) => {
        const [from, to] = [pair.open(), pair.open()]
        from.socket.failSends(error, 1)
        const bytes = pattern(30 * 1000 + 1, error)
        pair.lay(bytes, 1000, loopback(4, to.port))
        assert.equal(from.flush(), { isBlocked: false, hasRefusals: false })
        await until(() => to.datagrams().length === 31, 'the datagrams')
        assert.equal(Buffer.concat(to.datagrams()), bytes)
        assert.is(from.socket.figures()?.hasSegmentation, false)
        assert.is(from.socket.figures()?.segmentationFailures, 1)
        // And it stays so.
        pair.lay(bytes, 1000, loopback(4, to.port))
        from.flush()
        await until(() => to.datagrams().length === 62, 'the next ones')
        assert.is(from.socket.figures()?.segmentationFailures, 1)
      })
    }

    check('EMSGSIZE is told as a matter of the path, not of the offload', async (pair) => {
      const [from, to] = [pair.open({ dontFragment: true }), pair.open()]
      from.socket.failSends(EMSGSIZE, 1)
      pair.lay(pattern(4000, 0), 1000, loopback(4, to.port))
      pair.lay(pattern(10, 0), 0, loopback(4, to.port))
      assert.ok(from.flush().hasRefusals)
      const [refusal] = pair.hub.readRefusals(from.socket.takeRefusals())
      assert.is(refusal?.error, EMSGSIZE)
      assert.equal(refusal?.address, loopback(4, to.port))
      await until(() => to.runs.length === 1, 'the one that fits')
      assert.is(from.socket.figures()?.hasSegmentation, true)
      // Older kernels say EINVAL to a train whose segments are too large: the datagrams tell.
      from.socket.failSends(EINVAL, 1)
      pair.lay(pattern(65_508 * 2, 0), 65_508, loopback(4, to.port))
      assert.ok(from.flush().hasRefusals)
      assert.is(from.socket.figures()?.hasSegmentation, true)
    })

    check('what the system does not take now leaves later, in order', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      const trains = [1, 2, 3].map((seed) => pattern(40 * 1200, seed))
      from.socket.failSends(EAGAIN, 1)
      for (const train of trains) pair.lay(train, 1200, loopback(4, to.port))
      assert.is(from.flush().isBlocked, true)
      // The train arena is somebody else's by now.
      pair.core.u8.fill(0xee, TX_ARENA, TX_ARENA + TX_ARENA_SIZE)
      pair.lay(pattern(100, 4), 0, loopback(4, to.port))
      assert.is(from.flush().isBlocked, true, 'nothing overtakes')
      await until(() => from.writables === 1, 'writable')
      await until(() => to.datagrams().length === 121, 'all of it')
      assert.equal(Buffer.concat(to.datagrams()), Buffer.concat([...trains, pattern(100, 4)]))
      assert.is(from.socket.figures()?.blocked, 1)
      pair.lay(pattern(100, 5), 0, loopback(4, to.port))
      assert.is(from.flush().isBlocked, false)
      assert.is(from.writables, 1)
    })

    check('what is set aside is bounded', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      from.socket.failSends(EAGAIN, 1)
      for (let round = 0; round < 40; round++) {
        pair.lay(pattern(60_000, round), 1200, loopback(4, to.port))
        from.flush()
      }
      const { sendsFailed } = from.socket.figures() ?? { sendsFailed: 0 }
      assert.is(sendsFailed, 40 - Math.floor(TX_ARENA_SIZE / 60_000))
      await until(() => from.writables === 1, 'writable')
    })

    check('closing while something waits loses it, and nothing else', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      from.socket.failSends(EAGAIN, 1)
      pair.lay(pattern(60_000, 0), 1200, loopback(4, to.port))
      assert.is(from.flush().isBlocked, true)
      from.socket.close()
      const other = pair.open()
      pair.lay(pattern(10, 1), 0, loopback(4, to.port))
      other.flush()
      await until(() => to.runs.length === 1, 'the other one')
      assert.is(from.writables, 0)
    })

    check('ENOBUFS loses a datagram, as the network would', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      from.socket.failSends(ENOBUFS, 1)
      pair.lay(pattern(10, 1), 0, loopback(4, to.port))
      pair.lay(pattern(11, 2), 0, loopback(4, to.port))
      assert.equal(from.flush(), { isBlocked: false, hasRefusals: false })
      await until(() => to.runs.length === 1, 'the second one')
      assert.is(from.socket.figures()?.sendsFailed, 1)
    })

    check('an error that is another datagram’s does not cost this one', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      from.socket.failSends(ECONNREFUSED, 1)
      pair.lay(pattern(10, 1), 0, loopback(4, to.port))
      assert.equal(from.flush(), { isBlocked: false, hasRefusals: false })
      await until(() => to.runs.length === 1, 'the datagram')
      // Twice in a row it is its own.
      from.socket.failSends(ECONNREFUSED, 2)
      pair.lay(pattern(10, 1), 0, loopback(4, to.port))
      assert.is(from.flush().hasRefusals, true)
    })

    check('one datagram from any memory', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      from.socket.send(pattern(999, 3), loopback(4, to.port))
      await until(() => to.runs.length === 1, 'the datagram')
      assert.equal(to.runs[0]?.bytes, pattern(999, 3))
    })

    check('checksums are written and judged', async (pair) => {
      const from = pair.open()
      const to = pair.open({ verifyCrc32c: true })
      const train = pattern(10 * 600 - 50, 1)
      pair.lay(train, 600, loopback(4, to.port), { sealsCrc: true })
      pair.lay(pattern(300, 2), 0, loopback(4, to.port), { sealsCrc: true })
      pair.lay(pattern(300, 2), 0, loopback(4, to.port))
      pair.lay(pattern(3, 2), 0, loopback(4, to.port), { sealsCrc: true })
      from.flush()
      await until(() => to.runs.length === 4, 'four runs')
      assert.equal(
        to.runs.map(({ verdicts }) => [...(verdicts ?? [])]),
        [new Array(10).fill(1), [1], [2], [2]],
      )
      const [first] = to.datagrams() as [Buffer]
      assert.is(first.readUInt32LE(596), addon.crc32c(train.subarray(0, 596)))
      // One bit of one datagram of a train.
      const sealed = Buffer.concat(to.datagrams().slice(0, 10))
      sealed[1300] = (sealed[1300] as number) ^ 4
      pair.lay(sealed, 600, loopback(4, to.port))
      from.flush()
      await until(() => to.runs.length === 5, 'the broken train')
      assert.equal([...(to.runs[4]?.verdicts ?? [])], [1, 1, 2, 1, 1, 1, 1, 1, 1, 1])
    })

    check('descriptors that JavaScript filled are taken first', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      pair.core.receive(pattern(10, 1), 0, loopback(4, 5))
      pair.hub.setBusy(true)
      pair.lay(pattern(10, 2), 0, loopback(4, to.port))
      from.flush()
      await until(() => to.runs.length === 1, 'the datagram')
      assert.ok(pair.prepares >= 1)
    })

    check(
      'a socket closed by its own callback, or by another’s, is told nothing more',
      async (pair) => {
        const sockets = [0, 1, 2, 3].map(() => pair.open())
        const from = pair.open()
        let told = 0
        for (const socket of sockets) {
          socket.onReceived = () => {
            told += 1
            for (const each of sockets) each.socket.close()
          }
        }
        for (const { port } of sockets) pair.lay(pattern(10, 2), 0, loopback(4, port))
        from.flush()
        await until(() => told > 0, 'the first callback')
        pair.lay(pattern(10, 2), 0, loopback(4, from.port))
        from.flush()
        await until(() => from.runs.length === 1, 'another turn')
        assert.is(told, 1)
      },
    )

    check('the hub may be closed from inside a callback', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      let told = 0
      to.onReceived = () => {
        told += 1
        pair.close()
      }
      for (let index = 0; index < 50; index++) {
        pair.lay(pattern(60_000, 2), 1200, loopback(4, to.port))
        from.flush()
      }
      await until(() => told === 1, 'the callback')
      assert.is(addon.flush(1, 1), -1)
    })

    check('what a callback throws is the program’s, and the socket goes on', async (pair) => {
      const [from, to] = [pair.open(), pair.open()]
      const thrown = new Error('of the program')
      let caught: unknown
      process.once('uncaughtException', (error) => {
        caught = error
      })
      to.onReceived = () => {
        to.onReceived = () => {}
        throw thrown
      }
      pair.lay(pattern(10, 2), 0, loopback(4, to.port))
      from.flush()
      await until(() => caught === thrown, 'the exception')
      pair.lay(pattern(10, 2), 0, loopback(4, to.port))
      from.flush()
      await until(() => to.runs.length === 2, 'the next datagram')
    })

    check('ports: taken ones fail, shared ones do not', async (pair) => {
      const first = pair.open({ reusePort: true })
      const fault = faultOf(() => pair.open({}, loopback(4, first.port)))
      assert.is(fault.errno, EADDRINUSE)
      assert.is(fault.syscall, 'bind')
      const second = pair.open({ reusePort: true }, loopback(4, first.port))
      assert.is(second.port, first.port)
    })

    check('buffers are what the system says', (pair) => {
      const small = pair.open({ receiveBufferBytes: 100_000, sendBufferBytes: 50_000 })
      assert.is(small.socket.receiveBufferBytes, 200_000)
      assert.is(small.socket.sendBufferBytes, 100_000)
    })

    check('drops by a full receive buffer are counted', (pair) => {
      const to = pair.open({ receiveBufferBytes: 8_192 })
      const from = pair.open()
      for (let index = 0; index < 100; index++) {
        pair.lay(pattern(1000, 0), 0, loopback(4, to.port))
      }
      from.flush()
      const drops = to.socket.figures()?.drops ?? 0
      assert.ok(drops >= 50 && drops < 100, String(drops))
    })

    check('the deadline rings once, and not when it was taken back', async (pair) => {
      pair.hub.setDeadline(500)
      await until(() => pair.deadlines === 1, 'the deadline')
      pair.hub.setDeadline(3e9)
      pair.hub.setDeadline(0)
      await until(() => pair.deadlines === 2, 'an earlier one')
      pair.hub.setDeadline(1)
      pair.hub.setDeadline(-1)
      const start = performance.now()
      await until(() => performance.now() > start + 5, '5 ms')
      assert.is(pair.deadlines, 2)
    })

    check('looking for answers leaves the event loop its turns, and ends', async (pair) => {
      const [client, server] = [pair.open(), pair.open()]
      pair.hub.setBusyPoll(2_000)
      server.onReceived = () => {
        pair.lay(pattern(64, 1), 0, loopback(4, client.port))
        server.flush()
      }
      let rounds = 0
      let immediates = 0
      client.onReceived = () => {
        // What the program has put off comes before the next datagram.
        assert.is(immediates, rounds)
        rounds += 1
        setImmediate(() => {
          immediates += 1
        })
        pair.lay(pattern(64, 1), 0, loopback(4, server.port))
        if (rounds < 200) client.flush()
      }
      pair.lay(pattern(64, 1), 0, loopback(4, server.port))
      client.flush()
      await until(() => rounds === 200, '200 round trips')
      // The loop still turns for others, and sockets may go while it spins.
      server.socket.close()
      client.socket.close()
    })

    check('jobs: checksums are written and judged, hostile ones are left', (pair) => {
      const { core, hub } = pair
      hub.setBusy(false)
      const jobs = core.u8.length - 65_536
      const verdicts = jobs + 32_768
      const words = core.i32
      const job = (index: number, values: readonly number[]) =>
        words.set(values, (jobs + index * JOB_SIZE) >> 2)
      const data = pattern(1500, 5)
      core.u8.set(data, TX_ARENA)
      job(0, [1, 0, 0, 0, TX_ARENA, 14, TX_ARENA + 14, 1000])
      job(1, [2, 0, 0, 0, TX_ARENA, 14, TX_ARENA + 14, 1000])
      assert.is(hub.runJobs(jobs, 2, verdicts), 2)
      assert.equal([...core.u8.subarray(verdicts, verdicts + 2)], [1, 1])
      const stored = core.bytes.readUInt32LE(TX_ARENA + 1014)
      assert.is(stored, addon.crc32c(data.subarray(0, 1014)))
      core.u8[TX_ARENA + 500] = (core.u8[TX_ARENA + 500] as number) ^ 1
      assert.is(hub.runJobs(jobs + JOB_SIZE, 1, verdicts), 1)
      assert.is(core.u8[verdicts], 2)
      const hostile = [
        [9, 0, 0, 0, TX_ARENA, 1, TX_ARENA, 1],
        [1, 0, 0, 0, TX_ARENA, 1, TX_ARENA + TX_ARENA_SIZE - 4, 1],
        [1, 0, 0, 0, TX_ARENA, 1, 0, 16],
        [1, 0, 0, 0, -1, 1, TX_ARENA, 1],
        [1, 0, 0, 0, TX_ARENA, -1, TX_ARENA, 1],
        [1, 0, 0, 0, TX_ARENA, 1, TX_ARENA, -1],
        [1, 0, 0, 0, TX_ARENA, 1, 2 ** 31 - 1, 2 ** 31 - 1],
      ]
      for (const [index, values] of hostile.entries()) job(index, values)
      core.u8.fill(7, verdicts, verdicts + hostile.length)
      assert.is(hub.runJobs(jobs, hostile.length, verdicts), 0)
      assert.ok(core.u8.subarray(verdicts, verdicts + hostile.length).every((each) => each === 0))
      // Tables out of bounds.
      assert.is(hub.runJobs(jobs + 1, 1, verdicts), 0)
      assert.is(hub.runJobs(core.u8.length - 16, 1, verdicts), 0)
      assert.is(hub.runJobs(jobs, 1, core.u8.length), 0)
      assert.is(hub.runJobs(-32, 1, verdicts), 0)
      assert.is(hub.runJobs(jobs, -1, verdicts), 0)
    })

    check('jobs: AES-128-GCM as the vector has it, and as node:crypto does it', (pair) => {
      const lists = new AesLists(pair)
      // McGrew and Viega, "The Galois/Counter Mode of Operation", test case 4.
      const header = Buffer.from('feedfacedeadbeeffeedfacedeadbeefabaddad2', 'hex')
      const nonce = Buffer.from('cafebabefacedbaddecaf888', 'hex')
      const vector = Buffer.from(nonce)
      vector[0] = (nonce[0] as number) ^ (header[1] as number)
      lists.setKey(0, { key: Buffer.from('feffe9928665731c6d6a8f9467308308', 'hex'), vector })
      const plain = Buffer.from(
        'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
          '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
        'hex',
      )
      assert.equal(lists.run(3, 0, 0, header, plain, Buffer.alloc(16)), 1)
      assert.is(
        lists.payload(60 + 16).toString('hex'),
        '42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e' +
          '21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091' +
          '5bc94fbc3221a5db94fae95ae7121a47',
      )
      for (const [index, size] of [0, 1, 15, 16, 17, 1184, 1456, 9000].entries()) {
        const key = pattern(16, index)
        const iv = pattern(12, index + 100)
        lists.setKey(index, { key, vector: iv })
        const number = 2 ** 40 + index
        const head = pattern(14, index + 50)
        const bytes = pattern(size, index + 7)
        assert.is(lists.run(3, index, number, head, bytes, Buffer.alloc(16)), 1)
        const sealed = lists.payload(size + 16)
        assert.equal(sealed, cryptoSeal(key, iv, number, head, bytes))
        assert.is(
          lists.run(4, index, number, head, sealed.subarray(0, size), sealed.subarray(size)),
          1,
        )
        assert.equal(lists.payload(size), bytes)
      }
    })

    check('jobs: what was changed on the way does not open, and wiped keys go', (pair) => {
      const lists = new AesLists(pair)
      const key = pattern(16, 1)
      const vector = pattern(12, 2)
      const header = pattern(14, 3)
      const sealed = cryptoSeal(key, vector, 77, header, pattern(500, 4))
      const [body, tag] = [sealed.subarray(0, 500), sealed.subarray(500)]
      lists.setKey(0, { key, vector })
      assert.is(lists.run(4, 0, 77, header, body, tag), 1)
      const changed = (bytes: Buffer, at: number) => {
        const copy = Buffer.from(bytes)
        copy[at] = (copy[at] as number) ^ 1
        return copy
      }
      assert.is(lists.run(4, 0, 78, header, body, tag), 2, 'another number')
      assert.is(lists.run(4, 0, 77, changed(header, 1), body, tag), 2, 'another path')
      assert.is(lists.run(4, 0, 77, changed(header, 9), body, tag), 2, 'header')
      assert.is(lists.run(4, 0, 77, header, changed(body, 499), tag), 2, 'payload')
      assert.is(lists.run(4, 0, 77, header, body, changed(tag, 15)), 2, 'tag')
      assert.is(lists.run(4, 0, 77, header, body, tag), 1, 'the key is what it was')
      // The same place with other content.
      lists.setKey(0, { key: changed(key, 0), vector })
      assert.is(lists.run(4, 0, 77, header, body, tag), 2, 'another key')
      lists.setKey(0, { key, vector })
      assert.is(lists.run(4, 0, 77, header, body, tag), 1)
      assert.is(pair.hub.figures()?.heldKeys, 1)
      lists.wipe(0)
      assert.is(lists.run(4, 0, 77, header, body, tag), 0, 'no key')
      for (let turn = 0; turn < 64; turn++) lists.run(2, 0, 0, header, body, tag)
      assert.is(pair.hub.figures()?.heldKeys, 0)
      // Keys out of bounds.
      for (const slot of [-4, 2, pair.core.u8.length - 60]) {
        assert.is(lists.run(3, 0, 1, header, body, tag, slot), 0)
      }
    })

    check('many sockets on one memory', async (pair) => {
      const sockets = Array.from({ length: 200 }, () => pair.open({ receiveBufferBytes: 65_536 }))
      const from = pair.open()
      for (let round = 0; round < 3; round++) {
        for (const [index, { port }] of sockets.entries()) {
          pair.lay(pattern(300, index), 0, loopback(4, port))
        }
        from.flush()
        const all = (socket: TestSocket) => socket.runs.length === round + 1
        await until(() => sockets.every(all), 'one datagram for each')
      }
      for (const [index, { runs }] of sockets.entries()) {
        assert.ok(runs.every(({ bytes }) => bytes.equals(pattern(300, index))))
      }
      const onRing = sockets.filter(({ socket }) => socket.isOnRing).length
      assert.is(onRing, tier === 'uring' ? 8 : 0)
    })
  }

  const faultOf = (action: () => void): SocketFault => {
    try {
      action()
    } catch (error) {
      if (error instanceof SocketFault) return error
    }
    throw new Error('nothing failed')
  }
}

test.run()
