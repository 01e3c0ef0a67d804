// node:tls: bulk both ways, half-close, client certificate, reading into own memory, an abrupt end.
import { once } from 'node:events'
import tls from 'node:tls'
import { makeCertificate } from '../certificate.ts'
import { bulk, codeOf, collect, listen, report } from './kit.mjs'

const { key, cert } = makeCertificate()
const seen = []
const server = tls.createServer(
  { key, cert, ca: cert, requestCert: true, rejectUnauthorized: false, allowHalfOpen: true },
  async (socket) => {
    socket.on('error', () => {})
    seen.push(socket.authorized)
    socket.once('data', (first) => {
      if (String(first) === 'cut') socket.destroy()
    })
    socket.end(await collect(socket).catch(() => undefined))
  },
)
const port = await listen(server)
const options = { port, host: '127.0.0.1', ca: cert, servername: 'localhost', allowHalfOpen: true }
const client = tls.connect({ ...options, key, cert })
await once(client, 'secureConnect')
client.end(bulk)
const echoed = await collect(client)
const pieces = []
const callback = (size, buffer) => pieces.push(Buffer.from(buffer.subarray(0, size)))
const reader = tls.connect({ ...options, onread: { buffer: Buffer.alloc(8), callback } })
reader.end(bulk.subarray(0, 20))
await once(reader, 'end')
const other = tls.connect(options)
other.write('cut')
const rest = await codeOf(collect(other).then((bytes) => bytes.length))
server.close()
await once(server, 'close')
report({
  echoed: echoed.equals(bulk),
  protocol: client.getProtocol() ?? 'closed',
  seen,
  pieces: pieces.every((piece) => piece.length <= 8) && Buffer.concat(pieces).length,
  rest,
})
