// node:http2, in plain text and over TLS: parallel streams, half-close, an abrupt end.
import { once } from 'node:events'
import http2 from 'node:http2'
import { makeCertificate } from '../certificate.ts'
import { bulk, closed, codeOf, collect, listen, report } from './kit.mjs'

const { key, cert } = makeCertificate()

async function serve(server, scheme) {
  server.on('stream', async (stream, headers) => {
    stream.on('error', () => {})
    if (headers[':path'] === '/cut') {
      stream.session.destroy()
      return
    }
    stream.respond({ ':status': 200 })
    stream.end(await collect(stream))
  })
  server.on('session', (session) => session.on('error', () => {}))
  const port = await listen(server)
  const client = http2.connect(`${scheme}://127.0.0.1:${port}`, {
    ca: cert,
    servername: 'localhost',
  })
  client.on('error', () => {})
  const post = (path) => {
    const stream = client.request({ ':path': path, ':method': 'POST' })
    stream.end(bulk)
    return collect(stream)
  }
  const bodies = await Promise.all([1, 2, 3].map(() => post('/echo')))
  const isClosed = closed(client)
  const cut = await codeOf(post('/cut').then((body) => (body.length === 0 ? 'ended' : 'whole')))
  client.destroy()
  await isClosed
  server.close()
  await once(server, 'close')
  return { right: bodies.filter((body) => body.equals(bulk)).length, isCut: cut !== 'whole' }
}

report({
  plain: await serve(http2.createServer(), 'http'),
  tls: await serve(http2.createSecureServer({ key, cert }), 'https'),
})
