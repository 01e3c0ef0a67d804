#!/usr/bin/env node
/**
 * `punchline COMMAND`: exit code 0 for success, 1 when what was asked for is not so, 2 when it was
 * not understood.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { doctor } from './doctor.ts'
import { plot } from './plot.ts'
import { readQlog } from './qlog-series.ts'

const USAGE = `usage: punchline COMMAND

  doctor [--json]   what this machine offers, and what keeps it from being faster
  trace plot FILE   draws a trace that PUNCHLINE_QLOG=FOLDER left: SVG to stdout`

async function run(): Promise<number> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { json: { type: 'boolean', default: false }, help: { type: 'boolean' } },
  })
  if (values.help === true) {
    console.log(USAGE)
    return 0
  }
  const [command, ...more] = positionals
  const [action, file] = more
  if (command === 'trace' && action === 'plot' && file !== undefined && more.length === 2) {
    process.stdout.write(plot(readQlog(readFileSync(file, 'utf8'))))
    return 0
  }
  if (command !== 'doctor' || more.length > 0) throw new Error(USAGE)
  return doctor(values)
}

run().then(
  (code) => {
    process.exitCode = code
  },
  (error: Error) => {
    console.error(error.message)
    process.exitCode = 2
  },
)
