// slow: runs scripts until 50 of them have failed.
/**
 * Proves that the differential scripts can fail: a module that serves an http request and a ws echo
 * is found out by at least 50 of them.
 */
import { once } from 'node:events'
import http from 'node:http'
import type net from 'node:net'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { WebSocket, WebSocketServer } from 'ws'
import { builtinSide, runBoth, scenarios } from './differential/index.ts'
import { poorNet } from './testing/poor-net.ts'

const failuresMin = 50
/** A script that waits for what never comes has failed. */
const patienceMs = 1_500

/** An http server and the connections to it, over the poor module. */
async function withServer(use: (server: http.Server, agent: http.Agent) => Promise<void>) {
  const inner = http.createServer((request, response) => request.pipe(response))
  const server = poorNet.createServer()
  server.on('poor', (socket: net.Socket) => inner.emit('connection', socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const agent = new http.Agent()
  const connections: net.Socket[] = []
  Object.assign(agent, {
    createConnection: () => {
      const socket = poorNet.connect({ port, host: '127.0.0.1' })
      connections.push(socket)
      return socket
    },
  })
  try {
    await use(inner, agent)
  } finally {
    for (const socket of connections) socket.destroy()
    server.close()
  }
}

test('the poor module serves an http request', async () => {
  await withServer(async (_server, agent) => {
    const request = http.request({ agent, method: 'POST', host: 'x' })
    request.end('echo')
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    let body = ''
    for await (const chunk of response) body += chunk
    assert.is(body, 'echo')
  })
})

test('the poor module carries a ws echo', async () => {
  await withServer(async (server, agent) => {
    const echo = new WebSocketServer({ server })
    echo.on('connection', (peer) => peer.on('message', (data) => peer.send(data)))
    const client = new WebSocket('ws://x/', { agent })
    await once(client, 'open')
    client.send('echo')
    const [data] = await once(client, 'message')
    assert.is(String(data), 'echo')
    client.terminate()
    for (const peer of echo.clients) peer.terminate()
  })
})

test(`at least ${failuresMin} scripts find it out`, async () => {
  const found: string[] = []
  // Some scripts throw out of its callbacks: that is a finding, too.
  let thrown = 0
  const onThrown = () => {
    thrown += 1
  }
  process.on('uncaughtException', onThrown)
  process.on('unhandledRejection', onThrown)
  for (const one of scenarios) {
    const before = thrown
    const isEqual = await runBoth(one, [builtinSide, { net: poorNet }], patienceMs)
      .then(({ expected, actual }) => JSON.stringify(actual) === JSON.stringify(expected))
      .catch(() => false)
    if (!isEqual || thrown > before) found.push(one.name)
    if (found.length === failuresMin) break
  }
  process.off('uncaughtException', onThrown)
  process.off('unhandledRejection', onThrown)
  assert.ok(found.length >= failuresMin, `only ${found.length} of ${scenarios.length}`)
})

test.run()
