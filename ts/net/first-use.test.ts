import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { defineOnFirstUse } from './first-use.ts'

interface Target {
  count: number
  add(size: number): number
  clear(): void
}

function makeTarget() {
  const made: object[] = []
  const methods = {
    add(this: Target, size: number) {
      this.count += size
      return this.count
    },
    clear(this: Target) {
      this.count = 0
    },
  }
  const target = { count: 0 } as Target
  defineOnFirstUse(target, ['add', 'clear'], () => {
    made.push(methods)
    return methods
  })
  return { target, methods, made }
}

test('makes the methods with the first call, and takes their place', () => {
  const { target, methods, made } = makeTarget()
  assert.equal([Object.keys(target), target.add.name], [['count', 'add', 'clear'], 'add'])
  assert.is(made.length, 0)
  const standIn = target.add
  assert.is(target.add(2), 2)
  assert.equal([target.add, target.clear], [methods.add, methods.clear])
  // Who has kept the stand-in calls the same.
  assert.is(standIn.call(target, 3), 5)
  assert.is(made.length, 1)
})

test('leaves alone what somebody has put in the place of a stand-in', () => {
  const { target, methods } = makeTarget()
  const { add } = target
  const wrapper = (size: number): number => add.call(target, size * 10)
  target.add = wrapper
  assert.is(target.add(1), 10)
  assert.is(target.add, wrapper)
  assert.is(target.clear, methods.clear)
})

test.run()
