/**
 * `tls` and `http2` wrap a socket without a kernel handle as if it were any JavaScript stream. Two
 * things go wrong with that when the stream is a `net.Socket`, and both need to know of the wrapper,
 * which leaves no other mark on the socket than its 'end' listener:
 *
 * - The wrapper writes on after the peer's FIN (close_notify, the rest of the answer). A socket that
 *   ends itself at 'end' would cut that off; with a kernel handle the wrapper owns the handle and
 *   nothing ends by itself.
 * - `TLSSocket` takes a socket without a handle for one that is still connecting, and waits for a
 *   'connect' that an open socket never tells again.
 */
import type { InternalSocket } from './internals.ts'

/** Says whether a wrapper of the runtime reads this socket. */
export function isReadByWrapper(socket: InternalSocket): boolean {
  return socket
    .listeners('end')
    .some((listener) => Function.prototype.toString.call(listener).includes('emitEOF'))
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
