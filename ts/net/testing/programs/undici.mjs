// undici: a pool, bulk both ways, an abrupt end.
import http from 'node:http'
import { Pool } from 'undici'
import { bulk, codeOf, collect, listen, report } from './kit.mjs'

const server = http.createServer(async (request, response) => {
  if (request.url === '/cut') request.socket.destroy()
  else response.end(await collect(request))
})
const port = await listen(server)
const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 3 })
const post = async (path) => {
  const { body } = await pool.request({ path, method: 'POST', body: bulk })
  return Buffer.from(await body.arrayBuffer())
}
const bodies = await Promise.all([1, 2, 3, 4, 5, 6].map(() => post('/echo')))
const cut = await codeOf(post('/cut'))
await pool.close()
server.close()
report({ right: bodies.filter((body) => body.equals(bulk)).length, cut })
