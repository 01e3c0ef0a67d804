// node:https: the same over TLS that Node makes itself; half-close after an Upgrade.
import { once } from 'node:events'
import https from 'node:https'
import { makeCertificate } from '../certificate.ts'
import { bulk, codeOf, collect, listen, report } from './kit.mjs'

const { key, cert } = makeCertificate()
const server = https.createServer({ key, cert, allowHalfOpen: true }, async (request, response) => {
  if (request.url === '/cut') request.socket.destroy()
  else response.end(await collect(request))
})
server.on('upgrade', (_request, socket, head) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  socket.write(head)
  socket.pipe(socket)
})
const port = await listen(server)
const agent = new https.Agent({ keepAlive: true, ca: cert, servername: 'localhost' })

async function post(path) {
  const request = https.request({ port, host: '127.0.0.1', agent, path, method: 'POST' })
  request.end(bulk)
  const [response] = await once(request, 'response')
  const isAuthorized = response.socket.authorized
  return { body: await collect(response), isAuthorized }
}

const first = await post('/echo')
const second = await post('/echo')
const cut = await codeOf(post('/cut'))
const stranger = await codeOf(
  once(https.get({ port, host: '127.0.0.1', agent: false }), 'response'),
)
const upgrade = https.get({
  port,
  host: '127.0.0.1',
  ca: cert,
  servername: 'localhost',
  agent: false,
  headers: { Connection: 'Upgrade', Upgrade: 'echo' },
})
const [, raw] = await once(upgrade, 'upgrade')
raw.end(bulk)
const echoed = await collect(raw)
agent.destroy()
server.close()
server.closeAllConnections()
report({
  right: [first, second].filter(({ body }) => body.equals(bulk)).length,
  isAuthorized: first.isAuthorized,
  cut,
  stranger,
  upgraded: echoed.equals(bulk),
})
