import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  IoError,
  PunchlineError,
  type PunchlineErrorCode,
  punchlineErrorCodes,
  SocketError,
  TransportError,
} from './errors.ts'

const codes = Object.keys(punchlineErrorCodes) as PunchlineErrorCode[]

test('codes are upper case, begin alike and have a meaning of one line', () => {
  for (const code of codes) {
    assert.match(code, /^ERR_PUNCHLINE_[A-Z_]+$/)
    assert.match(punchlineErrorCodes[code], /^[^\n]{10,120}$/)
  }
})

test('every area has a class, all are PunchlineErrors', () => {
  for (const Class of [SocketError, IoError, TransportError]) {
    const cause = new Error('why')
    const error = new Class('ERR_PUNCHLINE_NO_CARRIER', 'what', { cause })
    assert.instance(error, PunchlineError)
    assert.instance(error, Error)
    assert.equal([error.name, error.message], [Class.name, 'what'])
    assert.equal([error.code, error.cause], ['ERR_PUNCHLINE_NO_CARRIER', cause])
  }
})

test.run()
