// An ordinary program: TLS over sockets it makes itself, 300,000 bytes echoed, with half-close.
import { createHash, randomBytes } from 'node:crypto'
import net from 'node:net'
import tls from 'node:tls'
import { makeCertificate } from './certificate.ts'

const SIZE = 300_000

const { key, cert } = makeCertificate()
// Half-open: whoever ends first still gets the rest.
const server = net.createServer({ allowHalfOpen: true }, (raw) => {
  const socket = new tls.TLSSocket(raw, { isServer: true, key, cert, allowHalfOpen: true })
  const chunks = []
  socket.on('data', (chunk) => chunks.push(chunk))
  socket.on('end', () => socket.end(Buffer.concat(chunks)))
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const raw = net.connect({ port: server.address().port, host: '127.0.0.1', allowHalfOpen: true })
const client = tls.connect({ socket: raw, ca: cert, servername: 'localhost', allowHalfOpen: true })
const sent = randomBytes(SIZE)
const protocol = new Promise((resolve) =>
  client.on('secureConnect', () => resolve(client.getProtocol())),
)
const received = createHash('sha256')
let size = 0
client.end(sent)
client.on('data', (chunk) => {
  size += chunk.length
  received.update(chunk)
})
await new Promise((resolve, reject) => client.on('end', resolve).on('error', reject))
client.destroy()
await new Promise((resolve) => server.close(resolve))
const isEqual = received.digest('hex') === createHash('sha256').update(sent).digest('hex')
console.log(
  JSON.stringify({ size, isEqual, authorized: client.authorized, protocol: await protocol }),
)
