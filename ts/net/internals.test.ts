/** What this folder relies on in the built-in, on the Node that runs the tests. */
import net from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  builtinNet,
  normalizeArguments,
  overriddenMethods,
  readSymbol,
  socketSymbols,
} from './internals.ts'

test('the symbols of the constructor exist and hold its options', () => {
  const callback = (): boolean => true
  const buffer = Buffer.alloc(1)
  const socket = new net.Socket({ noDelay: true, onread: { buffer, callback } } as never)
  const symbols = socketSymbols()
  for (const [name, symbol] of Object.entries(symbols)) assert.is(typeof symbol, 'symbol', name)
  assert.is(readSymbol(socket, symbols.userBuffer), buffer)
  assert.is(readSymbol(socket, symbols.userBufferCallback), callback)
  assert.is(readSymbol(socket, symbols.noDelay), true)
  socket.setKeepAlive(true, 7_000)
  assert.is(readSymbol(socket, symbols.keepAlive), true)
  assert.is(readSymbol(socket, symbols.keepAliveInitialDelay), 7)
})

test('the methods that are overridden are methods of the built-in', () => {
  const prototype: object = net.Socket.prototype
  for (const name of overriddenMethods) assert.type(Reflect.get(prototype, name), 'function', name)
  for (const name of ['listen', '_listen2', '_emitCloseIfDrained'])
    assert.type(Reflect.get(net.Server.prototype, name), 'function', name)
  for (const name of ['_undestroy', '_unrefTimer', '_reset'])
    assert.type(Reflect.get(prototype, name), 'function', name)
})

test('addresses are read through the methods that are overridden', () => {
  class Probe extends net.Socket {
    _getpeername(): object {
      return { address: 'a', family: 'b', port: 1 }
    }
    _getsockname(): object {
      return { address: 'c', family: 'd', port: 2 }
    }
  }
  const probe = new Probe()
  assert.equal([probe.remoteAddress, probe.remoteFamily, probe.remotePort], ['a', 'b', 1])
  assert.equal([probe.localAddress, probe.localFamily, probe.localPort], ['c', 'd', 2])
})

test('listen arrives at _listen2 with address, port and flags', async () => {
  const calls: unknown[][] = []
  class Probe extends net.Server {
    _listen2(...args: unknown[]): void {
      calls.push(args)
    }
  }
  new Probe().listen(80)
  new Probe().listen({ port: 81, host: '::1', ipv6Only: true, backlog: 5 })
  while (calls.length < 2) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(calls[0]?.slice(0, 3), [null, 80, 4])
  assert.equal(calls[1]?.slice(0, 6), ['::1', 81, 6, 5, undefined, 1])
})

test('normalized arguments are recognized', () => {
  const once = normalizeArguments([80, 'localhost'])
  assert.is(normalizeArguments([once]), once)
  assert.equal({ ...once[0] }, { port: 80, host: 'localhost' })
  assert.is.not(normalizeArguments([[]]), once)
  assert.type(builtinNet._createServerHandle, 'function')
})

test.run()
