/**
 * A child process that echoes over UDP until it is killed, or told to leave: then it ends by itself
 * when its last socket is closed; or told to exit, at once. It tells its parent the port.
 */
import net from '../index.ts'

const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => {})
  socket.pipe(socket)
})
server.listen({ port: 0, host: '127.0.0.1', transport: 'udp' } as never, () => {
  process.send?.((server.address() as { port: number }).port)
})
process.once('message', (message) => {
  if (message === 'exit') process.exit()
  server.close()
  process.disconnect?.()
})
