import { execFile } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inspect, promisify } from 'node:util'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { IoError } from '../errors.ts'
import { SeededRandom } from '../sim/random.ts'
import { loadOrCreateNodeKey, NODE_KEY_CHANNEL } from './identity-file.ts'

const test = suite('identity file', { folder: '' })

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'punchline-key-'))
})
test.after.each((context) => {
  rmSync(context.folder, { recursive: true })
})

const refuses = (path: string, pattern: RegExp) => {
  try {
    loadOrCreateNodeKey(path)
  } catch (error) {
    assert.instance(error, IoError)
    assert.is((error as IoError).code, 'ERR_PUNCHLINE_IDENTITY_FILE')
    assert.match((error as IoError).message, pattern)
    return error as IoError
  }
  return assert.unreachable(`${path} was taken`)
}

test('makes a key with its folders, closed to others, and loads it from then on', ({ folder }) => {
  const path = join(folder, 'a', 'b', 'node.key')
  const made = loadOrCreateNodeKey(path)
  assert.is(made.origin, 'created')
  assert.is(statSync(path).mode & 0o777, 0o600)
  assert.is(statSync(join(folder, 'a', 'b')).mode & 0o777, 0o700)
  assert.equal(readdirSync(join(folder, 'a', 'b')), ['node.key'], 'nothing else is left')
  const text = readFileSync(path, 'utf8')
  for (let count = 0; count < 2; count += 1) {
    const loaded = loadOrCreateNodeKey(path)
    assert.is(loaded.origin, 'loaded')
    assert.equal(loaded.key.publicRecord(), made.key.publicRecord())
    assert.is(readFileSync(path, 'utf8'), text)
  }
})

test('every file gets a key of its own', ({ folder }) => {
  const [one, two] = ['one', 'two'].map((name) => loadOrCreateNodeKey(join(folder, name)).key)
  assert.is.not(one?.toString(), two?.toString())
})

test('draws from the chance it is given', ({ folder }) => {
  const make = (name: string) => loadOrCreateNodeKey(join(folder, name), new SeededRandom(7)).key
  assert.is(make('one').toString(), make('two').toString())
})

test('processes that race get one and the same key per file', async ({ folder }) => {
  const program = fileURLToPath(new URL('./testing/key-race.ts', import.meta.url))
  const count = 60
  const parameters = ['--import', 'tsx', program, folder, String(count)]
  const start = () => promisify(execFile)(process.execPath, parameters, { timeout: 60_000 })
  const outputs = await Promise.all([start(), start(), start(), start()])
  const lines = outputs.map(({ stdout }) => stdout.trim().split('\n'))
  for (let index = 0; index < count; index += 1) {
    const results = lines.map((of) => (of[index] ?? '').split(' '))
    assert.is(new Set(results.map(([, id]) => id)).size, 1)
    assert.is(results.filter(([origin]) => origin === 'created').length, 1)
    assert.is(results.filter(([origin]) => origin === 'loaded').length, 3)
  }
  assert.is(readdirSync(folder).length, count)
})

test('a place that cannot be written costs the file, not the key', ({ folder }) => {
  const file = join(folder, 'file')
  writeFileSync(file, '')
  // A file where a folder should be stops even the superuser, whom permissions do not stop.
  const told: unknown[] = []
  const listen = (event: unknown) => told.push(event)
  for (const path of [join(file, 'node.key'), join(file, 'deeper', 'node.key')]) {
    subscribe(NODE_KEY_CHANNEL, listen)
    const { key, origin, reason } = loadOrCreateNodeKey(path)
    unsubscribe(NODE_KEY_CHANNEL, listen)
    assert.equal(told.pop(), { path, reason })
    assert.is(origin, 'memory')
    assert.instance(reason, Error)
    assert.is(key.publicRecord().length, 145)
    assert.is.not(loadOrCreateNodeKey(path).key.toString(), key.toString())
  }
})

test('a folder without write permission does the same', ({ folder }) => {
  chmodSync(folder, 0o500)
  const { origin } = loadOrCreateNodeKey(join(folder, 'node.key'))
  chmodSync(folder, 0o700)
  assert.is(origin, process.getuid?.() === 0 ? 'created' : 'memory')
})

test('a file that others may read is refused and stays as it is', ({ folder }) => {
  const path = join(folder, 'node.key')
  loadOrCreateNodeKey(path)
  const text = readFileSync(path, 'utf8')
  for (const mode of [0o644, 0o640, 0o604, 0o660, 0o601]) {
    chmodSync(path, mode)
    refuses(path, /others may read it/)
    assert.is(readFileSync(path, 'utf8'), text)
  }
  for (const mode of [0o600, 0o400]) {
    chmodSync(path, mode)
    assert.is(loadOrCreateNodeKey(path).origin, 'loaded')
  }
})

test('a file with anything else is refused, unshown and not overwritten', ({ folder }) => {
  const path = join(folder, 'node.key')
  loadOrCreateNodeKey(path)
  const whole = readFileSync(path, 'utf8')
  const secret = (JSON.parse(whole) as { identitySecret: string }).identitySecret
  for (const text of ['', '{', whole.slice(0, 60), whole.replace(/"version": 1/, '"version": 9')]) {
    writeFileSync(path, text)
    const error = refuses(path, /node\.key: /)
    assert.not.ok(inspect(error, { depth: 9 }).includes(secret))
    assert.is(readFileSync(path, 'utf8'), text)
  }
  writeFileSync(path, whole.padEnd(5000))
  refuses(path, /no node key/)
})

test('a folder in place of the file is refused', ({ folder }) => {
  const path = join(folder, 'node.key')
  mkdirSync(path, { mode: 0o700 })
  refuses(path, /EISDIR/)
})

test('links are followed: secrets of a cluster are mounted as such', ({ folder }) => {
  const path = join(folder, 'real')
  const { key } = loadOrCreateNodeKey(path)
  symlinkSync(path, join(folder, 'link'))
  assert.is(loadOrCreateNodeKey(join(folder, 'link')).key.toString(), key.toString())
})

test('a link that leads nowhere is not written through', ({ folder }) => {
  symlinkSync(join(folder, 'nowhere'), join(folder, 'link'))
  assert.is(loadOrCreateNodeKey(join(folder, 'link')).origin, 'memory')
  assert.equal(readdirSync(folder), ['link'])
})

test.run()
