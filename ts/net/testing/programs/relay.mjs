// Real servers listen on the kernel's TCP. This relay lets a program reach one the way it goes.
import net from 'node:net'
import { pipeline } from 'node:stream'
import { listen } from './kit.mjs'

export async function relay(port) {
  const open = new Set()
  const server = net.createServer((socket) => {
    const inner = net.connect({ port, host: '127.0.0.1', transport: 'tcp' })
    // The pipeline stops listening when it is through; a reset may come after that.
    for (const each of [inner, socket]) open.add(each.on('error', () => {}))
    pipeline(socket, inner, socket, () => {})
  })
  const own = await listen(server)
  return {
    port: own,
    cut: () => {
      for (const socket of open) socket.destroy()
    },
    close: () => server.close(),
  }
}
