/**
 * The server of the flood: swallows what streams bring, and says how it is when asked. The built
 * package and no loader, as in a user's process.
 */
import { createServer } from 'punchline/net'

let bytes = 0
const server = createServer((socket) => {
  socket.on('data', (data) => {
    bytes += data.length
    // The first bytes of every stream are answered: whoever connects knows that it got through.
    if (data.length < 100) socket.write(data)
  })
  socket.on('error', () => {})
})
server.listen({ port: 0, host: '127.0.0.1', transport: 'udp' }, () => {
  process.send({ port: server.address().port })
})

process.on('message', () => {
  global.gc()
  const totals = globalThis[Symbol.for('punchline.net.v1')].carrier.totals()
  const { rss, heapUsed } = process.memoryUsage()
  /** @type {import('./messages.ts').ServerReport} */
  const report = {
    bytes,
    memoryBytes: rss,
    heldBytes: heapUsed,
    cookiesSent: totals.retriesSent,
    datagramsReceived: totals.datagramsReceived,
  }
  process.send(report)
})
process.on('disconnect', () => process.exit(0))
