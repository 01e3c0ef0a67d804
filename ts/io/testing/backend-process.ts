/**
 * Chooses a backend as a program would and prints what became of it as JSON, with the events of the
 * diagnostics channel.
 */
import { subscribe } from 'node:diagnostics_channel'
import { BACKEND_CHANNEL, Driver, Loop } from '../index.ts'

const events: unknown[] = []
subscribe(BACKEND_CHANNEL, (event) => events.push(event))

function outcome(): object {
  try {
    const loop = new Loop()
    const binding = { address: '127.0.0.1', port: 0, family: 4 } as const
    const drivers = [new Driver({ loop, binding }), new Driver({ loop, binding })]
    const [{ backend, backendReason }] = drivers as [Driver, Driver]
    for (const driver of drivers) driver.close()
    loop.close()
    return { backend, reason: backendReason, events }
  } catch (error) {
    const { code, message } = error as Error & { readonly code?: string }
    return { code, message, events }
  }
}

console.log(JSON.stringify(outcome()))
