/** Builds the native addon with cmake-js into `build/native`. Needs cmake and a C++ compiler. */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { filesBelow, ROOT, step } from './step.mjs'

const OUTPUT = 'build/native/Release/punchline.node'

const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0

/** Says what is missing on this machine, or an empty text when the addon can be built. */
export function missingForNative() {
  if (process.platform !== 'linux') return 'the native tiers are for Linux'
  if (!runs('cmake')) return 'no cmake'
  if (![process.env.CXX ?? 'c++', 'g++', 'clang++'].some(runs)) return 'no C++ compiler'
  return ''
}

function compile() {
  const manifest = createRequire(import.meta.url).resolve('cmake-js/package.json')
  const result = spawnSync(
    process.execPath,
    [join(dirname(manifest), 'bin/cmake-js'), 'compile', '--out', 'build/native'],
    { cwd: ROOT, encoding: 'utf8' },
  )
  if (result.status !== 0) {
    throw new Error(`build:native failed (${result.status})\n${result.stdout}${result.stderr}`)
  }
}

export async function buildNative() {
  await step({
    name: 'native',
    inputs: [
      'CMakeLists.txt',
      'package-lock.json',
      'bindings/build/native.mjs',
      ...filesBelow('native', (path) => /\.(cc|h)$/.test(path)),
    ],
    outputs: process.platform === 'linux' ? [OUTPUT] : [],
    action: compile,
  })
}
