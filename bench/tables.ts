/**
 * `npm run tables [-- WORD …]`: measures the cells of `bench/tables/goodput.txt` again and writes
 * them down: all of them, or those whose names contain every word, such as `bbr` or `50 ms`.
 *
 * Everything is in virtual time, so the figures are the same on every machine; `npm test` compares
 * twelve cells, `npm run test:long` all.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { cellName, GOODPUT_CELLS, type GoodputCell, measureGoodput } from './lib/goodput.ts'
import { readTable, writeTable } from './lib/table.ts'

if (process.send !== undefined) work()
else await measureAll(process.argv.slice(2))

/** A worker measures one cell after the other. */
function work(): void {
  process.on('message', (index: number) => {
    process.send?.(measureGoodput(GOODPUT_CELLS[index] as GoodputCell))
  })
}

async function measureAll(words: readonly string[]): Promise<void> {
  const waiting = [...GOODPUT_CELLS.entries()].filter(([, cell]) =>
    words.every((word) => ` ${cellName(cell)}`.includes(` ${word}`)),
  )
  // Long ones first: the last one to finish is a short one.
  waiting.sort(([, a], [, b]) => b.rateMbits - a.rateMbits)
  console.log(`${waiting.length} of ${GOODPUT_CELLS.length} cells`)
  const workers = Array.from({ length: Math.min(availableParallelism(), waiting.length) }, () =>
    serve(fork(fileURLToPath(import.meta.url)), () => waiting.shift()?.[0]),
  )
  await Promise.all(workers)
}

/** Gives a worker cells until none is left. Each result is written at once. */
function serve(worker: ChildProcess, next: () => number | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    let current = next()
    worker.on('message', (result: string) => {
      const name = cellName(GOODPUT_CELLS[current as number] as GoodputCell)
      console.log(`${name}  ${result}`)
      writeTable(readTable().set(name, result))
      current = next()
      if (current === undefined) worker.disconnect()
      else worker.send(current)
    })
    worker.on('exit', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`cell ${current} failed`))
    })
    if (current === undefined) worker.disconnect()
    else worker.send(current)
  })
}
