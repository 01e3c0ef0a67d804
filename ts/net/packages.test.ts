// slow: programs under punchline/register, each in a process of its own
/** With `PUNCHLINE_PACKAGES` only the packages it names get our sockets, whatever they are made of. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { filesBelow } from './callers.ts'
import { makeCertificate } from './testing/certificate.ts'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'punchline-packages-'))
test.after(() => rmSync(folder, { recursive: true }))

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true })
  writeFileSync(join(folder, path), text)
}

/** What every package and the program do: each says which transport it got. */
const body = `
  const transportOf = (socket) => socket.stats().transport
  const opened = (socket, event) => new Promise((resolve, reject) => {
    socket.on(event, () => resolve(transportOf(socket))).on('error', reject)
  })
  const ended = (socket, transport) => (socket.destroy(), transport)
  const use = {
    async listen() {
      const server = net.createServer((socket) => socket.on('error', () => {}).resume())
      await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    },
    async connect(port) {
      const socket = net.connect(port, '127.0.0.1')
      return ended(socket, await opened(socket, 'connect'))
    },
    async later(port) {
      const socket = new net.Socket()
      await new Promise(setImmediate)
      socket.connect({ port, host: '127.0.0.1' })
      return ended(socket, await opened(socket, 'connect'))
    },
    async secure(port) {
      const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
      await new Promise((resolve, reject) => socket.on('secureConnect', resolve).on('error', reject))
      const { _parent } = socket
      return ended(socket, _parent ? transportOf(_parent) : 'tcp')
    },
    // The second request has to wait for the first one's end, and then needs a socket of its own.
    async request(port) {
      const agent = new http.Agent({ maxSockets: 1 })
      const ask = () => new Promise((resolve, reject) => {
        const request = http.get({ port, host: '127.0.0.1', agent }, (response) => {
          const transport = transportOf(response.socket)
          response.resume().on('end', () => resolve(transport))
        })
        request.on('error', reject)
      })
      return (await Promise.all([ask(), ask()])).join()
    },
  }
`
const modules = ['net', 'tls', 'http']
const commonjs = modules.map((name) => `const ${name} = require('${name}')`).join('\n')
const esm = modules.map((name) => `import ${name} from 'node:${name}'`).join('\n')

function writePackage(path: string, isEsm: boolean): void {
  const type = isEsm ? 'module' : 'commonjs'
  write(`${path}/package.json`, JSON.stringify({ main: './lib/index.js', type }))
  const text = isEsm ? `${esm}${body}export default use` : `${commonjs}${body}module.exports = use`
  write(`${path}/lib/index.js`, text)
}

writePackage('node_modules/named-cjs', false)
writePackage('node_modules/named-esm', true)
writePackage('node_modules/@scope/named', true)
writePackage('node_modules/@scope/other', false)
// What a named package depends on is not named by that, wherever it lies.
writePackage('node_modules/named-cjs/node_modules/inner', false)
const { key, cert } = makeCertificate()
write('key.pem', key)
write('cert.pem', cert)
write(
  'program.mjs',
  `
  import { readFileSync } from 'node:fs'
  import { createRequire } from 'node:module'
  import cjs from 'named-cjs'
  import inner from './node_modules/named-cjs/node_modules/inner/lib/index.js'
  import esmPackage from 'named-esm'
  import scoped from '@scope/named'
  import other from '@scope/other'
  ${esm}${body}
  const users = { 'named-cjs': cjs, 'named-esm': esmPackage, '@scope/named': scoped,
    '@scope/other': other, inner, program: use }
  const read = (name) => readFileSync(new URL(name, import.meta.url))
  // Servers that take both ways, so that the client decides.
  const both = { port: 0, host: '127.0.0.1', transport: 'auto' }
  const closing = []
  async function listen(server) {
    await new Promise((resolve) => server.listen(both, resolve))
    closing.push(server)
    return server.address().port
  }
  const ports = {
    plain: await listen(net.createServer((socket) => socket.on('error', () => {}).resume())),
    tls: await listen(tls.createServer({ key: read('key.pem'), cert: read('cert.pem') })),
    http: await listen(http.createServer((request, response) => {
      response.setHeader('connection', 'close')
      response.end('ok')
    })),
  }
  const result = {}
  for (const [name, each] of Object.entries(users)) {
    const server = await each.listen()
    const { port } = server.address()
    // Whoever can't be reached by TCP listens on UDP only.
    const probe = net.connect({ port, host: '127.0.0.1', transport: 'tcp' })
    const isTcp = await new Promise((resolve) => {
      probe.on('error', () => resolve(false)).on('connect', () => resolve(true))
    })
    probe.destroy()
    server.close()
    result[name] = [
      isTcp ? 'tcp' : 'udp',
      await each.connect(ports.plain),
      await each.later(ports.plain),
      await each.secure(ports.tls),
      await each.request(ports.http),
    ].join(' ')
  }
  for (const server of closing) server.close()
  console.log(JSON.stringify(result))
`,
)

const distribution = join(root, 'dist')
const ways: Readonly<Record<string, readonly string[]>> = {
  'the source': ['--import', 'tsx', '--import', new URL('../register.ts', import.meta.url).href],
  '--import': ['--import', join(distribution, 'esm/register.js')],
  '--require': ['--require', join(distribution, 'cjs/ts/register.js')],
}

async function transports(preload: readonly string[], packages: string) {
  const env = { ...process.env, PUNCHLINE_TRANSPORT: 'udp', PUNCHLINE_PACKAGES: packages }
  const command = [...preload, join(folder, 'program.mjs')]
  // The loader of TypeScript is found from here.
  const { stdout } = await run(process.execPath, command, { env, cwd: root, timeout: 60_000 })
  return JSON.parse(stdout) as unknown
}

const udp = 'udp udp udp udp udp,udp'
const tcp = 'tcp tcp tcp tcp tcp,tcp'
const named = { 'named-cjs': udp, 'named-esm': udp, '@scope/named': udp }

for (const [name, preload] of Object.entries(ways)) {
  test(`only named packages get our sockets: ${name}`, async () => {
    const names = 'named-cjs, named-esm,@scope/named'
    const expected = { ...named, '@scope/other': tcp, inner: tcp, program: tcp }
    assert.equal(await transports(preload, names), expected)
  })
}

test('everybody gets them where none is named', async () => {
  const expected = { ...named, '@scope/other': udp, inner: udp, program: udp }
  assert.equal(await transports(ways['--import'] ?? [], ' '), expected)
})

test("a program's own ways with stacks are left as they were", () => {
  const own = () => 'own'
  const { prepareStackTrace, stackTraceLimit } = Error
  Error.prepareStackTrace = own
  Error.stackTraceLimit = 3
  try {
    const [nearest] = filesBelow(filesBelow)
    assert.match(nearest ?? '', /packages\.test\.ts$/)
    assert.is(Error.prepareStackTrace, own)
    assert.is(Error.stackTraceLimit, 3)
  } finally {
    Object.assign(Error, { prepareStackTrace, stackTraceLimit })
  }
})

test.run()
