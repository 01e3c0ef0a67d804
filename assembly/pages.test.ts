import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { usePlainMemory } from '../bindings/plain.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import { INSTANCE, PAGE_TABLE } from './layout.ts'
import {
  blockSize,
  give,
  isRetained,
  OWNER_PARENT,
  OWNER_QUOTA,
  OWNER_USED,
  PAGE_SIZE,
  pagesCount,
  pagesFree,
  pagesInit,
  take,
} from './pages.ts'
import { r32, w32 } from './prelude.ts'

const MEMORY_BYTES = 6 * 1024 * 1024
/** Anywhere below the pages: tests use nothing else there. */
const PARENT = INSTANCE + 2048
const CHILD = PARENT + 64
const OTHER = PARENT + 128

const memory = new ArrayBuffer(MEMORY_BYTES)
const bytes = new Uint8Array(memory)

interface Taken {
  readonly owner: number
  readonly p: number
  readonly size: number
  readonly mark: number
}

/** Fresh pages; two owners below one parent. Quotas are bytes. */
function setUp(parentQuota = MEMORY_BYTES, childQuota = MEMORY_BYTES): void {
  bytes.fill(0)
  usePlainMemory(memory, { hasAssertions: true })
  pagesInit(MEMORY_BYTES)
  w32(PARENT + OWNER_QUOTA, parentQuota)
  for (const child of [CHILD, OTHER]) {
    w32(child + OWNER_PARENT, PARENT)
    w32(child + OWNER_QUOTA, childQuota)
  }
}

/** Takes and fills all of what was charged for, so that an overlap shows when it is given back. */
function takeMarked(owner: number, size: number, mark: number): Taken | undefined {
  const p = take(owner, size)
  if (p === 0) return undefined
  bytes.fill(mark, p, p + blockSize(size))
  return { owner, p, size, mark }
}

function giveMarked({ owner, p, size, mark }: Taken): void {
  const end = p + blockSize(size)
  let at = p
  while (at < end && bytes[at] === mark) at += 1
  assert.is(at, end, `${size} bytes at ${p} were overwritten at +${at - p}`)
  give(owner, p, size)
}

const used = (owner: number) => r32(owner + OWNER_USED)
/** One page of each class of blocks is kept. */
const KEPT_PAGES_MAX = 7

test('the pages and their table fill the memory and do not overlap', () => {
  for (const size of [4 << 20, 5_000_000, 6 << 20]) {
    setUp()
    pagesInit(size)
    const first = takeMarked(PARENT, PAGE_SIZE, 1)
    assert.ok(first)
    const count = pagesCount()
    assert.ok(first.p >= PAGE_TABLE + count * 16)
    assert.is(pagesFree(), count - 1)
    assert.ok(PAGE_TABLE + count * (PAGE_SIZE + 16) + 2 * PAGE_SIZE > size, 'wastes no page')
    const taken = Array.from({ length: count - 1 }, () => take(PARENT, PAGE_SIZE))
    for (const p of taken) assert.ok(p > 0 && p % PAGE_SIZE === 0 && p + PAGE_SIZE <= size)
    assert.is(new Set(taken).size, count - 1)
    assert.is(take(PARENT, PAGE_SIZE), 0)
    assert.is(take(PARENT, 32), 0)
    assert.is(pagesFree(), 0)
  }
})

test('what is charged is the size of the block or of the run of pages', () => {
  const expected: readonly (readonly [size: number, charge: number])[] = [
    [1, 32],
    [32, 32],
    [33, 64],
    [1025, 2048],
    [2048, 2048],
    [2049, 4096],
    [4096, 4096],
    [4097, 8192],
    [12_289, 16_384],
    [1_000_000, 1 << 20],
  ]
  setUp()
  for (const [size, charge] of expected) {
    assert.is(blockSize(size), charge)
    const p = take(CHILD, size)
    assert.ok(p > 0)
    assert.is(used(CHILD), charge)
    assert.is(used(PARENT), charge)
    assert.is(used(OTHER), 0)
    give(CHILD, p, size)
    assert.is(used(CHILD), 0)
    assert.is(used(PARENT), 0)
  }
})

test('a quota is a limit to the byte, of the owner and of the one above', () => {
  setUp(10_000, 8192)
  assert.ok(take(CHILD, 4096))
  assert.ok(take(CHILD, 2048))
  assert.is(take(CHILD, 4096), 0, 'own quota')
  assert.ok(take(CHILD, 2048))
  assert.is(take(CHILD, 1), 0)
  assert.is(take(OTHER, 2048), 0, 'quota of the parent')
  assert.ok(take(OTHER, 1024))
  assert.is(used(PARENT), 9216)
  assert.is(used(OTHER), 1024)
})

for (const seed of [1, 2, 3, 4]) {
  test(`random use never overlaps, is charged right and all comes back (seed ${seed})`, () => {
    const random = new SeededRandom(seed)
    setUp(2 << 20, 1 << 20)
    const before = pagesFree()
    const held: Taken[] = []
    const charged = new Map([
      [CHILD, 0],
      [OTHER, 0],
    ])
    let refused = 0
    for (let step = 0; step < 20_000; step += 1) {
      // Phases of growth and of shrinking, so that both ends are reached.
      const isGrowing = (step >> 11) % 2 === 0
      if (held.length === 0 || random.chance(isGrowing ? 0.6 : 0.4)) {
        const owner = random.pick([CHILD, OTHER])
        const size = random.chance(0.8) ? random.between(1, 4096) : random.between(4097, 200_000)
        const charge = blockSize(size)
        const total = (charged.get(CHILD) ?? 0) + (charged.get(OTHER) ?? 0)
        const isWithin = (charged.get(owner) ?? 0) + charge <= 1 << 20 && total + charge <= 2 << 20
        const taken = takeMarked(owner, size, step & 0xff)
        if (taken === undefined) {
          refused += 1
          // Beyond the quota always, below it only large runs may find no place.
          assert.ok(!isWithin || size > PAGE_SIZE, `${size} bytes refused within the quota`)
        } else {
          assert.ok(isWithin, 'given beyond the quota')
          charged.set(owner, (charged.get(owner) ?? 0) + charge)
          held.push(taken)
        }
      } else {
        const index = random.below(held.length)
        const taken = held[index] as Taken
        held[index] = held[held.length - 1] as Taken
        held.pop()
        giveMarked(taken)
        charged.set(taken.owner, (charged.get(taken.owner) ?? 0) - blockSize(taken.size))
      }
      assert.is(used(CHILD), charged.get(CHILD))
      assert.is(used(OTHER), charged.get(OTHER))
    }
    assert.ok(refused > 0, 'the quota was never reached')
    for (const taken of held) giveMarked(taken)
    for (const owner of [CHILD, OTHER, PARENT]) assert.is(used(owner), 0)
    assert.ok(before - pagesFree() <= KEPT_PAGES_MAX, `${before - pagesFree()} pages are missing`)
  })
}

test('freed pages form large runs again, also those that are kept hot', () => {
  setUp()
  const count = pagesCount()
  const largest = 1 << Math.floor(Math.log2(count))
  for (let round = 0; round < 3; round += 1) {
    const pages = Array.from({ length: count }, () => take(PARENT, PAGE_SIZE))
    assert.not.ok(pages.includes(0))
    // The hot pages are spread over all of the memory and stand in the way of every large run.
    const random = new SeededRandom(round)
    while (pages.length > 0) {
      const [p = 0] = pages.splice(random.below(pages.length), 1)
      give(PARENT, p, PAGE_SIZE)
    }
    assert.is(pagesFree(), count)
    const run = takeMarked(PARENT, largest * PAGE_SIZE, 7)
    assert.ok(run, `no run of ${largest} pages`)
    giveMarked(run)
    assert.is(pagesFree(), count)
  }
})

test('handles are checked against the pages', () => {
  setUp()
  const p = take(PARENT, 64)
  assert.is(isRetained(p), true)
  for (const bad of [0, -32, p + 1, p + 16, PAGE_TABLE, MEMORY_BYTES, 0x7fffffe0, -0x80000000]) {
    assert.is(isRetained(bad), false, String(bad))
  }
})

test('debug builds notice what was never taken, or is given back as something else', () => {
  setUp()
  const p = take(CHILD, 64)
  assert.throws(() => give(CHILD, p, 128), /assertion/)
  assert.throws(() => give(CHILD, p + 32, 64), /assertion/)
  assert.throws(() => give(CHILD, p, PAGE_SIZE), /assertion/)
  assert.throws(() => give(OTHER, p, 64), /assertion/)
  give(CHILD, p, 64)
  assert.throws(() => give(CHILD, p, 64), /assertion/)
})

test.run()
