/**
 * `npm run test:long`: the whole suite with full counts (PUNCHLINE_LONG=1) on this Node, then on the
 * other major versions that the package supports. Each run ends with its own line, the last line
 * sums them.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const MAJORS = ['20', '22', '24']

const [ownMajor = ''] = process.versions.node.split('.')

/** Gives a Node binary of that major version, fetched from the registry that npm uses. */
function nodeBinary(major: string): string {
  const platform = process.platform === 'win32' ? 'win' : process.platform
  const name = `node-${platform}-${process.arch}`
  const folder = join(ROOT, 'build/node-versions', major)
  const binary = join(folder, 'node_modules', name, 'bin', 'node')
  if (existsSync(binary)) return binary
  mkdirSync(folder, { recursive: true })
  const options = ['install', '--prefix', folder, '--no-save', '--ignore-scripts']
  const quiet = ['--no-audit', '--no-fund', '--loglevel', 'error']
  const result = spawnSync('npm', [...options, ...quiet, `${name}@${major}`], { stdio: 'inherit' })
  if (result.status !== 0 || !existsSync(binary)) throw new Error(`no Node ${major}: npm failed`)
  return binary
}

/** Runs the suite and gives what its last line says; no such line counts as one failure. */
function runSuite(binary: string): Promise<{ passed: number; failed: number }> {
  const child = spawn(
    binary,
    ['--import', 'tsx', join(ROOT, 'ts/dev/run-tests.ts'), ...process.argv.slice(2)],
    {
      cwd: ROOT,
      env: { ...process.env, PUNCHLINE_LONG: '1' },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let tail = ''
  child.stdout.on('data', (chunk: Buffer) => {
    process.stdout.write(chunk)
    tail = (tail + chunk.toString()).slice(-200)
  })
  return new Promise((resolve) => {
    child.on('close', () => {
      const [, passed, failed] = /(\d+) passed, (\d+) failed\n$/.exec(tail) ?? [0, 0, 1]
      resolve({ passed: Number(passed), failed: Number(failed) })
    })
  })
}

const sum = { passed: 0, failed: 0 }
const others = MAJORS.filter((major) => major !== ownMajor)
for (const major of [ownMajor, ...others]) {
  try {
    const binary = major === ownMajor ? process.execPath : nodeBinary(major)
    console.log(`Node ${major}`)
    const { passed, failed } = await runSuite(binary)
    sum.passed += passed
    sum.failed += failed
  } catch (error) {
    console.log(error instanceof Error ? error.message : error)
    sum.failed += 1
  }
}
process.exitCode = sum.failed > 0 ? 1 : 0
console.log(`${sum.passed} passed, ${sum.failed} failed`)
