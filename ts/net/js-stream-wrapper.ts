/**
 * `tls` and `http2` wrap a socket without a kernel handle as if it were any JavaScript stream. Four
 * things go wrong with that when the stream is a `net.Socket`, and all need to know of the wrapper,
 * which leaves no other mark on the socket than its listeners:
 *
 * - The wrapper writes on after the peer's FIN (close_notify, the rest of the answer). A socket that
 *   ends itself at 'end' would cut that off; with a kernel handle the wrapper owns the handle and
 *   nothing ends by itself.
 * - `TLSSocket` takes a socket without a handle for one that is still connecting, and waits for a
 *   'connect' that an open socket never tells again.
 * - The wrapper of a socket that is still connecting counts as connected. `http2` would tell of a
 *   session that may never come to be, and of its failure after the program has given it up.
 * - The wrapper works through a chunk without letting ticks run in between: see `frame-cutter.ts`.
 */
import net from 'node:net'
import type { InternalSocket } from './internals.ts'

/** Says whether a wrapper of the runtime reads this socket. */
export function isReadByWrapper(socket: InternalSocket): boolean {
  return socket
    .listeners('end')
    .some((listener) => Function.prototype.toString.call(listener).includes('emitEOF'))
}

/** Says whether `http2` is behind the wrapper, or `tls`: by who listens to the wrapper's 'close'. */
export function isReadByHttp2(socket: InternalSocket): boolean {
  const listeners = wrapperOf(socket)?.listeners('close')
  return listeners?.some(({ name }) => name === 'socketOnClose') === true
}

/** Lets the wrapper of a connecting socket connect when the socket does. */
export function connectWrapper(socket: InternalSocket): void {
  const wrapper = wrapperOf(socket)
  if (wrapper === undefined) return
  wrapper.connecting = true
  socket.once('connect', () => {
    wrapper.connecting = false
    wrapper.emit('connect')
  })
}

/** Finds the wrapper by what its listener does: it passes errors on. */
function wrapperOf(socket: InternalSocket): InternalSocket | undefined {
  const passesOn = (listener: unknown) =>
    Function.prototype.toString.call(listener).includes("this.emit('error', err)")
  const listener = socket.listeners('error').find(passesOn)
  if (listener === undefined) return undefined
  let wrapper: InternalSocket | undefined
  const { prototype } = net.Socket
  const own = Object.getOwnPropertyDescriptor(prototype, 'emit')
  const value = function (this: InternalSocket) {
    wrapper = this
  }
  Object.defineProperty(prototype, 'emit', { value, configurable: true })
  try {
    listener()
  } finally {
    if (own === undefined) Reflect.deleteProperty(prototype, 'emit')
    else Object.defineProperty(prototype, 'emit', own)
  }
  return wrapper
}

// What the built-in asks of a handle that it happens to see in that moment.
const momentaryHandle = { reading: true, setNoDelay() {}, setKeepAlive() {} }

/**
 * Shows a handle until the running JavaScript has returned: long enough for the constructor of
 * `TLSSocket`, which calls `resume` of the socket before it looks whether it is connected.
 */
export function showHandle(socket: InternalSocket): void {
  if (socket._handle) return
  socket._handle = momentaryHandle
  queueMicrotask(() => {
    if (socket._handle === momentaryHandle) socket._handle = null
  })
}
