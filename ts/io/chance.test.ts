import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { KeyPair } from '../machine.ts'
import { x25519 } from '../transport/key-agreement.ts'
import { systemRandom } from './chance.ts'

const draw = () => systemRandom().x25519KeyPair?.() as KeyPair

test('both halves of a drawn key belong together', () => {
  const [one, other] = [draw(), draw()]
  assert.is(one.publicKey.length, 32)
  assert.not.equal(one.publicKey, other.publicKey)
  const secret = x25519(one.privateKey, other.publicKey)
  assert.equal(secret, x25519(other.privateKey, one.publicKey))
})

// With a young generation of 1 MiB, and keys exported after they were made, Node 20 stood still
// after 2,000 to 16,000 of them.
test('garbage collections between and inside draws do not stop the process', () => {
  const keys = 40_000
  const program = `
    import { systemRandom } from ${JSON.stringify(new URL('./chance.ts', import.meta.url).href)}
    const random = systemRandom()
    let count = 0
    while (count < ${keys} && random.x25519KeyPair().publicKey.length === 32) count += 1
    console.log(count)
  `
  const flags = ['--max-semi-space-size=1', '--import', 'tsx', '--input-type=module']
  const cwd = fileURLToPath(new URL('../../', import.meta.url))
  const options = { cwd, encoding: 'utf8', timeout: 120_000 } as const
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, '-e', program], options)
  assert.equal([stdout.trim(), stderr], [String(keys), ''])
})

test.run()
