// node:http: an Agent that keeps connections, bulk both ways, Upgrade to raw bytes, an abrupt end.
import { once } from 'node:events'
import http from 'node:http'
import { bulk, codeOf, collect, listen, report } from './kit.mjs'

const connections = new Set()
const server = http.createServer(async (request, response) => {
  connections.add(request.socket)
  if (request.url === '/cut') request.socket.resetAndDestroy()
  else response.end(await collect(request))
})
server.on('upgrade', (_request, socket, head) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  socket.write(head)
  socket.pipe(socket)
})
const port = await listen(server)
const agent = new http.Agent({ keepAlive: true, maxSockets: 2 })

async function post(path) {
  const request = http.request({ port, host: '127.0.0.1', agent, path, method: 'POST' })
  request.end(bulk)
  const [response] = await once(request, 'response')
  return collect(response)
}

const bodies = await Promise.all([1, 2, 3, 4].map(() => post('/echo')))
const cut = await codeOf(post('/cut'))

const upgrade = http.request({
  port,
  host: '127.0.0.1',
  headers: { Connection: 'Upgrade', Upgrade: 'echo' },
})
upgrade.end()
const [, raw] = await once(upgrade, 'upgrade')
raw.end(bulk)
const echoed = await collect(raw)

agent.destroy()
server.close()
server.closeAllConnections()
await once(server, 'close')
report({
  right: bodies.filter((body) => body.equals(bulk)).length,
  connections: connections.size,
  cut,
  upgraded: echoed.equals(bulk),
})
