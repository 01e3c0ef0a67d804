// ioredis and redis against a real Redis: a big value both ways, a pipeline, pub/sub, an
// end with a command under way, an abrupt end.
import { once } from 'node:events'
import Redis from 'ioredis'
import { createClient } from 'redis'
import { bulk, codeOf, report } from './kit.mjs'
import { relay } from './relay.mjs'

const text = bulk.toString('hex')
const way = await relay(Number(process.env.SERVER_PORT))
const options = { host: '127.0.0.1', port: way.port }

const first = new Redis({ ...options, retryStrategy: () => null })
first.on('error', () => {})
await first.set('big', bulk)
const value = await first.getBuffer('big')
const pipeline = first.pipeline()
for (let index = 0; index < 500; index += 1) pipeline.incr('count')
const counted = await pipeline.exec()
await first.del('count', 'big')
const listener = first.duplicate()
await listener.subscribe('news')
const heard = once(listener, 'message')
await first.publish('news', 'hello')
const [, news] = await heard
await listener.quit()

const leaving = first.duplicate()
await leaving.set('big', bulk)
const late = leaving.getBuffer('big')
await leaving.quit()
await first.del('big')

const second = createClient({ socket: { ...options, reconnectStrategy: false } })
second.on('error', () => {})
await second.connect()
await second.set('text', text)
const other = await second.get('text')
await second.del('text')
const third = second.duplicate()
third.on('error', () => {})
await third.connect()
const last = third.echo(text)
await third.close()
const waiting = [codeOf(first.blpop('never', 0)), codeOf(second.blPop('never', 0))]
await new Promise((resolve) => setImmediate(resolve))
way.cut()
const cut = (await Promise.all(waiting)).map((code) => code !== 'no error')
first.disconnect()
if (second.isOpen) second.destroy()
way.close()
report({
  value: value.equals(bulk),
  counted: counted.at(-1)[1],
  news,
  text: other === text,
  late: [(await late).equals(bulk), (await last) === text],
  cut,
})
