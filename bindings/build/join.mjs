/**
 * Makes `punchline/net` load fast. The compiler's modules below `ts/net` require what they import on
 * first use, and those that the import itself needs are joined: into the entry for CommonJS, and
 * the same again as an ES module, since the first file of the other format costs more than all of
 * ours. Whichever is loaded first serves both.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, posix, relative } from 'node:path'

const FOLDER = 'ts/net'
const ENTRY = `${FOLDER}/index.js`

/** Rewrites the modules below `root`; gives the text with which the ES module begins. */
export function joinNet(root) {
  for (const name of readdirSync(join(root, FOLDER)).filter((each) => each.endsWith('.js'))) {
    const path = join(root, FOLDER, name)
    writeFileSync(path, requireOnFirstUse(readFileSync(path, 'utf8'), name))
  }
  const loaded = loadedBy(root, ENTRY)
  const paths = Object.keys(loaded)
  const members = paths.map((path) => asMember(root, path, paths)).join('')
  const key = createHash('sha256').update(members).digest('hex').slice(0, 16)
  const joined = joinedText(members, key)
  for (const [path, names] of Object.entries(loaded)) {
    const own = path === ENTRY ? joined : wayTo(path, key)
    const code = [...declared(names), own, `module.exports = load('${path}')`]
    writeFileSync(join(root, path), `'use strict'\n${code.join('\n')}\n`)
    rmSync(join(root, `${path}.map`))
  }
  return `${REQUIRE}\n${joined}\nconst cjs = load('${ENTRY}')`
}

/** What a module exports, for who reads it without running it. */
function declared(names) {
  return [
    "Object.defineProperty(exports, '__esModule', { value: true })",
    ...names.map((name) => `exports.${name} = undefined`),
  ]
}

/** Leads from where a module was to where it is. */
function wayTo(path, key) {
  const entry = relativeName(posix.dirname(path), ENTRY)
  const load = `globalThis[Symbol.for('punchline.net:${key}')]`
  return `if (!${load}) require('${entry}')\nconst load = ${load}`
}

/** The ES module's own: what is not joined is CommonJS. */
const REQUIRE = `
let fromPackage
const require = (name) => {
  fromPackage ??= process
    .getBuiltinModule('node:module')
    .createRequire(\`\${import.meta.dirname}/../cjs/${ENTRY}\`)
  return fromPackage(name)
}`

/** Whoever comes second takes the modules of the first: the name says that the text is the same. */
function joinedText(members, key) {
  return `
const modules = {
${members}}
const loaded = {}
const key = Symbol.for('punchline.net:${key}')
const load = globalThis[key] ??= (path) => {
  if (loaded[path] === undefined) {
    loaded[path] = {}
    modules[path](loaded[path])
  }
  return loaded[path]
}`
}

/** The compiler writes \`const x_1 = require("…")\` and then \`x_1.name\` wherever it is used. */
function requireOnFirstUse(text, name) {
  const imports = /^const (\w+_\d+) = ((?:__importDefault\()?require\("[^"]+"\)\)?);$/gm
  const names = [...text.matchAll(imports)].map(([, variable]) => variable)
  let lazy = text.replace(imports, 'let $1_; const $1 = () => $1_ ??= $2;')
  for (const variable of names) {
    lazy = lazy
      // Without parentheses `new` would take the call for its own.
      .replaceAll(new RegExp(`\\bnew (${variable})\\.([\\w.]+)`, 'g'), 'new ($1().$2)')
      .replaceAll(new RegExp(`\\b${variable}\\.`, 'g'), `${variable}().`)
    if (new RegExp(`\\b${variable}\\b(?!\\(\\)| = \\(\\) =>)`).test(lazy))
      throw new Error(`${name}: ${variable} is used in a way that is not known here`)
  }
  return lazy
}

/** What is loaded when `entry` is, in a process of its own: paths, and what each exports. */
function loadedBy(root, entry) {
  const program = `
    require(process.argv[1])
    const names = ({ id, exports }) => [id, Object.keys(exports)]
    console.log(JSON.stringify(Object.values(require.cache).map(names)))
  `
  const files = JSON.parse(execFileSync(process.execPath, ['-e', program, join(root, entry)]))
  return Object.fromEntries(
    files.map(([id, names]) => [relative(root, id).replaceAll('\\', '/'), names]),
  )
}

function asMember(root, path, paths) {
  const body = readFileSync(join(root, path), 'utf8')
    .replace(/^\/\/# sourceMappingURL.*/m, '')
    // Even comments and indents cost time to read past.
    .replaceAll(/^ *\/\*\*[\s\S]*?\*\/\n/gm, '')
    .replaceAll(/^ *\/\/.*\n/gm, '')
    .replaceAll(/^ +/gm, '')
    .replaceAll('require("node:', 'process.getBuiltinModule("node:')
    .replaceAll(/require\("(\.[^"]+)"\)/g, (_, name) => {
      const target = posix.join(posix.dirname(path), name)
      if (paths.includes(target)) return `load('${target}')`
      return `require('${relativeName(FOLDER, target)}')`
    })
  // What the indents belonged to must not have been text.
  const isOpen = (line) => line.split('`').length % 2 === 0
  if (body.split('\n').some(isOpen)) throw new Error(`${path}: a template over several lines`)
  // The engine takes the parenthesis as the word that the function will be called at once.
  return `'${path}': (function (exports) {\n${body}\n}),\n`
}

function relativeName(folder, path) {
  const way = posix.relative(folder, path)
  return way.startsWith('.') ? way : `./${way}`
}
