import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { EventHash, FATE, FATES } from './event-log.ts'

function hashOf(write: (hash: EventHash) => void): string {
  const hash = new EventHash()
  write(hash)
  return hash.toString()
}

test('is 16 hexadecimal digits and starts alike', () => {
  assert.match(new EventHash().toString(), /^[0-9a-f]{16}$/)
  assert.is(new EventHash().toString(), new EventHash().toString())
})

test('every bit of every word counts, and so does the order', () => {
  const words = [1, 2, 3, 4, 5, 6, 7]
  const seen = new Set([hashOf((hash) => hash.foldWords(Int32Array.from(words), 7))])
  for (let index = 0; index < words.length; index++) {
    for (let bit = 0; bit < 32; bit++) {
      const changed = Int32Array.from(words)
      changed[index] = (changed[index] as number) ^ (1 << bit)
      seen.add(hashOf((hash) => hash.foldWords(changed, 7)))
    }
  }
  seen.add(hashOf((hash) => hash.foldWords(Int32Array.from([2, 1, 3, 4, 5, 6, 7]), 7)))
  seen.add(hashOf((hash) => hash.foldWords(Int32Array.from(words), 6)))
  assert.is(seen.size, 1 + 7 * 32 + 2)
})

test('a changed bit changes about half of all bits, whichever way it is folded in', () => {
  const ways: ((hash: EventHash, word: number) => void)[] = [
    (hash, word) => hash.foldWord(word),
    (hash, word) => hash.fold(word),
    (hash, word) => hash.foldWords(Int32Array.of(word, word), 2),
    (hash, word) => hash.foldText(String.fromCharCode(word & 0xffff)),
  ]
  for (const way of ways) {
    let changed = 0
    for (let bit = 0; bit < 16; bit++) {
      const [a, b] = [0, 1 << bit].map((word) =>
        hashOf((hash) => {
          way(hash, word)
          for (let count = 0; count < 4; count++) hash.foldWord(count)
        }),
      ) as [string, string]
      changed += countBits(BigInt(`0x${a}`) ^ BigInt(`0x${b}`))
    }
    assert.ok(Math.abs(changed / (16 * 64) - 0.5) < 0.05, `${changed} of ${16 * 64} bits`)
  }
})

function countBits(value: bigint): number {
  return value.toString(2).replaceAll('0', '').length
}

test('numbers beyond 32 bits count in full', () => {
  const values = [0, 1, -1, 2 ** 32, 2 ** 32 + 1, 2 ** 33, 2 ** 40 + 1, 2 ** 53 - 1]
  const seen = new Set(values.map((value) => hashOf((hash) => hash.fold(value))))
  assert.is(seen.size, values.length)
})

test('a difference is not folded away by what follows', () => {
  const follow = (first: number) =>
    hashOf((hash) => {
      hash.foldWord(first)
      for (let count = 0; count < 10_000; count++) hash.fold(count)
    })
  assert.is.not(follow(0), follow(0x80000000 | 0))
})

test('texts are told apart from their concatenation', () => {
  const pair = (a: string, b: string) =>
    hashOf((hash) => {
      hash.foldText(a)
      hash.foldText(b)
    })
  assert.is.not(pair('ab', 'c'), pair('a', 'bc'))
})

test('each fate has its index', () => {
  for (const [index, fate] of FATES.entries()) assert.is(FATE[fate], index)
})

test.run()
