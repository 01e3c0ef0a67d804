/**
 * One end of a transfer that goes on until it is killed, and says all the time how it is. `path-process.ts ADDRESS` is the server, `path-process.ts ADDRESS PORT` the client.
 */
import type { Connection, Stream } from '../../transport/index.ts'
import { Driver, Loop, nowMicros } from '../index.ts'

/** What is written each time, and how often: about 50 Mbit/s, which leaves the processor alone. */
const CHUNK = Buffer.alloc(65_536, 7)
const PERIOD_MS = 10
const REPORT_MS = 50

export interface PathReport {
  /** Client: milliseconds from dialling until the connection was open, and until `packetBytes`. */
  readonly openedMs: number
  readonly settledMs: number
  readonly packetBytes: number
  /** Server: bytes so far, and the longest time without any since the last 'reset'. */
  readonly received: number
  readonly longestGapMs: number
}

const [, , address = '', portText] = process.argv
const loop = new Loop()
const driver = new Driver({
  loop,
  binding: { address: portText === undefined ? address : '', port: 0, family: 4 },
})
const { endpoint } = driver
const startedAt = performance.now()
let openedMs = 0
let settledMs = 0
let packetBytes = 0
let received = 0
let lastAt = 0
let longestGapMs = 0
let connection: Connection | undefined

function serve(): void {
  const scratch = Buffer.alloc(65_536)
  endpoint.owner = {
    stream: (stream) => ({
      readable() {
        const now = performance.now()
        if (lastAt > 0) longestGapMs = Math.max(longestGapMs, now - lastAt)
        lastAt = now
        for (let size = stream.readInto(scratch); size > 0; size = stream.readInto(scratch)) {
          received += size
        }
      },
      writable() {},
      failed() {},
    }),
  }
  endpoint.setListening(true)
  process.send?.({ port: driver.socket.port })
}

function dial(port: number): void {
  const owner = { opened: () => (openedMs = performance.now() - startedAt) }
  connection = endpoint.connect(nowMicros(), { socketIndex: 0, address, port }, owner)
  const ends = { readable() {}, writable() {}, failed() {} }
  const stream = connection?.openStream(0, ends) as Stream
  setInterval(() => {
    stream.write(CHUNK)
    const now = connection?.figures().packetBytes ?? 0
    if (now === packetBytes) return
    packetBytes = now
    settledMs = performance.now() - startedAt
  }, PERIOD_MS)
}

process.on('message', () => (longestGapMs = 0))
process.on('disconnect', () => process.exit())
if (portText === undefined) serve()
else dial(Number(portText))
setInterval(() => {
  const report: PathReport = { openedMs, settledMs, packetBytes, received, longestGapMs }
  process.send?.(report)
}, REPORT_MS)
