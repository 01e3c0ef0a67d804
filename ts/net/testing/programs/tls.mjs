// node:tls: bulk both ways, half-close, client certificate, an abrupt end.
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
const other = tls.connect(options)
other.write('cut')
const rest = await codeOf(collect(other).then((bytes) => bytes.length))
server.close()
await once(server, 'close')
report({
  echoed: echoed.equals(bulk),
  protocol: client.getProtocol() ?? 'closed',
  seen,
  rest,
})
