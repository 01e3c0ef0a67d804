// mqtt against aedes: a big message both ways, two clients, half-close, an orderly and an abrupt end.
import { once } from 'node:events'
import net from 'node:net'
import { Aedes } from 'aedes'
import mqtt from 'mqtt'
import { bulk, closed, listen, report } from './kit.mjs'

const broker = await Aedes.createBroker()
const sockets = []
const server = net.createServer((socket) => {
  sockets.push(socket)
  broker.handle(socket)
})
const port = await listen(server)
const open = async () => {
  const client = mqtt.connect({ host: '127.0.0.1', port, reconnectPeriod: 0 })
  client.on('error', () => {})
  await once(client, 'connect')
  return client
}
const reader = await open()
const writer = await open()
await reader.subscribeAsync('big', { qos: 1 })
const arrived = once(reader, 'message')
await writer.publishAsync('big', bulk, { qos: 1 })
const [topic, message] = await arrived
await writer.endAsync()
const third = await open()
const last = once(reader, 'message')
third.publish('big', bulk)
third.stream.end()
const [, halfClosed] = await last
await third.endAsync(true)
const isClosed = closed(reader)
sockets[0].resetAndDestroy()
await isClosed
const isConnected = reader.connected
await reader.endAsync(true)
await new Promise((resolve) => broker.close(resolve))
await new Promise((resolve) => server.close(resolve))
report({
  halfClosed: halfClosed.equals(bulk),
  right: message.equals(bulk),
  topic,
  isConnected,
  connections: sockets.length,
})
