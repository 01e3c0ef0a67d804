/** Compiles `assembly/` once per target of `asconfig.json`, in parallel, and checks the modules. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { filesBelow, ROOT, step } from './step.mjs'

const { targets, options } = JSON.parse(readFileSync(join(ROOT, 'asconfig.json'), 'utf8'))

/** Runs the compiler on one target; its messages are shown when it fails. */
function compile(target, entry) {
  const compiler = join(ROOT, 'bindings/build/asc.mjs')
  const child = spawn(process.execPath, [compiler, target, entry], { cwd: ROOT })
  let output = ''
  child.stdout.on('data', (text) => (output += text))
  child.stderr.on('data', (text) => (output += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      // Warnings count: the usual one is an inlined call that silently became a real one.
      if (code === 0 && !/WARNING|FAILURE/.test(output)) resolve(check(target))
      else reject(new Error(`asc --target ${target} failed (${code})\n${output}`))
    })
  })
}

/** Growing, even by 0, detaches the views that the host holds: no instruction may do it. */
function check(target) {
  const text = readFileSync(join(ROOT, targets[target].textFile), 'utf8')
  if (text.includes('memory.grow')) throw new Error(`${target}: the core can grow its memory`)
  const limits = `(memory $0 ${options.initialMemory} ${options.maximumMemory})`
  if (!text.includes(limits)) throw new Error(`${target}: the memory import is not ${limits}`)
}

const isSource = (path) => path.endsWith('.ts') && !path.endsWith('.test.ts')

/** Whatever decides how a module comes out. */
const COMMON_INPUTS = [
  'asconfig.json',
  'package-lock.json',
  'bindings/build/asbind-transform.mjs',
  'bindings/build/asbuild.mjs',
  'bindings/build/asc.mjs',
]

const CORE_TARGETS = ['simd', 'plain', 'simd-debug', 'plain-debug']
const PARTS_TARGETS = ['parts-simd', 'parts-plain']

/** Compiles the core for its targets. */
export async function asbuild() {
  await step({
    name: 'asbuild',
    inputs: [...COMMON_INPUTS, ...filesBelow('assembly', isSource)],
    outputs: CORE_TARGETS.map((name) => targets[name].outFile),
    action: () => Promise.all(CORE_TARGETS.map((name) => compile(name, 'assembly/index.ts'))),
  })
}

/** Compiles the inner functions that tests and micro benchmarks call one by one. */
export async function asbuildParts() {
  const entry = 'bindings/testing/parts.ts'
  await step({
    name: 'asbuild-parts',
    inputs: [...COMMON_INPUTS, ...filesBelow('assembly', isSource), entry],
    outputs: PARTS_TARGETS.map((name) => targets[name].outFile),
    action: () => Promise.all(PARTS_TARGETS.map((name) => compile(name, entry))),
  })
}

/** Compiles what the micro benchmarks measure of the core's parts. */
export async function asbuildBench() {
  const sources = ['assembly/prelude.ts', 'assembly/wire.ts', 'bench/assembly/framing.ts']
  await step({
    name: 'asbuild-bench',
    inputs: [...COMMON_INPUTS, 'assembly/runtime/stub.ts', ...sources],
    outputs: [targets.bench.outFile],
    action: () => compile('bench', 'bench/assembly/framing.ts'),
  })
}
