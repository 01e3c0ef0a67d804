import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { OpenTrace, TraceSink } from '../transport/index.ts'

/** Text is kept until there is so much. */
const CHUNK_CHARACTERS = 65_536

/** Files that are open; the program may end before its connections do. */
const open = new Set<TraceFile>()

/** What PUNCHLINE_QLOG asks for: a file for each connection, in that folder. */
export function traceFiles(folder = process.env['PUNCHLINE_QLOG']): OpenTrace | undefined {
  if (!folder) return undefined
  mkdirSync(folder, { recursive: true })
  return ({ id, side }) => new TraceFile(join(folder, `${id}_${side}.sqlog`))
}

class TraceFile implements TraceSink {
  private readonly file: number
  private pending = ''

  constructor(path: string) {
    this.file = openSync(path, 'w')
    if (open.size === 0) process.on('exit', endAll)
    open.add(this)
  }

  write(text: string): void {
    this.pending += text
    if (this.pending.length >= CHUNK_CHARACTERS) this.flush()
  }

  end(): void {
    this.flush()
    closeSync(this.file)
    open.delete(this)
    if (open.size === 0) process.off('exit', endAll)
  }

  private flush(): void {
    writeSync(this.file, this.pending)
    this.pending = ''
  }
}

function endAll(): void {
  for (const file of [...open]) file.end()
}
