/**
 * What a server over UDP has instead of a kernel handle. The built-in's `address()`, `close()`,
 * `listening`, `ref`, `unref` and asynchronous disposal work on it unmodified.
 */
import { AsyncResource } from 'node:async_hooks'
import { type EndpointName, type InternalServer, kListener } from './internals.ts'
import type { Line, Listener, ListenerOwner } from './line.ts'
import { Link } from './link.ts'

// The runtime makes the handle of an accepted connection outside of all callbacks, so that nothing
// an AsyncLocalStorage held while listening reaches the connection's events.
const outside = new AsyncResource('PUNCHLINE_ACCEPT')

/** Takes an accepted line whose bytes may already be arriving. */
export type Accept = (server: InternalServer, line: Line, link: Link) => void

export class ListenHandle extends AsyncResource implements ListenerOwner {
  private readonly server: InternalServer
  private readonly accept: Accept
  private listener: Listener | null = null

  constructor(server: InternalServer, accept: Accept) {
    super('PUNCHLINE_SERVER')
    this.server = server
    this.accept = accept
  }

  /** Takes the bound listener; its owner is this handle. */
  bound(listener: Listener): void {
    this.listener = listener
    this.server[kListener] = listener
  }

  incoming(line: Line): boolean {
    if (this.listener === null) return false
    const link = outside.runInAsyncScope(() => new Link())
    line.owner = link
    // The listeners of 'connection' must not run inside the carrier.
    process.nextTick(deliver, this, line, link)
    return true
  }

  failed(cause: Error): void {
    process.nextTick(() => this.runInAsyncScope(() => this.server.emit('error', cause)))
  }

  /** @internal Hands an accepted line to the server; one that was closed meanwhile resets it. */
  deliver(line: Line, link: Link): void {
    if (this.listener === null) line.reset()
    else this.accept(this.server, line, link)
  }

  // ---- What the built-in asks of a handle. ----

  close(callback?: () => void): void {
    this.listener?.close()
    this.listener = null
    this.server[kListener] = null
    if (callback !== undefined) setImmediate(callback)
  }

  getsockname(out: EndpointName): number {
    if (this.listener !== null) Object.assign(out, this.listener.address)
    return 0
  }

  ref(): void {
    this.listener?.setRef(true)
  }

  unref(): void {
    this.listener?.setRef(false)
  }
}

function deliver(handle: ListenHandle, line: Line, link: Link): void {
  handle.runInAsyncScope(handle.deliver, handle, line, link)
}
