// slow: twelve cells of a minute each
/**
 * The goodput table says what the transport does: twelve cells of it here, all of them with
 * PUNCHLINE_LONG=1. Where a change was meant, `npm run tables` writes the new figures down.
 */
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cellName, GOODPUT_CELLS, type GoodputCell, measureGoodput } from './lib/goodput.ts'
import { readTable } from './lib/table.ts'

const NAMED = [
  'bbr 1 ms 0 % 5 Mbit/s',
  'bbr 10 ms 0.1 % 20 Mbit/s',
  'bbr 50 ms 0 % 20 Mbit/s',
  'bbr 50 ms 5 % 5 Mbit/s',
  'bbr 150 ms 1 % 5 Mbit/s',
  'bbr 150 ms 5 % 20 Mbit/s',
  'bbr 600 ms 0.01 % 5 Mbit/s',
  'bbr 600 ms 5 % 5 Mbit/s',
  'cubic 1 ms 5 % 5 Mbit/s',
  'cubic 10 ms 0.1 % 5 Mbit/s',
  'cubic 50 ms 1 % 20 Mbit/s',
  'cubic 150 ms 0 % 5 Mbit/s',
]

/** Without the table's alignment. */
const plainName = (cell: GoodputCell) => cellName(cell).replace(/ +/g, ' ')

const isLong = process.env['PUNCHLINE_LONG'] === '1'
const cells = GOODPUT_CELLS.filter((cell) => isLong || NAMED.includes(plainName(cell)))

test('the named cells are cells of the table', () => {
  const names = GOODPUT_CELLS.map(plainName)
  assert.equal(
    NAMED.filter((name) => !names.includes(name)),
    [],
  )
})

test('bbr has its share in every cell of the table', () => {
  const table = readTable()
  for (const cell of GOODPUT_CELLS) {
    const name = cellName(cell)
    const result = table.get(name)
    if (isLong) assert.ok(result, `${name} is missing: npm run tables`)
    if (result === undefined || cell.congestion !== 'bbr') continue
    const share = Number(/([\d.]+) %/.exec(result)?.[1])
    assert.ok(share >= (cell.lossPercent > 1 ? 85 : 90), `${name}: ${share} %`)
  }
})

for (const cell of cells) {
  const name = cellName(cell)
  test(`${name} is as the table says`, () => {
    assert.is(measureGoodput(cell), readTable().get(name))
  })
}

test.run()
