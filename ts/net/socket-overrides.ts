/**
 * What a `net.Socket` does differently once it speaks UDP. Written once, put on two prototypes: on
 * our own `Socket`, and by `punchline/register` on the built-in one. A socket without a `Link` is
 * none of our business: every method hands it to `base`, the built-in's own.
 */
import diagnosticsChannel from 'node:diagnostics_channel'
import net from 'node:net'
import { Duplex } from 'node:stream'
import { SocketError } from '../errors.ts'
import { getCarrier } from './carrier.ts'
import { dialOptions, lookupAndDial, throwMissingPort } from './dial.ts'
import {
  builtinSocketConnect,
  type EndpointName,
  type InternalSocket,
  kIsOwn,
  kLink,
  kOptions,
  normalizeArguments,
  type overriddenMethods,
  type WriteCallback,
  type WriteEntries,
} from './internals.ts'
import { Link } from './link.ts'
import { chooseSecurity } from './security-choice.ts'
import { socketAccessors } from './socket-accessors.ts'
import { codeOf, nodeError } from './system-errors.ts'
import { chooseTransport } from './transport-choice.ts'
import { WriteJob } from './write-job.ts'

/** The built-in's methods, from the prototype itself or saved before it was patched. */
export type SocketBase = Pick<InternalSocket, (typeof overriddenMethods)[number]>

const clientChannel = diagnosticsChannel.channel('net.client.socket')

// Since Node 22 `connect` itself publishes new clients; before that only `net.connect` does.
let isPublishedByMethod: boolean | undefined

/** Says whether this runtime's `Socket.prototype.connect` publishes 'net.client.socket'. */
export function publishesInConnectMethod(): boolean {
  const text = () => Function.prototype.toString.call(builtinSocketConnect)
  isPublishedByMethod ??= text().includes('netClientSocket')
  return isPublishedByMethod
}

/** Publishes a new client as the built-in does. */
export function publishClient(socket: net.Socket): void {
  if (clientChannel.hasSubscribers) clientChannel.publish({ socket })
}

/** Makes the methods, with `base` below them. */
export function socketMethods(base: SocketBase): SocketBase & ThisType<InternalSocket> {
  const methods = {
    connect(this: InternalSocket, ...args: unknown[]): InternalSocket {
      return connect(this, base, args)
    },

    _read(this: InternalSocket, size: number): void {
      const link = this[kLink]
      if (!link) base._read.call(this, size)
      else if (this.connecting || link.line === null) this.once('connect', () => this._read(size))
      else link.startReading()
    },

    _final(this: InternalSocket, callback: WriteCallback): void {
      const link = this[kLink]
      if (!link) base._final.call(this, callback)
      else if (this.connecting) this.once('connect', () => this._final(callback))
      else if (link.line === null) callback()
      else link.finish(callback)
    },

    _destroy(this: InternalSocket, error: Error | null, callback: WriteCallback): void {
      const link = this[kLink]
      // The built-in does everything else: timers, counters, the server's count, 'close'.
      if (link && !link.isClosed) this._handle = link.closingHandle()
      base._destroy.call(this, error, callback)
    },

    _writeGeneric(
      this: InternalSocket,
      isWritev: boolean,
      data: Uint8Array | string | WriteEntries,
      encoding: BufferEncoding,
      callback: WriteCallback,
    ): unknown {
      const link = this[kLink]
      if (!link) return base._writeGeneric.call(this, isWritev, data, encoding, callback)
      if (this.connecting)
        return writeWhenConnected(this, link, [isWritev, data, encoding, callback])
      this._pendingData = null
      this._pendingEncoding = ''
      if (link.isClosed || link.line === null) {
        callback(nodeError('ERR_SOCKET_CLOSED'))
        return false
      }
      this._unrefTimer()
      link.dispatch(link.takeEarlyJob() ?? writeJob(isWritev, data, encoding), callback)
      return undefined
    },

    _getpeername(this: InternalSocket): EndpointName {
      const link = this[kLink]
      if (!link) return wrapped(this)?._getpeername() ?? base._getpeername.call(this)
      const { line } = link
      if (line === null || this.connecting) return this._peername ?? {}
      const { remoteAddress: address, remotePort: port, family } = line.addresses
      this._peername ??= { address, family, port }
      return this._peername
    },

    _getsockname(this: InternalSocket): EndpointName {
      const link = this[kLink]
      if (!link) return wrapped(this)?._getsockname() ?? base._getsockname.call(this)
      const { line } = link
      if (line === null) return {}
      const { localAddress: address, localPort: port, family } = line.addresses
      this._sockname ??= { address, family, port }
      return this._sockname
    },

    pause(this: InternalSocket): InternalSocket {
      const link = this[kLink]
      if (link && !this.connecting) link.pause(this)
      return base.pause.call(this) as InternalSocket
    },

    resume(this: InternalSocket): InternalSocket {
      const link = this[kLink]
      if (link && !this.connecting) link.resume()
      link?.noticeWrapper()
      return base.resume.call(this) as InternalSocket
    },

    read(this: InternalSocket, size?: number): unknown {
      const link = this[kLink]
      if (link?.hasUserBuffer && !this.connecting) link.resume()
      return base.read.call(this, size)
    },

    ref(this: InternalSocket): InternalSocket {
      return setRef(this, true) ?? (base.ref.call(this) as InternalSocket)
    },

    unref(this: InternalSocket): InternalSocket {
      return setRef(this, false) ?? (base.unref.call(this) as InternalSocket)
    },

    resetAndDestroy(this: InternalSocket): InternalSocket {
      const link = this[kLink]
      if (!link || link.isClosed) return base.resetAndDestroy.call(this) as InternalSocket
      if (this.connecting) this.once('connect', () => this._reset())
      else this._reset()
      return this
    },

    setKeepAlive(this: InternalSocket, ...args: Parameters<net.Socket['setKeepAlive']>) {
      base.setKeepAlive.apply(this, args)
      wrapped(this)?.setKeepAlive(...args)
      this[kLink]?.applyKeepAlive()
      return this
    },

    setNoDelay(this: InternalSocket, ...args: Parameters<net.Socket['setNoDelay']>) {
      base.setNoDelay.apply(this, args)
      wrapped(this)?.setNoDelay(...args)
      this[kLink]?.applyNoDelay()
      return this
    },
  }
  // `this` is declared per method, which the built-in's declarations do not do.
  return methods as unknown as SocketBase & ThisType<InternalSocket>
}

/** Puts an accepted line into a new socket; as the built-in, it starts reading at once. */
export function attachAccepted(
  socket: InternalSocket,
  link: Link,
  accepted: { line: NonNullable<Link['line']>; isPaused: boolean },
): void {
  enterUdp(socket, link)
  link.attachAccepted(socket, accepted.line)
  if (accepted.isPaused) Reflect.set(socket, 'readableFlowing', false)
  else socket.read(0)
}

function enterUdp(socket: InternalSocket, link: Link): void {
  const isFirst = !socket[kLink]
  socket[kLink] = link
  // Those of the built-in prototype cannot be replaced there: they are not configurable.
  if (isFirst && !(kIsOwn in socket)) Object.defineProperties(socket, socketAccessors)
}

function connect(socket: InternalSocket, base: SocketBase, args: unknown[]): InternalSocket {
  const normalized = normalizeArguments(args)
  const [request, callback] = normalized
  if (goesOverTcp(socket, request)) {
    if (socket[kLink]?.isClosed) socket[kLink] = null
    explainCloudNames(socket, request)
    return base.connect.call(socket, normalized as never) as InternalSocket
  }
  const security = chooseSecurity(request.security, socket[kOptions]?.security)
  getCarrier()
  if (publishesInConnectMethod()) publishClient(socket as unknown as net.Socket)
  if (callback !== null) socket.once('connect', callback)
  if (socket._parent?.connecting) return socket
  if (request.port === undefined) throwMissingPort(base)
  const { write } = Duplex.prototype
  if (socket.write !== write) socket.write = write
  if (socket.destroyed) {
    socket._peername = null
    socket._sockname = null
  }
  const link = linkForConnecting(socket)
  socket._unrefTimer()
  socket.connecting = true
  const options = dialOptions(request, base)
  const connectTimeoutMs = request.connectTimeoutMs ?? socket[kOptions]?.connectTimeoutMs
  lookupAndDial(socket, link, { ...options, connectTimeoutMs, security })
  return socket
}

function goesOverTcp(
  socket: InternalSocket,
  request: ReturnType<typeof normalizeArguments>[0],
): boolean {
  const link = socket[kLink]
  if (link && !link.isClosed) return false
  const transport = chooseTransport(request.transport, socket[kOptions]?.transport)
  if (transport !== 'udp') return true
  // A pipe, a descriptor, a handle (TLS brings one): the built-in's.
  const hasHandle = Boolean(socket._handle) && !socket.destroyed
  return Boolean(request.path) || hasHandle
}

function linkForConnecting(socket: InternalSocket): Link {
  const current = socket[kLink]
  if (current && !current.isClosed) return current
  const link = new Link()
  enterUdp(socket, link)
  socket._undestroy()
  socket._sockname = null
  link.attach(socket)
  return link
}

// {system_name} or {server_id}.{system_name}
const cloudForm = /^[\w-]+(\.[\w-]+)?$/

/** In `auto`, a name that no resolver knows may be one of the cloud: the error says why it is not tried. */
function explainCloudNames(
  socket: InternalSocket,
  { host, transport }: ReturnType<typeof normalizeArguments>[0],
): void {
  if (typeof host !== 'string' || net.isIP(host) !== 0 || !cloudForm.test(host)) return
  if (chooseTransport(transport, socket[kOptions]?.transport) !== 'auto') return
  socket.once('lookup', (error) => {
    if (codeOf(error) !== 'ENOTFOUND' && codeOf(error) !== 'EAI_AGAIN') return
    const message = `No resolver knows ${host}; if it is a name of the cloud: no mediator is configured`
    error.cause ??= new SocketError('ERR_PUNCHLINE_NO_MEDIATOR', message)
  })
}

type WriteArguments = Parameters<InternalSocket['_writeGeneric']>

function writeWhenConnected(socket: InternalSocket, link: Link, args: WriteArguments): void {
  const [isWritev, data, encoding, callback] = args
  socket._pendingData = data
  socket._pendingEncoding = encoding
  link.setEarlyJob(writeJob(isWritev, data, encoding))
  const onClose = (): void => callback(nodeError('ERR_SOCKET_CLOSED_BEFORE_CONNECTION'))
  socket.once('connect', () => {
    socket.off('close', onClose)
    socket._writeGeneric(isWritev, data, encoding, callback)
  })
  socket.once('close', onClose)
}

function writeJob(
  isWritev: boolean,
  data: Uint8Array | string | WriteEntries,
  encoding: BufferEncoding,
): WriteJob {
  if (isWritev) return WriteJob.ofEntries(data as WriteEntries)
  return WriteJob.ofChunk(data as Uint8Array | string, encoding)
}

/**
 * Under `punchline/register`: a TLS socket over ours (`_parent`) or the runtime's own wrapper of a
 * stream (`stream`) has no handle that knows addresses or keeps the process alive.
 */
function wrapped(socket: InternalSocket): InternalSocket | undefined {
  if (socket._parent?.[kLink]) return socket._parent
  const stream = (socket as { stream?: unknown }).stream as InternalSocket | null | undefined
  return stream?.[kLink] ? stream : undefined
}

function setRef(socket: InternalSocket, isRef: boolean): InternalSocket | undefined {
  const link = (wrapped(socket) ?? socket)[kLink]
  if (!link || link.isClosed) return undefined
  link.setRef(isRef)
  return socket
}
