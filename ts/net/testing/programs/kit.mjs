// What the programs share. None of them knows of Punchline: they import what they always did.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'

/** Bytes that go each way: more than any window. */
export const bulk = randomBytes(1_500_000)

/** Listens on a free port of this machine. */
export async function listen(server) {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server.address().port
}

/** Collects a stream until its end. The other direction stays open. */
export function collect(stream) {
  return new Promise((resolve, reject) => {
    const chunks = []
    stream.on('data', (chunk) => chunks.push(chunk))
    stream.on('end', () => resolve(Buffer.concat(chunks)))
    stream.on('error', reject)
    stream.on('close', () => reject(new Error('closed before its end')))
  })
}

/** Waits for 'close', whatever error comes before it. */
export function closed(emitter) {
  return new Promise((resolve) => emitter.on('close', (...args) => resolve(args)))
}

/** Gives the code of the error that `promise` fails with. */
export function codeOf(promise) {
  return promise.then(
    () => 'no error',
    (error) => error.code ?? error.name,
  )
}

/** Says what came out, for the test. */
export function report(facts) {
  console.log(JSON.stringify(facts))
}
