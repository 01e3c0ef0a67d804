/** The server of the flood: swallows what streams bring, and says how it is when asked. */

import { netRegistry } from '../../ts/net/carrier.ts'
import { createServer } from '../../ts/net/index.ts'
import type { ServerReport } from './messages.ts'

let bytes = 0
const server = createServer((socket) => {
  socket.on('data', (data) => {
    bytes += data.length
    // The first bytes of every stream are answered: whoever connects knows that it got through.
    if (data.length < 100) socket.write(data)
  })
  socket.on('error', () => {})
})
server.listen({ port: 0, host: '127.0.0.1', transport: 'udp' } as never, () => {
  const address = server.address()
  if (typeof address === 'object' && address !== null) process.send?.({ port: address.port })
})

process.on('message', () => {
  global.gc?.()
  const totals = netRegistry().carrier?.totals?.() ?? {}
  const { rss, heapUsed, external } = process.memoryUsage()
  const report: ServerReport = {
    bytes,
    memoryBytes: rss,
    heldBytes: heapUsed + external,
    cookiesSent: totals['retriesSent'] ?? 0,
    datagramsReceived: totals['datagramsReceived'] ?? 0,
  }
  process.send?.(report)
})
process.on('disconnect', () => process.exit(0))
