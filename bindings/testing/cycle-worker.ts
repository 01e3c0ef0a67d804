/** A thread that opens native sockets and is ended in the middle of traffic. */
import { parentPort, workerData } from 'node:worker_threads'
import { searchAddon } from '../addon.ts'
import { PACKAGE_ROOT } from '../package-root.cjs'
import { loopback, NativePair, pattern } from './native-pair.ts'

const { tier } = workerData as { tier: string }
const { addon } = searchAddon(process.env['PUNCHLINE_NATIVE'], PACKAGE_ROOT)
if (addon === undefined) throw new Error('no addon')
const pair = new NativePair(addon, tier === 'uring')
const [from, to] = [pair.open(), pair.open()]
const send = () => {
  for (let index = 0; index < 8; index++) pair.lay(pattern(1200, index), 0, loopback(4, to.port))
  from.flush()
}
to.onReceived = send
send()
pair.hub.setDeadline(100)
parentPort?.postMessage('under way')
