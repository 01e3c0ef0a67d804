/**
 * `npm test [-- FILTER… --env KEY=VALUE --quick --tiers all|some|none --limit SECONDS]`: runs every
 * `*.test.ts`, two files at a time, each in its own process. The last line is `N passed, N failed`.
 *
 * A filter is a part of a path. `--quick` leaves out files that say `// slow:` in their first
 * line and sets PUNCHLINE_QUICK=1.
 *
 * Files that open UDP sockets run on the tier that this machine would choose, and `--tiers some` (the
 * default) runs the fast ones once more on `node:dgram`; `all` runs all of them on every tier there
 * is, without the addon, and where io_uring is refused.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { whyNot } from '../io/backend.ts'
import { REFUSER } from '../io/testing/backends.ts'
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
    tiers: { type: 'string', default: process.env['PUNCHLINE_LONG'] === '1' ? 'all' : 'some' },
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

/** A way to run files: what is set for them, and what runs Node. */
interface Setting {
  readonly name: string
  readonly env: NodeJS.ProcessEnv
  readonly launcher: readonly string[]
}

const AS_IT_IS: Setting = { name: '', env: {}, launcher: [] }
const setting = (name: string, env: NodeJS.ProcessEnv, launcher: readonly string[] = []) => ({
  name,
  env,
  launcher,
})

/** Tests of what the sockets stand on. `backend.test.ts` sees to the choice itself. */
const opensSockets = (file: string) =>
  /^(ts\/(io|net)|examples|bindings\/(native-hub|aes))/.test(file) &&
  !file.endsWith('/backend.test.ts')

/** What runs beside the machine's own choice. */
function otherSettings(): Setting[] {
  const dgram = setting('dgram', { PUNCHLINE_BACKEND: 'dgram' })
  if (options.tiers === 'none') return []
  if (options.tiers === 'some') return [dgram]
  const settings = [dgram, setting('no addon', { PUNCHLINE_NATIVE: '0' })]
  const hasRing = whyNot('uring') === ''
  if (hasRing) settings.push(setting('uring', { PUNCHLINE_BACKEND: 'uring' }))
  if (whyNot('mmsg') === '') settings.push(setting('mmsg', { PUNCHLINE_BACKEND: 'mmsg' }))
  const sanitized = join(ROOT, 'build/native-sanitized/Release/punchline.node')
  if (existsSync(sanitized)) settings.push(setting('sanitized', sanitizedEnv(sanitized)))
  if (hasRing && existsSync(REFUSER)) {
    for (const errno of ['EPERM', 'ENOSYS']) {
      settings.push(setting(`io_uring: ${errno}`, {}, [REFUSER, errno, 'all']))
    }
  }
  return settings
}

/** Node itself has no checks, so the library that makes them comes first. */
function sanitizedEnv(path: string): NodeJS.ProcessEnv {
  const library = spawnSync('g++', ['-print-file-name=libasan.so'], { encoding: 'utf8' })
  const env = { PUNCHLINE_NATIVE: path, LD_PRELOAD: library.stdout.trim() }
  // What Node keeps until it ends is no leak of ours; what is freed must not look like growth.
  const address = 'detect_leaks=0:quarantine_size_mb=16'
  return { ...env, ASAN_OPTIONS: address, UBSAN_OPTIONS: 'print_stacktrace=1' }
}

/** Every file as it is, then those on sockets in the other settings. */
function plan(files: readonly string[]): { file: string; setting: Setting }[] {
  const more = otherSettings().flatMap((other) =>
    files
      .filter((file) => opensSockets(file) && (options.tiers === 'all' || !isSlow(file)))
      .map((file) => ({ file, setting: other })),
  )
  return [...files.map((file) => ({ file, setting: AS_IT_IS })), ...(options.quick ? [] : more)]
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
function report({ file, passed, failed, durationMs, output }: FileResult, { name, env }: Setting) {
  const counts = failed > 0 ? `${failed} failed` : `${passed} passed`
  const seconds = (durationMs / 1000).toFixed(1)
  const where = name === '' ? '' : `  [${name}]`
  console.log(`${failed > 0 ? 'FAIL' : 'ok  '} ${file}${where}  ${counts}  ${seconds} s`)
  const shown = failed > 0 ? output : (output.match(/^skipped: .*$/gm) ?? []).join('\n')
  if (shown) console.log(shown.trimEnd())
  const set = Object.entries(env).map(([key, value]) => `${key}=${value} `)
  if (failed > 0) console.log(`again: ${set.join('')}node --import tsx ${file}`)
}

async function runAll(files: readonly string[]): Promise<FileResult[]> {
  const results: FileResult[] = []
  const waiting = plan(files)
  const env = environment()
  const limitMs = Number(options.limit) * 1000
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { file, setting } = next
      const { launcher } = setting
      const all = { ...env, ...setting.env }
      const result = await runTestFile({ file, root: ROOT, env: all, launcher, limitMs })
      report(result, setting)
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
