import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { usePlainMemory } from '../bindings/plain.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import {
  BUFFER_PAGES,
  BUFFER_SIZE,
  bufferCopyIn,
  bufferCopyOut,
  bufferEmpty,
  bufferEnsure,
  bufferExtent,
  bufferLocate,
  bufferRelease,
  pageRoom,
  withinPage,
} from './buffer.ts'
import { INSTANCE, SCRATCH } from './layout.ts'
import { OWNER_QUOTA, OWNER_USED, PAGE_SIZE, pagesInit } from './pages.ts'
import { fill, r32, w32 } from './prelude.ts'

const MEMORY_BYTES = 8 * 1024 * 1024
const OWNER = INSTANCE + 2048
const BUFFER = OWNER + 64
const OUT = SCRATCH + 2048
/** Bytes of a small block. */
const SMALL = 512

const memory = new ArrayBuffer(MEMORY_BYTES)
const bytes = new Uint8Array(memory)

function setUp(quotaBytes = MEMORY_BYTES): void {
  usePlainMemory(memory, { hasAssertions: true })
  pagesInit(MEMORY_BYTES)
  fill(OWNER, 64)
  w32(OWNER + OWNER_QUOTA, quotaBytes)
  fill(BUFFER, BUFFER_SIZE)
}

const used = () => r32(OWNER + OWNER_USED)

/** What a stream holds at `offset`: no two pages alike. */
const byteAt = (offset: number) => (offset ^ Math.floor(offset / 251) ^ (offset / 65_536)) & 0xff

function put(offset: number, size: number): boolean {
  for (let index = 0; index < size; index += 1) bytes[SCRATCH + index] = byteAt(offset + index)
  return Boolean(bufferCopyIn(OWNER, BUFFER, offset, SCRATCH, size))
}

function checkHeld(offset: number, size: number): void {
  bufferCopyOut(BUFFER, offset, OUT, size)
  for (let index = 0; index < size; index += 1) {
    if (bytes[OUT + index] !== byteAt(offset + index)) {
      assert.unreachable(`byte ${offset + index} of [${offset}, +${size}) is wrong`)
    }
  }
}

for (const base of [0, 4095, 2 ** 32 - 5000, 2 ** 53 - 1 - 40_000_000]) {
  test(`keeps what was stored in any order from ${base} on, until it is released`, () => {
    setUp()
    bufferRelease(OWNER, BUFFER, base)
    const random = new SeededRandom(base % 1000)
    let released = base
    /** Stored parts, not below `released`. */
    let parts: { start: number; end: number }[] = []
    for (let step = 0; step < 4_000; step += 1) {
      const size = random.between(1, 1500)
      const start = released + random.below(random.chance(0.05) ? 400_000 : 40_000)
      if (random.chance(0.6)) {
        assert.ok(put(start, size))
        parts.push({ start, end: start + size })
      } else if (random.chance(0.3)) {
        released += random.below(20_000)
        bufferRelease(OWNER, BUFFER, released)
        parts = parts.filter(({ end }) => end > released)
      } else if (random.chance(0.03)) {
        bufferEmpty(OWNER, BUFFER)
        assert.is(used(), 0)
        assert.is(bufferLocate(BUFFER, released), 0)
        parts = []
      }
      const part = parts[random.below(Math.max(parts.length, 1))]
      if (part === undefined) continue
      const from = Math.max(part.start, released)
      checkHeld(from, part.end - from)
    }
    const pages = r32(BUFFER + BUFFER_PAGES)
    assert.ok(used() >= pages * PAGE_SIZE)
    bufferRelease(OWNER, BUFFER, released + 500_000)
    assert.is(r32(BUFFER + BUFFER_PAGES), 0)
    bufferEmpty(OWNER, BUFFER)
    assert.is(used(), 0)
  })
}

test('releases whole pages only, and none early', () => {
  setUp()
  assert.ok(put(0, 1500) && put(4096, 1500) && put(8000, 1000))
  assert.is(r32(BUFFER + BUFFER_PAGES), 3)
  bufferRelease(OWNER, BUFFER, 4095)
  assert.is(r32(BUFFER + BUFFER_PAGES), 3)
  bufferRelease(OWNER, BUFFER, 4096)
  assert.is(r32(BUFFER + BUFFER_PAGES), 2)
  checkHeld(4096, 1500)
  bufferRelease(OWNER, BUFFER, 8999)
  assert.is(r32(BUFFER + BUFFER_PAGES), 1)
  checkHeld(8192, 808)
  assert.is(bufferLocate(BUFFER, 4096), 0)
  assert.is(bufferLocate(BUFFER, 0), 0)
  assert.is(bufferLocate(BUFFER, 20_000), 0)
})

test('a page goes on where it ends', () => {
  assert.is(withinPage(0), 0)
  assert.is(withinPage(4097), 1)
  assert.is(withinPage(2 ** 53 - 1), 4095)
  assert.is(pageRoom(0), 4096)
  assert.is(pageRoom(4095), 1)
  assert.is(pageRoom(2 ** 40), 4096)
})

test('without memory nothing is stored, and what was stays readable', () => {
  setUp(5 * PAGE_SIZE)
  let stored = 0
  while (put(stored, 1024)) stored += 1024
  assert.is(stored, 4 * PAGE_SIZE, 'the directory and four pages')
  checkHeld(0, 1500)
  checkHeld(stored - 1500, 1500)
  // A piece that needs two pages where one is left is refused as a whole.
  bufferRelease(OWNER, BUFFER, 4096)
  assert.not.ok(put(stored + 3000, 2000))
  assert.ok(put(stored, 1000))
  checkHeld(4096, 1500)
  bufferEmpty(OWNER, BUFFER)
  assert.is(used(), 0)
})

test('where there is plenty, pages lie in one piece, and go back one by one', () => {
  setUp()
  for (let at = 0; at < 600_000; at += 1500) assert.ok(put(at, 1500))
  let pieces = 0
  for (let at = 0; at < 600_000; pieces += 1) {
    const size = bufferExtent(BUFFER, at, Math.min(65_536, 600_000 - at))
    const from = bufferLocate(BUFFER, at)
    assert.is(bytes[from + size - 1], byteAt(at + size - 1))
    at += size
  }
  assert.ok(pieces <= 20, `${pieces} pieces of 147 pages`)
  assert.ok(used() < 600_000 * 1.5)
  checkHeld(590_000, 1500)
  bufferRelease(OWNER, BUFFER, 300_000)
  checkHeld(300_000, 1500)
  bufferEmpty(OWNER, BUFFER)
  assert.is(used(), 0)
})

test('near the quota pages are taken one by one, to the last', () => {
  setUp(160 * PAGE_SIZE)
  let stored = 0
  while (put(stored, 1024)) stored += 1024
  // The directory for 256 pages is one page; growing it took the old one's 512 bytes at the same time.
  assert.ok(stored >= 155 * PAGE_SIZE, `${stored / PAGE_SIZE} pages`)
  checkHeld(stored - 1500, 1500)
})

for (const base of [0, 1000, 4096 - 300, 4095, 2 ** 40 + 7]) {
  test(`a few bytes at ${base} are no page, and move to one when more come`, () => {
    setUp()
    bufferRelease(OWNER, BUFFER, base)
    const room = Math.min(300, pageRoom(base))
    assert.ok(put(base, room - 1) || room === 1)
    assert.ok(put(base + room - 1, 1))
    assert.is(used(), SMALL)
    checkHeld(base, room)
    assert.is(bufferExtent(BUFFER, base, room), room)
    assert.ok(put(base + room, 2000))
    assert.ok(used() > PAGE_SIZE)
    checkHeld(base, room + 2000)
    bufferEmpty(OWNER, BUFFER)
    assert.is(used(), 0)
    // The place is kept: what comes now begins where the page did.
    assert.ok(put(base, room))
    assert.is(used(), SMALL)
    bufferRelease(OWNER, BUFFER, base + 4096)
    assert.is(used(), 0)
    assert.is(bufferLocate(BUFFER, base), 0)
  })
}

test('a small block knows its bounds, and what lies before it moves it to a page', () => {
  setUp()
  assert.ok(put(1000, 100))
  assert.is(bufferLocate(BUFFER, 999), 0)
  assert.is(bufferLocate(BUFFER, 1000 + SMALL), 0)
  assert.is(bufferLocate(BUFFER, 4096 + 1000), 0)
  assert.is(bufferExtent(BUFFER, 1099, 5000), SMALL - 99)
  bufferRelease(OWNER, BUFFER, 1099)
  checkHeld(1000, 100)
  assert.ok(put(200, 800))
  checkHeld(200, 900)
  bufferEmpty(OWNER, BUFFER)
  // What is not of the first page, or long, begins with pages.
  for (const [at, size] of [
    [4096, 1],
    [0, SMALL + 1],
  ] as const) {
    assert.ok(put(at, size))
    assert.ok(used() > PAGE_SIZE)
    bufferEmpty(OWNER, BUFFER)
  }
  assert.is(used(), 0)
})

test('a small block stays as it is when there is no page to move it to', () => {
  setUp(PAGE_SIZE + SMALL)
  assert.ok(put(700, 300))
  assert.not.ok(put(1000, 1000), 'a page, but no directory')
  assert.is(used(), SMALL)
  checkHeld(700, 300)
  assert.ok(put(1000, 200))
  w32(OWNER + OWNER_QUOTA, PAGE_SIZE)
  assert.not.ok(put(1200, 1000), 'a directory, but no page')
  assert.is(used(), SMALL)
  checkHeld(700, 500)
  bufferEmpty(OWNER, BUFFER)
  assert.is(used(), 0)
})

test('an offset beyond what a directory can hold is refused', () => {
  setUp()
  assert.is(bufferEnsure(OWNER, BUFFER, 2 ** 30, 1), 0)
  assert.is(bufferEnsure(OWNER, BUFFER, 2 ** 52, 1), 0)
  assert.is(used(), 0)
  // The directory for the last page takes 1 MiB.
  assert.ok(bufferEnsure(OWNER, BUFFER, 2 ** 30 - 1, 1) > 0)
  bufferEmpty(OWNER, BUFFER)
  assert.is(used(), 0)
})

test.run()
