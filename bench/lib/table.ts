/** The goodput table as text: a heading, then a line for each cell. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { cellName, GOODPUT_CELLS } from './goodput.ts'

const FILE = new URL('../tables/goodput.txt', import.meta.url)

const HEADING = `\
Goodput of one connection over one link, in virtual time. Written by "npm run tables"; compared by
the tests, so a change of these figures is a change somebody meant.

Loss is independent and strikes both directions; the queue holds one path volume (rate x RTT), at
least 32 packets of 1,200 B + 28 B; memoryBytes of each side: 32 path volumes, rounded up to a power
of two, 32 MiB ... 1 GiB. User bytes over the simulated seconds 20-60 (30-120 at 600 ms), and their
share of rate x 1,172/1,228 x (1 - loss); of all packets sent: dropped by the queue, sent again;
packets that were taken for lost and were only late. What was held back when the window of time
begins arrives in it: so a share may be slightly above 100 %.

controller RTT    loss        rate         goodput   share    drops    again    late
`

const NAME_LENGTH = cellName({
  congestion: 'bbr',
  rttMs: 1,
  lossPercent: 0,
  rateMbits: 5,
}).length

/** Reads the stored results by the names of their cells. */
export function readTable(): Map<string, string> {
  const known = new Set(GOODPUT_CELLS.map(cellName))
  const table = new Map<string, string>()
  for (const line of readFileSync(FILE, 'utf8').split('\n')) {
    const name = line.slice(0, NAME_LENGTH)
    if (known.has(name)) table.set(name, line.slice(NAME_LENGTH + 2))
  }
  return table
}

export function writeTable(table: ReadonlyMap<string, string>): void {
  const lines = GOODPUT_CELLS.map(cellName).flatMap((name) => {
    const result = table.get(name)
    return result === undefined ? [] : [`${name}  ${result}\n`]
  })
  // Whoever reads meanwhile finds the old file or the new one.
  const next = new URL('goodput.txt.next', FILE)
  writeFileSync(next, HEADING + lines.join(''))
  renameSync(next, FILE)
}
