// ws: bulk both ways, an answer that comes after the client has closed its half, an abrupt end.
import { once } from 'node:events'
import http from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'
import { bulk, closed, listen, report } from './kit.mjs'

const server = http.createServer()
const echo = new WebSocketServer({ server })
echo.on('connection', (peer) => {
  peer.on('error', () => {})
  peer.on('message', (data, isBinary) => {
    if (String(data) === 'cut') peer.terminate()
    else peer.send(data, { binary: isBinary })
  })
})
const port = await listen(server)
const open = async () => {
  const client = new WebSocket(`ws://127.0.0.1:${port}/`)
  client.on('error', () => {})
  await once(client, 'open')
  return client
}
const client = await open()
client.send(bulk)
const [echoed] = await once(client, 'message')
client.send(bulk)
client.close(4321, 'enough')
const [late] = await once(client, 'message')
const [code, reason] = await once(client, 'close')
const other = await open()
other.send('cut')
const [cut] = await closed(other)
echo.close()
server.close()
report({ right: echoed.equals(bulk), code, reason: String(reason), late: late.equals(bulk), cut })
