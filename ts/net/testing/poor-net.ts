/**
 * A stand-in for `node:net` that only moves bytes: good enough for an http request and for ws, and
 * no more. The differential scripts have to find it out, or they would prove nothing.
 */
import builtin from 'node:net'
import { Duplex } from 'node:stream'

class Socket extends Duplex {
  private inner: builtin.Socket | undefined
  readonly encrypted = false

  carry(inner: builtin.Socket): this {
    this.inner = inner
    inner.on('data', (data) => this.push(data))
    inner.on('end', () => this.push(null))
    inner.on('error', (error) => this.destroy(error))
    inner.on('close', () => this.destroy())
    return this
  }

  connect(options: builtin.TcpNetConnectOpts, onConnect?: () => void): this {
    const inner = builtin.connect(options.port, options.host ?? '127.0.0.1')
    if (onConnect) this.once('connect', onConnect)
    inner.once('connect', () => this.emit('connect'))
    return this.carry(inner)
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, callback: () => void): void {
    this.inner?.write(chunk, callback)
  }

  override _final(callback: () => void): void {
    this.inner?.end(callback)
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.inner?.destroy()
    callback(error)
  }

  setTimeout(): this {
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  destroySoon(): void {
    this.end()
  }
}

class Server extends builtin.Server {
  constructor(options?: object | (() => void), onSocket?: (socket: Socket) => void) {
    super()
    const listener = (typeof options === 'function' ? options : onSocket) as never
    if (listener) this.on('poor', listener)
    this.on('connection', (inner) => this.emit('poor', new Socket().carry(inner)))
  }
}

function toOptions(args: unknown[]): [builtin.TcpNetConnectOpts, (() => void) | undefined] {
  const [first, second] = args
  const callback = args.find((arg) => typeof arg === 'function') as (() => void) | undefined
  if (typeof first === 'object') return [first as builtin.TcpNetConnectOpts, callback]
  return [
    { port: Number(first), host: typeof second === 'string' ? second : '127.0.0.1' },
    callback,
  ]
}

const connect = (...args: unknown[]) => new Socket().connect(...toOptions(args))

export const poorNet = {
  Socket,
  Stream: Socket,
  Server,
  connect,
  createConnection: connect,
  createServer: (options?: object, onSocket?: (socket: Socket) => void) =>
    new Server(options, onSocket),
  isIP: builtin.isIP,
  isIPv4: builtin.isIPv4,
  isIPv6: builtin.isIPv6,
} as unknown as typeof builtin
