// slow: starts processes that import the built package
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { measureImports } from './import.ts'

test('imports and requires are measured in processes of their own', () => {
  const results = measureImports(1)
  assert.equal(Object.keys(results), ['import.mjs', 'require.cjs'])
  for (const times of Object.values(results)) {
    assert.equal(Object.keys(times), ['node:http', 'punchline/net'])
    for (const { median } of Object.values(times)) assert.ok(median > 0)
  }
})

test.run()
