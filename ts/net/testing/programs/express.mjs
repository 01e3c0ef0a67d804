// express: a body, a stream, an error page, half-close, an abrupt end.
import http from 'node:http'
import net from 'node:net'
import { Readable } from 'node:stream'
import express from 'express'
import { bulk, codeOf, collect, listen, report } from './kit.mjs'

const app = express()
app.use(express.raw({ limit: '10mb' }))
app.post('/echo', (request, response) => response.send(request.body))
app.get('/stream', (_request, response) => Readable.from([bulk, bulk]).pipe(response))
app.get('/cut', (request) => request.socket.destroy())
const server = http.createServer(app)
// Without it http ends a connection whose peer has ended its half, answered or not.
server.httpAllowHalfOpen = true
const port = await listen(server)

function ask(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/octet-stream' }
    const request = http.request({ port, host: '127.0.0.1', method, path, headers }, (response) =>
      collect(response).then((bytes) => resolve({ status: response.statusCode, bytes }), reject),
    )
    request.on('error', reject)
    request.end(body)
  })
}

const echoed = await ask('POST', '/echo', bulk)
const streamed = await ask('GET', '/stream')
const missing = await ask('GET', '/missing')
const raw = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
raw.end('GET /stream HTTP/1.0\r\n\r\n')
const answer = await collect(raw)
const cut = await codeOf(ask('GET', '/cut'))
server.close()
server.closeAllConnections()
report({
  right: echoed.bytes.equals(bulk),
  streamed: streamed.bytes.equals(Buffer.concat([bulk, bulk])),
  halfClosed: answer.subarray(-2 * bulk.length).equals(Buffer.concat([bulk, bulk])),
  missing: missing.status,
  cut,
})
