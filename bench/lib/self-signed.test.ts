import { createPrivateKey, X509Certificate } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { makeSelfSigned } from './self-signed.ts'

test('makes certificates that verify, with the key beside them', () => {
  // Often: lengths and leading zero octets of DER depend on random values.
  for (let i = 0; i < 100; i += 1) {
    const { key, certificate } = makeSelfSigned('127.0.0.1')
    const parsed = new X509Certificate(certificate)
    assert.ok(parsed.verify(parsed.publicKey))
    assert.ok(parsed.checkIssued(parsed))
    assert.ok(parsed.checkPrivateKey(createPrivateKey(key)))
    assert.is(parsed.checkIP('127.0.0.1'), '127.0.0.1')
  }
})

test('is valid now, for a day', () => {
  const nowMs = Date.UTC(2031, 11, 31, 23, 59, 59)
  const { validFrom, validTo } = new X509Certificate(makeSelfSigned('127.0.0.1', nowMs).certificate)
  assert.is(Date.parse(validFrom), nowMs - 60_000)
  assert.is(Date.parse(validTo), nowMs + 86_400_000)
})

test.run()
