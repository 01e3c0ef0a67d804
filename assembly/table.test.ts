import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { usePlainMemory } from '../bindings/plain.ts'
import { SeededRandom } from '../ts/sim/random.ts'
import { INSTANCE } from './layout.ts'
import { OWNER_QUOTA, OWNER_USED, pagesInit } from './pages.ts'
import { fill, r32, w32 } from './prelude.ts'
import {
  TABLE_COUNT,
  TABLE_SIZE,
  tableAdd,
  tableFind,
  tableFree,
  tableInit,
  tableRemove,
} from './table.ts'

const MEMORY_BYTES = 8 * 1024 * 1024
const OWNER = INSTANCE + 2048
const TABLE = OWNER + 64

const memory = new ArrayBuffer(MEMORY_BYTES)

function setUp(quotaBytes = MEMORY_BYTES, seed = 77): void {
  usePlainMemory(memory, { hasAssertions: true })
  pagesInit(MEMORY_BYTES)
  fill(OWNER, 64)
  w32(OWNER + OWNER_QUOTA, quotaBytes)
  fill(TABLE, TABLE_SIZE)
  tableInit(TABLE, seed)
}

type Key = readonly [low: number, high: number]
const nameOf = ([low, high]: Key) => `${low}:${high}`

/** Few keys for small tables (long clusters), many for ones that grow. */
for (const keyCount of [8, 40, 3000]) {
  test(`equals a map over ${keyCount} keys`, () => {
    setUp()
    const random = new SeededRandom(keyCount)
    const keys: Key[] = Array.from({ length: keyCount }, (_, index) =>
      // Half of them as streams have them: a pointer and small even numbers.
      index % 2 === 0 ? [random.u32() | 0, random.u32() | 0] : [0x260000, index - 1],
    )
    const map = new Map<string, number>()
    for (let step = 0; step < 40_000; step += 1) {
      const key = random.pick(keys)
      const isGrowing = (step >> 12) % 2 === 0
      if (random.chance(isGrowing ? 0.7 : 0.3)) {
        const value = random.below(0x7fffffff) + 1
        const isNew = !map.has(nameOf(key))
        assert.is(Boolean(tableAdd(OWNER, TABLE, key[0], key[1], value)), isNew)
        if (isNew) map.set(nameOf(key), value)
      } else {
        tableRemove(OWNER, TABLE, key[0], key[1])
        map.delete(nameOf(key))
      }
      assert.is(r32(TABLE + TABLE_COUNT), map.size)
      const probe = random.pick(keys)
      assert.is(tableFind(TABLE, probe[0], probe[1]), map.get(nameOf(probe)) ?? 0)
      if (step % 500 === 0) {
        for (const each of keys) {
          assert.is(tableFind(TABLE, each[0], each[1]), map.get(nameOf(each)) ?? 0)
        }
      }
    }
    for (const key of keys) tableRemove(OWNER, TABLE, key[0], key[1])
    assert.is(r32(TABLE + TABLE_COUNT), 0)
    assert.is(r32(OWNER + OWNER_USED), 0, 'an empty table keeps no memory')
  })
}

test('keys of one slot are found, also after some of them are gone', () => {
  // The hash keeps its secret, so keys of one home slot are found by trying: in a table that is
  // empty but for one key, a key that belongs to the same slot goes into the next one.
  const colliding: Key[] = [[1, 1]]
  for (let low = 2; colliding.length < 12; low += 1) {
    setUp()
    tableAdd(OWNER, TABLE, 1, 1, 5)
    const slots = r32(TABLE)
    const home = Array.from({ length: 64 }, (_, index) => index).find(
      (index) => r32(slots + index * 16 + 8) === 5,
    ) as number
    tableAdd(OWNER, TABLE, low, 1, 6)
    if (r32(slots + ((home + 1) % 64) * 16 + 8) === 6) colliding.push([low, 1])
  }
  const random = new SeededRandom(1)
  for (let round = 0; round < 200; round += 1) {
    setUp()
    const held = new Map<string, number>()
    for (let step = 0; step < 60; step += 1) {
      const key = random.pick(colliding)
      if (random.chance(0.5)) {
        if (tableAdd(OWNER, TABLE, key[0], key[1], step + 1)) held.set(nameOf(key), step + 1)
      } else {
        tableRemove(OWNER, TABLE, key[0], key[1])
        held.delete(nameOf(key))
      }
      for (const each of colliding) {
        assert.is(tableFind(TABLE, each[0], each[1]), held.get(nameOf(each)) ?? 0)
      }
    }
  }
})

test('a table that had many entries gives their memory back', () => {
  setUp()
  for (let key = 0; key < 20_000; key += 1) assert.ok(tableAdd(OWNER, TABLE, key, 3, key + 1))
  const most = r32(OWNER + OWNER_USED)
  for (let key = 100; key < 20_000; key += 1) tableRemove(OWNER, TABLE, key, 3)
  assert.ok(r32(OWNER + OWNER_USED) * 16 <= most, `${r32(OWNER + OWNER_USED)} of ${most}`)
  for (let key = 0; key < 100; key += 1) assert.is(tableFind(TABLE, key, 3), key + 1)
  tableFree(OWNER, TABLE)
  assert.is(r32(OWNER + OWNER_USED), 0)
  assert.is(tableFind(TABLE, 1, 3), 0)
})

test('without memory to grow nothing is added and nothing is lost', () => {
  setUp(1024)
  for (let key = 0; key < 32; key += 1) assert.ok(tableAdd(OWNER, TABLE, key, 0, key + 1))
  for (let key = 32; key < 40; key += 1) assert.not.ok(tableAdd(OWNER, TABLE, key, 0, key + 1))
  for (let key = 0; key < 40; key += 1) {
    assert.is(tableFind(TABLE, key, 0), key < 32 ? key + 1 : 0)
  }
  tableRemove(OWNER, TABLE, 3, 0)
  assert.ok(tableAdd(OWNER, TABLE, 39, 0, 40))
})

test.run()
