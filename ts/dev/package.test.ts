// slow: packs the package, installs it into an empty project and type-checks against it
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

interface Manifest {
  readonly scripts: Readonly<Record<string, string>>
  readonly dependencies?: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, unknown>>
}

const root = fileURLToPath(new URL('../../', import.meta.url))
const project = mkdtempSync(join(tmpdir(), 'punchline-package-'))
test.after(() => rmSync(project, { recursive: true }))

const readJson = (path: string): unknown => JSON.parse(readFileSync(path, 'utf8'))

/** Runs a program to its end; a failure shows what it printed. */
function run(cwd: string, command: string, ...options: string[]): string {
  const result = spawnSync(command, options, { cwd, encoding: 'utf8', timeout: 120_000 })
  const printed = `${result.stdout}${result.stderr}`
  assert.is(result.status, 0, `${command} ${options.join(' ')}\n${printed}${result.error ?? ''}`)
  return result.stdout
}

/** Gives the script behind a development tool's command. */
const tool = (path: string) => join(root, 'node_modules', path)

const [packed] = JSON.parse(
  run(root, 'npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', project),
) as { filename: string; files: { path: string }[]; unpackedSize: number }[]
assert.ok(packed)
const tarball = join(project, packed.filename)
writeFileSync(join(project, 'package.json'), '{ "name": "consumer", "private": true }')
run(project, 'npm', 'install', '--ignore-scripts', '--offline', '--no-audit', '--no-fund', tarball)
const installed = join(project, 'node_modules/punchline')
const manifest = readJson(join(installed, 'package.json')) as Manifest
const entries = Object.keys(manifest.exports)
  .filter((key) => key !== './package.json')
  .map((key) => `punchline${key.slice(1)}`)

/** Runs a script in the consumer's project, under the module format of its extension. */
function runScript(name: string, source: string): string {
  writeFileSync(join(project, name), source)
  return run(project, process.execPath, name).trim()
}

test('brings no dependencies and runs nothing when it is installed', () => {
  assert.equal(Object.keys(manifest.dependencies ?? {}), [])
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish']) {
    assert.is(manifest.scripts[name], undefined, name)
  }
})

test('contains what is needed and nothing else', () => {
  const stray = packed.files.filter(
    ({ path }) => !/^(dist\/|prebuilds\/|[A-Z]+(\.md)?$|package\.json$)/.test(path),
  )
  assert.equal(stray, [])
  const tests = packed.files.filter(({ path }) => /\.test\.|\/dev\/|\/build\//.test(path))
  assert.equal(tests, [])
  for (const name of ['LICENSE', 'NOTICE', 'README.md']) {
    assert.ok(
      packed.files.some(({ path }) => path === name),
      name,
    )
  }
  assert.ok(packed.unpackedSize < 4_000_000, `${packed.unpackedSize} bytes`)
})

test('loads from ESM and from CommonJS, and both get the same objects', () => {
  const source = `
    import { createRequire } from 'node:module'
    const require = createRequire(import.meta.url)
    for (const name of ${JSON.stringify(entries)}) {
      const [esm, cjs] = [await import(name), require(name)]
      const names = Object.keys(cjs).filter((key) => key !== '__esModule').sort()
      if (names.join() !== Object.keys(esm).sort().join()) throw new Error(name + ': names differ')
      for (const key of names) if (esm[key] !== cjs[key]) throw new Error(name + ': ' + key)
    }
    console.log('same')
  `
  assert.is(runScript('both.mjs', source), 'same')
  const names = entries.map((name) => `require('${name}')`).join(';')
  assert.is(runScript('only.cjs', `${names}; console.log('loaded')`), 'loaded')
})

test('its net is a drop-in in both module formats', () => {
  const use = `
    const { Socket } = net
    const names = [Socket, net.Server, connect, net.createServer].map(({ name }) => name).join(' ')
    console.log(new Socket() instanceof require('node:net').Socket, net.connect === connect, names)
  `
  const esm = `
    import { createRequire } from 'node:module'
    import net, { connect } from 'punchline/net'
    const require = createRequire(import.meta.url)
    ${use}
  `
  const cjs = `const net = require('punchline/net'); const { connect } = net; ${use}`
  const expected = 'true true Socket Server connect createServer'
  assert.is(runScript('net.mjs', esm), expected)
  assert.is(runScript('net.cjs', cjs), expected)
})

test('a fresh import of net loads one file of ours, and the transport with the first UDP socket', () => {
  const use = `
    const ours = () => Object.keys(require.cache).map((path) => path.replaceAll('\\\\', '/'))
      .filter((path) => path.includes('/punchline/dist/cjs/'))
    const builtins = (names) => process.moduleLoadList
      .filter((name) => names.includes(name.replace('NativeModule ', '')))
    const before = { files: ours().length, heavy: builtins(['crypto', 'dgram', 'worker_threads']) }
    const server = net.createServer({ transport: 'udp' }, (socket) => {
      server.close()
      socket.end('hello')
    })
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      const client = net.connect({ port, host: '127.0.0.1', transport: 'udp' })
      client.on('data', (data) => {
        const transport = ours().filter((path) => path.endsWith('ts/transport/endpoint.js')).length
        console.log(JSON.stringify({ ...before, data: String(data), transport }))
      })
    })
  `
  const esm = `
    import { createRequire } from 'node:module'
    const require = createRequire(import.meta.url)
    const { default: net } = await import('punchline/net')
    ${use}
  `
  const expected = { heavy: [], data: 'hello', transport: 1 }
  assert.equal(JSON.parse(runScript('fresh.mjs', esm)), { files: 0, ...expected })
  const cjs = `const net = require('punchline/net'); ${use}`
  assert.equal(JSON.parse(runScript('fresh.cjs', cjs)), { files: 1, ...expected })
  // An ES module that imports nothing is one file.
  const { import: entry } = manifest.exports['./net'] as { import: { default: string } }
  const text = readFileSync(join(installed, entry.default), 'utf8')
  assert.not.match(text, /^(import|export .* from)\b/m)
})

test('refuses deep imports', () => {
  const source = `
    const deep = ['punchline/dist/cjs/ts/index.js', 'punchline/bindings/core', 'punchline/ts/net']
    Promise.all(deep.map((name) => import(name).then(() => 'loaded', (error) => error.code)))
      .then((codes) => console.log(codes.join(' ')))
  `
  const refused = 'ERR_PACKAGE_PATH_NOT_EXPORTED'
  assert.is(runScript('deep.mjs', source), `${refused} ${refused} ${refused}`)
})

test('type-checks without skipLibCheck under node16 and bundler resolution', () => {
  mkdirSync(join(project, 'node_modules/@types'), { recursive: true })
  symlinkSync(tool('@types/node'), join(project, 'node_modules/@types/node'))
  const source = `
    import net, { connect, createServer, type Socket } from 'punchline/net'
    import * as main from 'punchline'
    import * as sim from 'punchline/sim'
    import 'punchline/register'
    const socket: Socket = connect(80, 'localhost')
    socket.on('data', (chunk) => chunk.length)
    net.createServer((peer) => peer.end())
    createServer().listen(0)
    console.log(main, sim)
  `
  // A CommonJS file sees the default export as a property, so it imports names only.
  const commonjs = source.replace('import net, {', 'import {').replace('net.create', 'create')
  writeFileSync(join(project, 'module.mts'), source)
  writeFileSync(join(project, 'common.cts'), commonjs)
  writeFileSync(join(project, 'bundled.ts'), source)
  const strict = { strict: true, noEmit: true, skipLibCheck: false, types: ['node'] }
  const es2022 = { target: 'es2022', lib: ['es2022'] }
  const variants = {
    node16: { files: ['module.mts', 'common.cts'], options: { module: 'node16' } },
    bundler: {
      files: ['bundled.ts'],
      options: { module: 'esnext', moduleResolution: 'bundler' },
    },
  }
  for (const [name, { files, options }] of Object.entries(variants)) {
    const config = { files, compilerOptions: { ...strict, ...es2022, ...options } }
    writeFileSync(join(project, `tsconfig.${name}.json`), JSON.stringify(config))
    run(project, process.execPath, tool('typescript/bin/tsc'), '-p', `tsconfig.${name}.json`)
  }
})

test('publint has no complaint', async () => {
  const data = readFileSync(tarball)
  const buffer = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)
  const { messages, pkg } = await publint({ pack: { tarball: buffer }, strict: true })
  assert.equal(
    messages.map((message) => formatMessage(message, pkg)),
    [],
  )
})

test('arethetypeswrong has no complaint', () => {
  const script = tool('@arethetypeswrong/cli/dist/index.js')
  run(
    dirname(tarball),
    process.execPath,
    script,
    tarball,
    '--no-color',
    '--format',
    'table-flipped',
  )
})

test.run()
