/**
 * Sends initial packets from many addresses of the loopback network at a given rate, without ever
 * reading an answer: what somebody with forged source addresses can do.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { Core } from '../../bindings/core.ts'
import { systemRandom } from '../../ts/io/index.ts'
import { Endpoint } from '../../ts/transport/index.ts'
import type { FloodOrder, FloodReport } from './messages.ts'

const SOURCES = 64
/** Different first packets; each is what an honest client would send. */
const PACKETS = 4096

/** Genuine first packets, recorded before they leave. */
function recordInitials(): Buffer[] {
  const core = Core.create({ memoryBytes: 16 * 1024 * 1024 })
  const packets: Buffer[] = []
  const endpoint = new Endpoint({ core, random: systemRandom(), now: 0 })
  const nobody = { socketIndex: 0, address: '192.0.2.1', port: 9 }
  while (packets.length < PACKETS) {
    const connection = endpoint.connect(0, nobody, {})
    while (endpoint.flush(0) > 0) endpoint.collect((_, bytes) => packets.push(Buffer.from(bytes)))
    connection?.close()
  }
  endpoint.destroy()
  return packets
}

/** Whoever forges addresses never sees an answer: the sockets do not read. */
function stopReading(socket: Socket): void {
  const state = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'state symbol',
  ) as symbol
  const { handle } = (socket as unknown as Record<symbol, { handle: { recvStop(): void } }>)[
    state
  ] as { handle: { recvStop(): void } }
  handle.recvStop()
}

async function openSources(): Promise<Socket[]> {
  const sockets = Array.from({ length: SOURCES }, () => createSocket('udp4'))
  await Promise.all(
    sockets.map((socket, index) => {
      socket.bind(0, `127.${1 + (index >> 2)}.${index + 3}.${7 + index * 3}`)
      return once(socket, 'listening')
    }),
  )
  for (const socket of sockets) stopReading(socket)
  return sockets
}

const packets = recordInitials()
const sockets = await openSources()
const order: { port: number; rate: number } = { port: 0, rate: 0 }
let sent = 0
let owed = 0
let last = performance.now()

/** Sends what the time that has passed allows. */
function turn(): void {
  const now = performance.now()
  owed = Math.min(owed + ((now - last) / 1000) * order.rate, order.rate / 20)
  last = now
  for (let burst = 0; owed >= 1 && burst < 256; burst += 1) {
    const packet = packets[sent % PACKETS] as Buffer
    sockets[sent % SOURCES]?.send(packet, order.port, '127.0.0.1')
    owed -= 1
    sent += 1
  }
  // Whoever is behind goes on at once; else others need the processor more.
  if (order.rate > 0) owed >= 256 ? setImmediate(turn) : setTimeout(turn, 1)
}

process.on('message', (message: FloodOrder) => {
  const wasIdle = order.rate === 0
  Object.assign(order, message)
  if (message.rate === 0) process.send?.({ sent } satisfies FloodReport)
  else if (wasIdle) {
    last = performance.now()
    turn()
  }
})
process.on('disconnect', () => process.exit(0))
process.send?.('ready')
