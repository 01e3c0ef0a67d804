// undici: a pool, bulk both ways, half-close after an Upgrade, an abrupt end.
import http from 'node:http'
import { Pool } from 'undici'
import { bulk, codeOf, collect, listen, report } from './kit.mjs'

const server = http.createServer(async (request, response) => {
  if (request.url === '/cut') request.socket.destroy()
  else response.end(await collect(request))
})
server.on('upgrade', (_request, socket, head) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  socket.write(head)
  socket.pipe(socket)
})
const port = await listen(server)
const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 3 })
const post = async (path) => {
  const { body } = await pool.request({ path, method: 'POST', body: bulk })
  return Buffer.from(await body.arrayBuffer())
}
const bodies = await Promise.all([1, 2, 3, 4, 5, 6].map(() => post('/echo')))
const cut = await codeOf(post('/cut'))
const { socket } = await pool.upgrade({ path: '/', method: 'GET', protocol: 'echo' })
socket.end(bulk)
const echoed = await collect(socket)
await pool.close()
server.close()
report({
  right: bodies.filter((body) => body.equals(bulk)).length,
  cut,
  upgraded: echoed.equals(bulk),
})
