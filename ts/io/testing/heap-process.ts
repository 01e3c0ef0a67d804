/**
 * Moves datagrams over loopback and says how much the JavaScript heap has grown for it.
 *
 *     node --expose-gc heap-process.ts punchline|dgram PACKETS [LEAK_BYTES_PER_PACKET]
 *
 * Prints JSON: packets, bytes of heap per packet kept after collection, size of the core's memory
 * before and after.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Stream } from '../../transport/index.ts'
import { Driver, Loop, nowMicros } from '../index.ts'

const PAYLOAD_BYTES = 1_200
const WINDOW = 64

const [, , kind, packetsText, leakText = '0'] = process.argv
const packets = Number(packetsText)
const leakBytes = Number(leakText)
/** What a defect would look like: something kept for each packet. */
const leaked: unknown[] = []

interface Result {
  readonly packets: number
  readonly heapPerPacket: number
  readonly coreBytesBefore: number
  readonly coreBytesAfter: number
}

function heapNow(): number {
  for (let round = 0; round < 3; round++) globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function leak(count: number): void {
  if (leakBytes === 0) return
  // An array of n numbers that are no small integers takes 8n bytes and its headers.
  for (let index = 0; index < count; index++) {
    leaked.push(Array.from({ length: Math.ceil(leakBytes / 8) }, () => index + 0.5))
  }
}

/** One stream between two endpoints, as fast as it goes. */
async function throughPunchline(): Promise<Result> {
  const loop = new Loop()
  const binding = { address: '127.0.0.1', port: 0, family: 4 } as const
  const options = { packetBytesMax: PAYLOAD_BYTES }
  const server = new Driver({ loop, binding, options })
  const client = new Driver({ loop, binding, options })
  const chunk = Buffer.alloc(65_536, 7)
  const sink = Buffer.alloc(65_536)
  server.endpoint.owner = {
    stream: (stream) => ({
      readable() {
        while (stream.readInto(sink) > 0);
      },
      writable() {},
      failed() {},
    }),
  }
  server.endpoint.setListening(true)
  const to = { socketIndex: 0, address: '127.0.0.1', port: server.socket.port }
  const connection = client.endpoint.connect(nowMicros(), to, {})
  const received = () => server.endpoint.counters().packetsReceived
  const fill = (stream: Stream) => {
    while (stream.write(chunk) === chunk.length);
  }
  let isStopped = false
  const stream = connection?.openStream(0, {
    readable() {},
    writable() {
      if (!isStopped) fill(stream as Stream)
    },
    failed() {},
  })
  if (stream === undefined) throw new Error('no stream')
  const reach = async (count: number) => {
    let last = received()
    fill(stream)
    while (received() < count) {
      await new Promise((resolve) => setImmediate(resolve))
      const now = received()
      leak(now - last)
      last = now
    }
  }
  await reach(packets / 5)
  const before = heapNow()
  const start = received()
  const coreBytesBefore = loop.core.u8.length
  await reach(start + packets)
  const growth = heapNow() - before
  const moved = received() - start
  const coreBytesAfter = loop.core.u8.length
  isStopped = true
  client.close()
  server.close()
  return { packets: moved, heapPerPacket: growth / moved, coreBytesBefore, coreBytesAfter }
}

/** The same number of datagrams through two sockets of `node:dgram`. */
async function throughDgram(): Promise<Result> {
  const receiver = createSocket('udp4')
  const sender = createSocket('udp4')
  receiver.bind(0, '127.0.0.1')
  sender.bind(0, '127.0.0.1')
  await Promise.all([once(receiver, 'listening'), once(sender, 'listening')])
  const { port } = receiver.address()
  const payload = Buffer.alloc(PAYLOAD_BYTES, 7)
  let received = 0
  let sent = 0
  receiver.on('message', () => {
    received += 1
    leak(1)
  })
  const reach = async (count: number) => {
    let idle = 0
    while (received < count) {
      while (sent - received < WINDOW) {
        sender.send(payload, port, '127.0.0.1')
        sent += 1
      }
      const last = received
      await new Promise((resolve) => setImmediate(resolve))
      idle = received === last ? idle + 1 : 0
      // Lost ones never arrive.
      if (idle > 1000) sent = received
    }
  }
  await reach(packets / 5)
  const before = heapNow()
  const start = received
  await reach(start + packets)
  const growth = heapNow() - before
  sender.close()
  receiver.close()
  const moved = received - start
  return { packets: moved, heapPerPacket: growth / moved, coreBytesBefore: 0, coreBytesAfter: 0 }
}

const result = await (kind === 'dgram' ? throughDgram() : throughPunchline())
console.log(JSON.stringify(result))
// What was leaked on purpose must still be there when the heap is measured.
process.exitCode = leaked.length > Number.MAX_SAFE_INTEGER ? 1 : 0
