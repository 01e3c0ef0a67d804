/**
 * Writes `dist/`. There is one implementation, CommonJS in `dist/cjs`; `dist/esm` re-exports it, so
 * that a program which uses both module formats has one set of classes and one registry. `join.mjs`
 * makes the exception for `punchline/net`, which has to load fast.
 */
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative } from 'node:path'
import { GENERATED_FILES } from './embed.mjs'
import { joinNet } from './join.mjs'
import { filesBelow, ROOT, step } from './step.mjs'

/** CommonJS that is written by hand or copied, which the compiler leaves where it is. */
const COPIED = ['bindings/package-root.cjs', 'bindings/package-root.d.cts', ...GENERATED_FILES]

/** Where it is put together: a failed build leaves the last good `dist/` alone. */
const STAGE = 'build/dist'

const { exports: entries } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const modules = Object.values(entries).filter((entry) => typeof entry === 'object')

/** Gives the staged place of a path below `dist/`. */
function staged(path) {
  const place = join(ROOT, STAGE, relative('dist', path))
  mkdirSync(dirname(place), { recursive: true })
  return place
}

const write = (path, text) => writeFileSync(staged(path), text)

function run(...options) {
  const result = spawnSync(process.execPath, options, { cwd: ROOT, encoding: 'utf8' })
  if (result.status !== 0)
    throw new Error(`${options.join(' ')} failed\n${result.stdout}${result.stderr}`)
  return result.stdout
}

function compile() {
  const manifest = createRequire(import.meta.url).resolve('typescript/package.json')
  const target = staged('dist/cjs')
  run(join(dirname(manifest), 'bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', target)
  write('dist/cjs/package.json', '{ "type": "commonjs" }\n')
  for (const path of COPIED) copyFileSync(join(ROOT, path), staged(join('dist/cjs', path)))
  declareNumbers(join(target, 'assembly'))
}

/** The types of AssemblyScript mean nothing to the programs that use the package. */
function declareNumbers(folder) {
  for (const name of readdirSync(folder).filter((entry) => entry.endsWith('.d.ts'))) {
    const path = join(folder, name)
    writeFileSync(path, readFileSync(path, 'utf8').replace(/: (i32|f64)\b/g, ': number'))
  }
}

/** Asks the module itself, in a process of its own since loading it may have effects. */
function exportedNames(path) {
  const program = 'console.log(JSON.stringify(Object.keys(require(process.argv[1]))))'
  return JSON.parse(run('-e', program, staged(path)))
}

/** Writes the ES module of an entry, and its types. `start` says how it gets at `cjs`. */
function wrap({ import: esm, require: cjs }, start) {
  const from = dirname(esm.default)
  const target = `./${relative(from, cjs.default)}`.replace('./../', '../')
  const names = exportedNames(cjs.default)
  const named = names.filter((name) => name !== 'default' && name !== '__esModule')
  const code = [start ?? `import cjs from '${target}'`]
  const types = [`export * from '${target}'`]
  if (named.length > 0) code.push(`export const { ${named.join(', ')} } = cjs`)
  if (names.includes('default')) {
    code.push('export default cjs.default')
    // As `import` would give it, the default is one level deeper under node16 than under bundlers.
    types.push(`declare const exported: (typeof import('${target}'))['default']`)
    types.push('export default exported')
  }
  write(esm.default, `${code.join('\n')}\n`)
  write(esm.types, `${types.join('\n')}\n`)
}

export async function buildPackage() {
  const isSource = (path) => path.endsWith('.ts') && !/\.(test|fuzz)\.ts$/.test(path)
  await step({
    name: 'package',
    inputs: [
      'package.json',
      'package-lock.json',
      'tsconfig.base.json',
      'tsconfig.build.json',
      'bindings/build/package.mjs',
      'bindings/build/join.mjs',
      ...COPIED,
      ...['assembly', 'bindings', 'ts'].flatMap((folder) => filesBelow(folder, isSource)),
    ],
    outputs: modules.flatMap(({ import: esm, require: cjs }) =>
      [esm, cjs].flatMap((paths) => Object.values(paths)),
    ),
    action() {
      rmSync(join(ROOT, STAGE), { recursive: true, force: true })
      compile()
      const net = joinNet(join(ROOT, STAGE, 'cjs'))
      for (const entry of modules) wrap(entry, entry === entries['./net'] ? net : undefined)
      rmSync(join(ROOT, 'dist'), { recursive: true, force: true })
      renameSync(join(ROOT, STAGE), join(ROOT, 'dist'))
    },
  })
}
