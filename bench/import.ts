/**
 * `npm run bench:import [-- --rounds 25]`: how long a fresh process takes to import `punchline/net`
 * from the built package, against `node:http`; both as ES modules and with `require`.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { type Spread, spread } from './lib/statistics.ts'

const ROOT = fileURLToPath(new URL('../', import.meta.url))
const MODULES = ['node:http', 'punchline/net'] as const
const PROGRAMS = {
  'import.mjs': 'await import(process.argv[2])',
  'require.cjs': 'require(process.argv[2])',
}

export type ImportTimes = Readonly<Record<(typeof MODULES)[number], Spread>>

/** Milliseconds in fresh processes, by program. The modules take turns. */
export function measureImports(rounds: number): Readonly<Record<string, ImportTimes>> {
  const project = mkdtempSync(join(tmpdir(), 'punchline-import-'))
  try {
    // By its name, as a program would: finding it counts.
    mkdirSync(join(project, 'node_modules'))
    symlinkSync(ROOT, join(project, 'node_modules/punchline'))
    const results: Record<string, ImportTimes> = {}
    for (const [name, load] of Object.entries(PROGRAMS)) {
      const program = join(project, name)
      const start = 'const start = performance.now()'
      writeFileSync(program, `${start}\n${load}\nconsole.log(performance.now() - start)\n`)
      const samples = new Map<string, number[]>(MODULES.map((module) => [module, []]))
      for (let round = 0; round < rounds; round += 1) {
        for (const module of MODULES) {
          const printed = execFileSync(process.execPath, [program, module], { encoding: 'utf8' })
          samples.get(module)?.push(Number(printed))
        }
      }
      const spreads = MODULES.map((module) => [module, spread(samples.get(module) ?? [])])
      results[name] = Object.fromEntries(spreads) as ImportTimes
    }
    return results
  } finally {
    rmSync(project, { recursive: true, force: true })
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({ options: { rounds: { type: 'string', default: '25' } } })
  for (const [program, times] of Object.entries(measureImports(Number(values.rounds)))) {
    for (const [module, { median, min, max }] of Object.entries(times)) {
      const range = `${min.toFixed(2)} to ${max.toFixed(2)}`
      console.log(`${program.padEnd(12)} ${module.padEnd(14)} ${median.toFixed(2)} ms (${range})`)
    }
    const ratio = times['punchline/net'].median / times['node:http'].median
    console.log(`${program.padEnd(12)} ${'ratio'.padEnd(14)} ${ratio.toFixed(2)}`)
  }
}
