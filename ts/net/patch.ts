/**
 * `punchline/register` at work: puts the overrides on the built-in prototypes, so that programs and
 * the parts of Node that hold `net` inside (`http`, `https`, `tls`) use Punchline without knowing.
 */
import { syncBuiltinESMExports } from 'node:module'
import net from 'node:net'
import type tls from 'node:tls'
import { callingPackage, filesBelow, namedPackages } from './callers.ts'
import { netRegistry } from './carrier.ts'
import { figureDescriptors } from './figures.ts'
import {
  type ConnectRequest,
  type InternalServer,
  type InternalSocket,
  kIsOwn,
  kOptions,
  normalizeArguments,
  overriddenMethods,
  readSymbol,
  socketSymbols,
} from './internals.ts'
import { type ServerBase, serverMethods } from './server-overrides.ts'
import { type SocketBase, socketMethods } from './socket-overrides.ts'
import { chooseTransport } from './transport-choice.ts'

/** Patches the built-in module once per process, whichever copy of the package asks first. */
export function patchBuiltin(): void {
  const registry = netRegistry()
  if (registry.isRegistered) return
  registry.isRegistered = true
  patchSocket()
  patchServer()
  patchTls()
  if (packages !== null) patchAgent()
  syncBuiltinESMExports()
}

const packages = namedPackages()
const [ownFile] = filesBelow(filesBelow)

/** Says whether who called `callee` gets our sockets. */
function isNamed(callee: (...args: never[]) => unknown): boolean {
  if (packages === null) return true
  const name = callingPackage(callee, (file) => file === ownFile)
  return name !== undefined && packages.has(name)
}

function patchSocket(): void {
  const { prototype } = net.Socket
  const base = save<SocketBase>(prototype, overriddenMethods)
  Object.assign(prototype, skippingOwn(socketMethods(base), base))
  Object.defineProperties(prototype, figureDescriptors)
}

function patchServer(): void {
  const { prototype } = net.Server
  const base = save<ServerBase>(prototype, ['listen', '_listen2'])
  const makeSocket = (options: net.SocketConstructorOpts) => new net.Socket(options) as never
  Object.assign(prototype, skippingOwn(serverMethods(base, makeSocket), base))
}

/** `tls.connect` makes a kernel socket by itself unless it is given one. */
function patchTls(): void {
  const builtinTls = process.getBuiltinModule('tls')
  const original = builtinTls.connect as TlsConnect
  const patched: TlsConnect = (...args) => {
    return tlsConnect(original, args, isNamed(patched) ? undefined : 'tcp')
  }
  Object.defineProperty(patched, 'name', { value: 'connect' })
  builtinTls.connect = patched as typeof builtinTls.connect
}

type TlsConnect = (...args: unknown[]) => tls.TLSSocket

/** Gives `tls.connect` a socket to wrap when the call shall go over UDP. */
function tlsConnect(
  original: TlsConnect,
  args: unknown[],
  otherwise: 'tcp' | undefined,
): tls.TLSSocket {
  const [options, callback] = tlsArguments(args)
  const isGiven = Boolean(options.socket || options.path || options._handle || options.handle)
  if (isGiven || chooseTransport(options.transport, otherwise) !== 'udp') return original(...args)
  // Connected only when the wrapper is made: that may throw for bad certificates.
  const raw = new net.Socket({ allowHalfOpen: options.allowHalfOpen === true })
  const wrapper = original({ ...options, socket: raw }, ...(callback === null ? [] : [callback]))
  if (options.timeout) wrapper.setTimeout(options.timeout)
  if (options.onread) giveUserBuffer(wrapper, options.onread)
  raw.connect(options as net.SocketConnectOpts)
  // An abort signal may end the wrapper while it does not know its socket yet.
  wrapper.once('close', () => raw.destroy())
  return wrapper
}

type TlsRequest = ConnectRequest & {
  socket?: unknown
  allowHalfOpen?: unknown
  onread?: net.OnReadOpts
}

/** What the built-in does with `onread`, but not for a TLS socket that is given a socket to wrap. */
function giveUserBuffer(wrapper: tls.TLSSocket, onread: net.OnReadOpts): void {
  const model = new net.Socket({ onread } as net.SocketConstructorOpts)
  const { userBuffer, userBufferCallback, userBufferMaker } = socketSymbols()
  for (const symbol of [userBuffer, userBufferCallback, userBufferMaker]) {
    if (symbol !== undefined) Reflect.set(wrapper, symbol, readSymbol(model, symbol))
  }
  const maker = readSymbol(model, userBufferMaker)
  const buffer = typeof maker === 'function' ? maker() : readSymbol(model, userBuffer)
  const { _handle: handle } = wrapper as unknown as { _handle: UserBufferHandle | null }
  if (userBuffer === undefined || !(buffer instanceof Uint8Array)) return
  Reflect.set(wrapper, userBuffer, buffer)
  handle?.useUserBuffer(buffer)
}

interface UserBufferHandle {
  useUserBuffer(buffer: Uint8Array): void
}

// `tls.connect` takes its options after port and host, too; `net` does not know that form.
function tlsArguments(args: unknown[]): [TlsRequest, (() => void) | null] {
  const [options, callback] = normalizeArguments(args)
  const extra = args.slice(1, 3).find((arg) => typeof arg === 'object' && arg !== null)
  return [{ ...options, ...(extra as object | undefined) }, callback]
}

/**
 * A request that has to wait is given its socket when nobody is left of who asked: so it is noted
 * for whom it is. Only where packages are named.
 */
function patchAgent(): void {
  const { prototype } = process.getBuiltinModule('http').Agent as unknown as AgentClass
  const { addRequest } = prototype
  prototype.addRequest = function patched(this: unknown, request, options, ...rest): void {
    const wish = isNamed(patched) ? chooseTransport() : 'tcp'
    const isObject = typeof options === 'object' && options !== null
    const noted = isObject ? { transport: wish, ...options } : options
    addRequest.call(this, request, noted, ...rest)
  }
}

interface AgentClass {
  readonly prototype: {
    addRequest(request: unknown, options: unknown, ...rest: unknown[]): void
  }
}

/** Keeps the built-in's methods, which the overrides call for everything that is not UDP. */
function save<Base>(prototype: object, names: readonly string[]): Base {
  const saved: Record<string, unknown> = {}
  for (const name of names) saved[name] = Reflect.get(prototype, name)
  return saved as Base
}

/** Leaves sockets and servers of our own classes alone: they have decided before they got here. */
function skippingOwn(methods: object, base: object): object {
  const result: Record<string, unknown> = { ...methods }
  for (const name of ['connect', 'listen', '_listen2']) {
    const method: unknown = Reflect.get(methods, name)
    const original: unknown = Reflect.get(base, name)
    if (typeof method !== 'function' || typeof original !== 'function') continue
    const patched = function (this: InternalSocket | InternalServer, ...args: unknown[]): unknown {
      if (kIsOwn in this) return Reflect.apply(original, this, args)
      // `_listen2` carries out what `listen` has decided.
      if (name !== '_listen2' && packages !== null) {
        this[kOptions] = isNamed(patched) ? null : { transport: 'tcp' }
      }
      return Reflect.apply(method, this, args)
    }
    Object.defineProperty(patched, 'name', { value: name })
    result[name] = patched
  }
  return result
}
