/**
 * `npm test [-- FILTER… --env KEY=VALUE --quick --limit SECONDS]`: runs every `*.test.ts`, two
 * files at a time, each in its own process. The last line is `N passed, N failed`.
 *
 * A filter is a part of a path. `--quick` leaves out files that say `// slow:` in their first
 * line and sets PUNCHLINE_QUICK=1.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type FileResult, killTestProcesses, runTestFile } from './test-file.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const NOT_OURS = /^(node_modules|dist|build|prebuilds|coverage|\..*)$/
const CONCURRENCY = 2
/** Long runs (PUNCHLINE_LONG=1) have no limit worth naming, but do end. */
const LIMIT_SECONDS = process.env['PUNCHLINE_LONG'] === '1' ? 7200 : 180

const { values: options, positionals: filters } = parseArgs({
  allowPositionals: true,
  options: {
    env: { type: 'string', multiple: true, default: [] },
    quick: { type: 'boolean', default: false },
    limit: { type: 'string', default: String(LIMIT_SECONDS) },
  },
})

function findTestFiles(): string[] {
  return readdirSync(ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !NOT_OURS.test(entry.name))
    .flatMap(({ name }) => readdirSync(join(ROOT, name), { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .sort()
}

const isSlow = (file: string) => readFileSync(join(ROOT, file), 'utf8').startsWith('// slow:')

function isWanted(file: string): boolean {
  if (options.quick && isSlow(file)) return false
  return filters.length === 0 || filters.some((filter) => file.includes(filter))
}

function environment(): NodeJS.ProcessEnv {
  const extra = options.env.map((pair) => {
    const [key = '', ...value] = pair.split('=')
    return [key, value.join('=')] as const
  })
  if (options.quick) extra.push(['PUNCHLINE_QUICK', '1'])
  return { ...process.env, ...Object.fromEntries(extra) }
}

/** One line per file; everything it printed when it failed, and what it left out in any case. */
function report({ file, passed, failed, durationMs, output }: FileResult): void {
  const counts = failed > 0 ? `${failed} failed` : `${passed} passed`
  const seconds = (durationMs / 1000).toFixed(1)
  console.log(`${failed > 0 ? 'FAIL' : 'ok  '} ${file}  ${counts}  ${seconds} s`)
  const shown = failed > 0 ? output : (output.match(/^skipped: .*$/gm) ?? []).join('\n')
  if (shown) console.log(shown.trimEnd())
  if (failed > 0) console.log(`again: node --import tsx ${file}`)
}

async function runAll(files: readonly string[]): Promise<FileResult[]> {
  const results: FileResult[] = []
  const waiting = [...files]
  const env = environment()
  const limitMs = Number(options.limit) * 1000
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await runTestFile({ file, root: ROOT, env, limitMs })
      report(result)
      results.push(result)
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, work))
  return results
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    killTestProcesses()
    process.exit(1)
  })
}

const files = findTestFiles().filter(isWanted)
const results = await runAll(files)
const passed = results.reduce((sum, result) => sum + result.passed, 0)
// Running nothing is no success: a filter with a spelling mistake should be seen.
const failed = files.length === 0 ? 1 : results.reduce((sum, result) => sum + result.failed, 0)
if (files.length === 0) console.log('no test file matches')
process.exitCode = failed > 0 ? 1 : 0
console.log(`${passed} passed, ${failed} failed`)
