// node:https: the same over TLS that Node makes itself.
import { once } from 'node:events'
import https from 'node:https'
import { makeCertificate } from '../certificate.ts'
import { bulk, codeOf, collect, listen, report } from './kit.mjs'

const { key, cert } = makeCertificate()
const server = https.createServer({ key, cert }, async (request, response) => {
  if (request.url === '/cut') request.socket.destroy()
  else response.end(await collect(request))
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
agent.destroy()
server.close()
await once(server, 'close')
report({
  right: [first, second].filter(({ body }) => body.equals(bulk)).length,
  isAuthorized: first.isAuthorized,
  cut,
  stranger,
})
