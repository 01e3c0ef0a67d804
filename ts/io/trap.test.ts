import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CODE_RESET } from '../../bindings/core.ts'
import type { Connection, Stream } from '../transport/index.ts'
import { nowMicros } from './clock.ts'
import { Driver } from './driver.ts'
import { Loop } from './loop.ts'
import { availableBackends } from './testing/backends.ts'
import { until } from './testing/until.ts'

const LOCAL = { address: '127.0.0.1', port: 0, family: 4 } as const

/** An address that no memory has. */
const NOWHERE = -16

for (const choice of availableBackends()) {
  test(`${choice.backend}: a trap in the core resets its sockets, and the same port serves new ones`, async () => {
    const serverLoop = new Loop({ backend: choice })
    const clientLoop = new Loop({ backend: choice })
    const server = new Driver({ loop: serverLoop, binding: LOCAL })
    // Another endpoint on the same core.
    const neighbour = new Driver({ loop: serverLoop, binding: LOCAL })
    const client = new Driver({ loop: clientLoop, binding: LOCAL })
    const log: string[] = []
    const traps: unknown[] = []
    const onTrap = (message: unknown) => traps.push(message)
    subscribe('punchline:trap', onTrap)
    for (const [name, driver] of [
      ['server', server],
      ['neighbour', neighbour],
    ] as const) {
      driver.endpoint.setListening(true)
      driver.endpoint.owner = {
        stream: (stream) => ({
          readable: () => {
            log.push(`${name}: ${stream.read()}`)
            stream.write(Buffer.from('pong'))
          },
          writable() {},
          failed: (code) => log.push(`${name}: failed ${code}`),
        }),
      }
    }
    const ports = [server.socket.port, neighbour.socket.port]
    const dial = (name: string, port: number) => {
      const to = { socketIndex: 0, address: LOCAL.address, port }
      const connection = client.endpoint.connect(nowMicros(), to, {}) as Connection
      const stream = connection.openStream(1, {
        readable: () => log.push(`${name}: ${stream.read()}`),
        writable() {},
        failed: (code) => log.push(`${name}: failed ${code}`),
      }) as Stream
      stream.write(Buffer.from('ping'))
      return stream
    }
    const first = ports.map((port, index) => dial(`first ${index}`, port))
    const pongs = (name: string) => log.filter((line) => line.startsWith(name) && /pong/.test(line))
    await until(() => pongs('first').length === 2, 'answers')

    const { core } = serverLoop
    assert.is(core.exports.crc32c(NOWHERE, 100), 0)
    assert.is(traps.length, 1)
    await until(() => serverLoop.core !== core, 'a fresh core')
    assert.equal(log.filter((line) => /^(server|neighbour): failed/.test(line)).sort(), [
      `neighbour: failed ${CODE_RESET}`,
      `server: failed ${CODE_RESET}`,
    ])
    assert.equal([server.socket.port, neighbour.socket.port], ports)

    // Whoever was connected hears so with what it sends next.
    for (const stream of first) stream.write(Buffer.from('still there?'))
    await until(
      () => log.filter((line) => /^first . failed|^first .: failed/.test(line)).length === 2,
      'resets',
    )
    for (const [index, port] of ports.entries()) dial(`second ${index}`, port)
    await until(() => pongs('second').length === 2, 'answers of the fresh core')
    unsubscribe('punchline:trap', onTrap)
    for (const driver of [client, server, neighbour]) driver.close()
    for (const loop of [clientLoop, serverLoop]) loop.close()
  })
}

test.run()
