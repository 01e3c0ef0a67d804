/** Rules of the source tree that no compiler holds: who imports whom, what machines may touch. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = fileURLToPath(new URL('../../', import.meta.url))

/**
 * Lowest first. A part imports parts of lower layers only, and of its own layer itself only.
 * Single files at the top of `ts/` are parts of their own.
 */
const LAYERS: readonly (readonly string[])[] = [
  ['assembly'],
  ['bindings'],
  ['ts/machine.ts', 'ts/errors.ts'],
  ['ts/transport'],
  ['ts/io', 'ts/sim'],
  ['ts/stun'],
  ['ts/traversal'],
  ['ts/routing', 'ts/gossip'],
  ['ts/resolve'],
  ['ts/net', 'ts/mediator', 'ts/gateway'],
  ['ts/index.ts', 'ts/register.ts', 'ts/cli'],
]
/** Their state machines are driven by a world; they import neither of the two. */
const MACHINES = [
  'ts/machine.ts',
  'ts/transport',
  'ts/stun',
  'ts/traversal',
  'ts/routing',
  'ts/gossip',
]
const WORLDS = ['ts/io', 'ts/sim']

const partOf = (path: string) => {
  const [top = '', second = ''] = path.split('/')
  return top === 'ts' ? `${top}/${second}` : top
}
const layerOf = (part: string) => LAYERS.findIndex((parts) => parts.includes(part))

interface Source {
  readonly path: string
  readonly part: string
  /** Without comments, so that rules can be explained in them. */
  readonly code: string
  /** Relative imports as paths from the root, packages as they are. */
  readonly imports: readonly string[]
}

function readSource(path: string): Source {
  const text = readFileSync(join(root, path), 'utf8')
  const code = text.replace(/\/\*[\s\S]*?\*\/|(?<!:)\/\/.*$/gm, '')
  const imports = [...code.matchAll(/(?:\bfrom|\bimport|\brequire)\s*\(?\s*'([^']+)'/g)].map(
    ([, name = '']) => (name.startsWith('.') ? normalize(join(dirname(path), name)) : name),
  )
  return { path, part: partOf(path), code, imports }
}

const sources = ['assembly', 'bindings', 'ts']
  .flatMap((folder) => readdirSync(join(root, folder), { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && /\.ts$/.test(entry.name))
  .map((entry) => relative(root, join(entry.parentPath, entry.name)))
  .filter((path) => !/\.(test|fuzz|d)\.ts$|^ts\/dev\/|^bindings\/build\//.test(path))
  .map(readSource)
const isIn = (parts: readonly string[]) => (source: Source) => parts.includes(source.part)

/** Lists what breaks a rule, as `file: what`. */
function violations(wanted: (source: Source) => boolean, find: (source: Source) => unknown[]) {
  return sources
    .filter(wanted)
    .flatMap((source) => find(source).map((hit) => `${source.path}: ${hit}`))
}

test('every part has its layer', () => {
  assert.ok(sources.length > 20)
  assert.equal(
    [...new Set(sources.map(({ part }) => part))].filter((part) => layerOf(part) < 0),
    [],
  )
})

test('imports go downwards only', () => {
  const upwards = ({ part, imports }: Source) =>
    imports.filter((path) => {
      const other = partOf(path)
      return layerOf(other) >= 0 && other !== part && layerOf(other) >= layerOf(part)
    })
  assert.equal(
    violations(() => true, upwards),
    [],
  )
})

test('machines import neither of the two worlds', () => {
  const worlds = ({ imports }: Source) => imports.filter((path) => WORLDS.includes(partOf(path)))
  assert.equal(violations(isIn(MACHINES), worlds), [])
})

test('machines read no clock, draw no chance, start no timer and open no socket', () => {
  const forbidden =
    /\b(Date|performance|hrtime|set(Timeout|Interval|Immediate)|Math\.random|random(Bytes|Fill|FillSync|Int|UUID)|getRandomValues|generateKeyPair(Sync)?|WebSocket|fetch\()\b|'(node:)?(dgram|net|dns|tls|http|https|timers|fs)(\/[^']*)?'/g
  assert.equal(
    violations(isIn(MACHINES), ({ code }) => code.match(forbidden) ?? []),
    [],
  )
})

test('only bindings/ touches the memory of the core and the addon', () => {
  const above = ({ part }: Source) => part !== 'bindings' && part !== 'assembly'
  const touches = /\b(WebAssembly|dlopen|memory\.buffer)\b|'[^']*\.node'/g
  assert.equal(
    violations(above, ({ code }) => code.match(touches) ?? []),
    [],
  )
  const reaches = ({ imports }: Source) =>
    imports.filter((path) => /^(assembly|bindings\/generated)\//.test(path))
  assert.equal(violations(above, reaches), [])
})

test('the core exports to the host through assembly/index.ts alone', () => {
  const entry = ({ imports }: Source) => imports.filter((path) => /^assembly\/index/.test(path))
  assert.equal(violations(isIn(['assembly']), entry), [])
})

test('no top-level name is one that CommonJS gives every module', () => {
  const reserved =
    /^(export )?(const|let|function|class) (module|exports|require|__dirname|__filename)\b/gm
  assert.equal(
    violations(
      () => true,
      ({ code }) => code.match(reserved) ?? [],
    ),
    [],
  )
})

const git = (...options: string[]) =>
  spawnSync('git', options, { cwd: root, encoding: 'utf8' }).stdout?.split('\n').filter(Boolean) ??
  []

test('git holds nothing generated, no place of a machine and nothing left open', () => {
  const generated =
    /^(dist|build|prebuilds|coverage|node_modules|bindings\/generated)\/|\.(wasm|node|tgz)$/
  assert.equal(
    git('ls-files').filter((path) => generated.test(path)),
    [],
  )
  const places = [root, join(homedir(), '/')].flatMap((place) => ['-e', place])
  assert.equal(git('grep', '-nIF', ...places), [])
  assert.equal(git('grep', '-nE', '"resolved": *"http', 'package-lock.json'), [])
  // Written in two parts, so that this line is not a hit itself.
  assert.equal(
    git('grep', '-nIwE', `TO${'DO'}|FIX${'ME'}|XX${'X'}`, '*.ts', '*.mjs', '*.cc', '*.h'),
    [],
  )
  assert.equal(
    git('grep', '-nIE', `\\b(test|suite)\\.(sk${'ip'}|on${'ly'})\\(`, '*.ts', '*.mjs'),
    [],
  )
})

test.run()
