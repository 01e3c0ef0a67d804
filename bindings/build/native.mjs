/** Builds the native addon with cmake-js below `build/`. Needs cmake and a C++ compiler. */
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { filesBelow, ROOT, step } from './step.mjs'

const PLAIN = { name: 'native', folder: 'build/native', options: [] }
const SANITIZED = {
  name: 'native-sanitized',
  folder: 'build/native-sanitized',
  options: ['--CDPUNCHLINE_SANITIZE=ON'],
}

const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0

/** Says what is missing on this machine, or an empty text when the addon can be built. */
export function missingForNative() {
  if (process.platform !== 'linux') return 'the native tiers are for Linux'
  if (!runs('cmake')) return 'no cmake'
  if (![process.env.CXX ?? 'c++', 'g++', 'clang++'].some(runs)) return 'no C++ compiler'
  return ''
}

function compile({ folder, options }) {
  const manifest = createRequire(import.meta.url).resolve('cmake-js/package.json')
  const result = spawnSync(
    process.execPath,
    [join(dirname(manifest), 'bin/cmake-js'), 'compile', '--out', folder, ...options],
    { cwd: ROOT, encoding: 'utf8' },
  )
  if (result.status !== 0) {
    throw new Error(`build:native failed (${result.status})\n${result.stdout}${result.stderr}`)
  }
}

export const buildNative = () => buildAddon(PLAIN)

/** The addon with checks of accesses and undefined behaviour, for tests. */
export const buildSanitized = () => buildAddon(SANITIZED)

async function buildAddon(build) {
  await step({
    name: build.name,
    inputs: [
      'CMakeLists.txt',
      'package-lock.json',
      'bindings/build/native.mjs',
      'bench/link/emulator.cc',
      ...filesBelow('native', (path) => /\.(cc|h)$/.test(path)),
    ],
    outputs: process.platform === 'linux' ? [`${build.folder}/Release/punchline.node`] : [],
    action: () => compile(build),
  })
}
