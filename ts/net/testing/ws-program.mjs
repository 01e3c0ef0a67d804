// An ordinary program: WebSocket messages of many sizes, text and binary, echoed.
import { createServer } from 'node:http'
import { WebSocket, WebSocketServer } from 'ws'

const SIZES = [0, 1, 125, 126, 1_199, 1_200, 65_535, 65_536, 1_000_000]

const server = createServer()
const sockets = new WebSocketServer({ server })
sockets.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }))
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const client = new WebSocket(`ws://127.0.0.1:${server.address().port}/`)
await new Promise((resolve, reject) => client.on('open', resolve).on('error', reject))

let right = 0
for (const size of SIZES) {
  const message = Buffer.alloc(size, size & 0xff)
  const echo = new Promise((resolve) => client.once('message', resolve))
  client.send(message)
  if (message.equals(await echo)) right += 1
}
const closed = new Promise((resolve) => client.on('close', resolve))
client.close(1000, 'done')
const code = await closed
sockets.close()
await new Promise((resolve) => server.close(resolve))
console.log(JSON.stringify({ right, sizes: SIZES.length, code }))
