// ssh2: client and server; a command whose input is echoed, half-close, an abrupt end.
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import ssh from 'ssh2'
import { bulk, closed, collect, listen, report } from './kit.mjs'

const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'pkcs1', format: 'pem' },
  privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
})
const server = new ssh.Server({ hostKeys: [privateKey] }, (peer) => {
  peer.on('error', () => {})
  peer.on('authentication', (attempt) => attempt.accept())
  peer.on('ready', () => {
    peer.on('session', (accept) => {
      accept().on('exec', async (acceptCommand, _reject, { command }) => {
        const channel = acceptCommand()
        if (command === 'cut') {
          peer._sock.destroy()
          return
        }
        channel.write(await collect(channel))
        channel.exit(0)
        channel.end()
      })
    })
  })
})
const port = await listen(server)
const open = async () => {
  const client = new ssh.Client()
  client.on('error', () => {})
  client.connect({ host: '127.0.0.1', port, username: 'u', password: 'p' })
  await once(client, 'ready')
  return client
}
const run = (client, command) =>
  new Promise((resolve, reject) =>
    client.exec(command, (error, channel) => (error ? reject(error) : resolve(channel))),
  )
const client = await open()
const channel = await run(client, 'echo')
channel.end(bulk)
const echoed = await collect(channel)
const isClosed = closed(client)
client.end()
await isClosed
const other = await open()
const isCut = closed(other)
run(other, 'cut').catch(() => {})
await isCut
server.close()
report({ right: echoed.equals(bulk), cut: true })
