/**
 * Writes `bindings/generated/`: the two release builds of the core as text in a module, and the
 * run-time half of as-bind, so that the package needs neither files beside its code nor as-bind.
 * Both are CommonJS, which every way of loading the package takes as it is.
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { ROOT, step } from './step.mjs'

const GENERATED = 'bindings/generated'

/** What it writes: base64 of the builds, and as-bind; code and types of each. */
export const GENERATED_FILES = ['core-wasm', 'as-bind'].flatMap((name) =>
  ['cjs', 'd.cts'].map((extension) => `${GENERATED}/${name}.${extension}`),
)

const BUILDS = { CORE_PLAIN: 'build/core.wasm', CORE_SIMD: 'build/core.simd.wasm' }

function writeCore() {
  const code = Object.entries(BUILDS).map(
    ([name, path]) => `exports.${name} = '${readFileSync(join(ROOT, path)).toString('base64')}'\n`,
  )
  const types = Object.keys(BUILDS).map((name) => `export const ${name}: string\n`)
  writeFileSync(join(ROOT, GENERATED, 'core-wasm.cjs'), code.join(''))
  writeFileSync(join(ROOT, GENERATED, 'core-wasm.d.cts'), types.join(''))
}

/** as-bind's main entry is its compiler half; the run-time half has no export of its own. */
function copyAsBind() {
  const main = createRequire(import.meta.url).resolve('as-bind')
  const runtime = readFileSync(join(dirname(main), 'as-bind.cjs.js'), 'utf8')
  const licence = readFileSync(join(dirname(main), '../LICENSE'), 'utf8').trim()
  const target = join(ROOT, GENERATED, 'as-bind.cjs')
  writeFileSync(target, `/*! as-bind 0.8.2\n\n${licence}\n*/\n${runtime}`)
  copyFileSync(join(ROOT, 'bindings/build/as-bind.d.cts'), join(ROOT, GENERATED, 'as-bind.d.cts'))
}

export async function embed() {
  await step({
    name: 'embed',
    inputs: [
      ...Object.values(BUILDS),
      'package-lock.json',
      'bindings/build/embed.mjs',
      'bindings/build/as-bind.d.cts',
    ],
    outputs: GENERATED_FILES,
    action() {
      mkdirSync(join(ROOT, GENERATED), { recursive: true })
      writeCore()
      copyAsBind()
    },
  })
}
