/** Opens a socket, does with it what the argument says, and ends by itself when it may. */
import { Driver, Loop } from '../index.ts'

const [, , action] = process.argv
const loop = new Loop()
const driver = new Driver({ loop, binding: { address: '127.0.0.1', port: 0, family: 4 } })
if (action === 'unref') driver.socket.setRef(false)
if (action === 'close') driver.close()
if (action === 'ref-again') {
  driver.socket.setRef(false)
  driver.socket.setRef(true)
}
process.on('message', () => process.exit(0))
process.channel?.unref()
process.send?.(driver.backend)
