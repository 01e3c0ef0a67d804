/**
 * From the options of `connect` to a line: name lookup, one address or several in turn, and the
 * events and errors of each step. Follows the built-in step by step, which does the same for TCP.
 */
import dns from 'node:dns'
import net from 'node:net'
import { PunchlineError } from '../errors.ts'
import { getCarrier } from './carrier.ts'
import { type ConnectRequest, type InternalSocket, kLink } from './internals.ts'
import type { DialTarget, LineRefusal } from './line.ts'
import type { DialObserver, Link } from './link.ts'
import type { ChosenSecurity } from './security-choice.ts'
import {
  attemptsException,
  codeOf,
  errnoException,
  hostPortException,
  isSystemErrorCode,
  nodeError,
  type SystemError,
} from './system-errors.ts'

const attemptTimeoutMinMs = 10

/** The built-in's own `connect`. */
export type ConnectBase = Pick<InternalSocket, 'connect'>

/** The options of `connect` after validation. */
export interface DialOptions {
  readonly host: string
  readonly port: number
  readonly family: unknown
  readonly hints: number
  readonly lookup: net.LookupFunction | undefined
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  readonly isFamilySelected: boolean
  readonly attemptTimeoutMs: number
  readonly connectTimeoutMs: number | undefined
  readonly security: ChosenSecurity | undefined
  /** As the user gave them: they appear in error messages. */
  readonly givenHost: unknown
  readonly givenPort: unknown
}

interface Address {
  readonly address: string
  readonly family: 4 | 6
}

/**
 * Validates and completes options. Whatever looks unusual is shown to the built-in first, so that
 * it throws exactly what it would have thrown.
 */
export function dialOptions(request: ConnectRequest, base: ConnectBase): DialOptions {
  if (!isPlainlyValid(request)) validateByBuiltin(request, base)
  const timeout = request.autoSelectFamilyAttemptTimeout
  return {
    host: (request.host as string | undefined) || 'localhost',
    port: (request.port as number) | 0,
    family: request.family,
    hints: request.hints || 0,
    lookup: request.lookup,
    localAddress: request.localAddress || undefined,
    localPort: request.localPort || undefined,
    isFamilySelected:
      typeof request.autoSelectFamily === 'boolean'
        ? request.autoSelectFamily
        : net.getDefaultAutoSelectFamily(),
    attemptTimeoutMs:
      typeof timeout === 'number'
        ? Math.max(timeout, attemptTimeoutMinMs)
        : net.getDefaultAutoSelectFamilyAttemptTimeout(),
    connectTimeoutMs: undefined,
    security: undefined,
    givenHost: request.host,
    givenPort: request.port,
  }
}

/** Starts connecting: `link` must be the socket's current one and `connecting` must be true. */
export function lookupAndDial(socket: InternalSocket, link: Link, options: DialOptions): void {
  const { host, localAddress } = options
  const ipFamily = net.isIP(host)
  if (ipFamily === 4 || ipFamily === 6) {
    process.nextTick(() => {
      if (isCurrent(socket, link))
        dialOnly(socket, link, options, { address: host, family: ipFamily })
    })
    return
  }
  const family = dnsFamily(options.family)
  const isOneFamily = family === 4 || family === 6
  const isHinted = isOneFamily || options.hints !== 0 || process.platform === 'win32'
  const dnsOptions: dns.LookupOptions = {
    family: family as number,
    hints: isHinted ? options.hints : dns.ADDRCONFIG,
  }
  socket._host = host
  const lookup = (options.lookup ?? dns.lookup) as AnyLookup
  if (!isOneFamily && localAddress === undefined && options.isFamilySelected) {
    dnsOptions.all = true
    lookup(host, dnsOptions, (error, addresses) => {
      onAddresses(socket, link, options, error, addresses as readonly dns.LookupAddress[])
    })
    return
  }
  lookup(host, dnsOptions, (error, address, addressFamily) => {
    onAddress(socket, link, options, error, address, addressFamily)
  })
}

// Both shapes of dns.lookup's callback; `options.all` says which one it is.
type AnyLookup = (
  host: string,
  options: dns.LookupOptions,
  callback: (error: Error | null, address: unknown, family?: unknown) => void,
) => void

function onAddress(
  socket: InternalSocket,
  link: Link,
  options: DialOptions,
  error: Error | null,
  address: unknown,
  family: unknown,
): void {
  socket.emit('lookup', error, address, family, options.host)
  if (!isCurrent(socket, link)) return
  if (error) {
    destroySoon(socket, link, error)
  } else if (!isLiteral(address)) {
    destroySoon(socket, link, invalidAddress(address))
  } else if (family !== 4 && family !== 6) {
    destroySoon(socket, link, invalidFamily(family, options))
  } else {
    socket._unrefTimer()
    dialOnly(socket, link, options, { address, family })
  }
}

function onAddresses(
  socket: InternalSocket,
  link: Link,
  options: DialOptions,
  error: Error | null,
  found: readonly dns.LookupAddress[],
): void {
  if (!isCurrent(socket, link)) return
  if (error) {
    socket.emit('lookup', error, undefined, undefined, options.host)
    destroySoon(socket, link, error)
    return
  }
  const valid: Address[] = []
  for (const { address, family } of found) {
    socket.emit('lookup', error, address, family, options.host)
    if (!isCurrent(socket, link)) return
    const isKnown = valid.some((other) => other.address === address)
    if (isLiteral(address) && (family === 4 || family === 6) && !isKnown) {
      valid.push({ address, family })
    }
  }
  const order = alternateFamilies(valid)
  const [only] = order
  if (only === undefined) {
    const [first] = found
    const isAddress = isLiteral(first?.address)
    destroySoon(
      socket,
      link,
      isAddress ? invalidFamily(first?.family, options) : invalidAddress(first?.address),
    )
    return
  }
  socket._unrefTimer()
  if (order.length === 1) {
    dialOnly(socket, link, options, only)
  } else {
    socket.autoSelectFamilyAttemptedAddresses = []
    new Attempts(socket, link, options, order).next()
  }
}

/** RFC 8305 §4: addresses of the two families alternate, the family of the first one leads. */
function alternateFamilies(addresses: readonly Address[]): Address[] {
  const leading = addresses.filter(({ family }) => family === addresses[0]?.family)
  const others = addresses.filter(({ family }) => family !== addresses[0]?.family)
  const order: Address[] = []
  for (let index = 0; index < Math.max(leading.length, others.length); index += 1) {
    const pair = [leading[index], others[index]]
    for (const address of pair) if (address !== undefined) order.push(address)
  }
  return order
}

/** Dials an address when there is no other one to fall back to. */
function dialOnly(
  socket: InternalSocket,
  link: Link,
  options: DialOptions,
  { address, family }: Address,
): void {
  const { port, localAddress, localPort } = options
  if (link.line !== null) {
    redial(socket, link, { address, port, family })
    return
  }
  if (socket.blockList?.check(address, `ipv${family}`)) {
    socket.emit('connectionAttempt', address, port, family)
    socket.destroy(blocked(address))
    return
  }
  const where = { address, port, localAddress, localPort }
  const isDialling = dial(socket, link, { ...where, family, ...limits(options) }, true, {
    connected: () => becomeConnected(socket, link),
    refused: (code, cause) => {
      const error = attemptException(code, where, cause)
      if (error.syscall === 'connect') {
        socket.connecting = false
        socket.emit('connectionAttemptFailed', address, port, family, error)
      }
      socket.destroy(error)
    },
  })
  if (isDialling) socket.emit('connectionAttempt', address, port, family)
}

/** As the kernel answers connect(2) for a socket that is being connected or connected already. */
function redial(
  socket: InternalSocket,
  link: Link,
  { address, port, family }: Address & { port: number },
): void {
  socket.emit('connectionAttempt', address, port, family)
  if (link.isConnected) {
    setImmediate(() => {
      if (isCurrent(socket, link)) becomeConnected(socket, link)
    })
  } else {
    const details = localName(socket)
    socket.destroy(hostPortException('EALREADY', 'connect', { address, port, details }))
  }
}

/** Several addresses, each given `attemptTimeoutMs` before the next one is tried. */
class Attempts {
  private readonly socket: InternalSocket
  private readonly link: Link
  private readonly options: DialOptions
  private readonly addresses: readonly Address[]
  private readonly errors: SystemError[] = []
  private index = 0
  private timer: NodeJS.Timeout | undefined

  constructor(
    socket: InternalSocket,
    link: Link,
    options: DialOptions,
    addresses: readonly Address[],
  ) {
    this.socket = socket
    this.link = link
    this.options = options
    this.addresses = addresses
  }

  next(): void {
    clearTimeout(this.timer)
    const { socket, link, options } = this
    const target = this.addresses[this.index]
    if (target === undefined) {
      const [first] = this.errors
      socket.destroy(
        first === undefined
          ? nodeError('ERR_SOCKET_CONNECTION_TIMEOUT')
          : attemptsException(this.errors),
      )
      return
    }
    this.index += 1
    const { address, family } = target
    const { port } = options
    const localPort = options.localPort
    const localAddress = localPort === undefined ? undefined : family === 4 ? '0.0.0.0' : '::'
    if (socket.blockList?.check(address, `ipv${family}`)) {
      socket.emit('connectionAttempt', address, port, family)
      this.fail(target, blocked(address))
      return
    }
    const where = { address, port, localAddress, localPort }
    const { isLast } = this
    const isDialling = dial(socket, link, { ...where, family, ...limits(options) }, isLast, {
      connected: () => {
        clearTimeout(this.timer)
        becomeConnected(socket, link)
      },
      refused: (code, cause) => {
        clearTimeout(this.timer)
        this.fail(target, attemptException(code, where, cause))
      },
    })
    if (!isDialling) return
    socket.autoSelectFamilyAttemptedAddresses?.push(`${address}:${port}`)
    socket.emit('connectionAttempt', address, port, family)
    if (!isLast && isCurrent(socket, link)) {
      this.timer = setTimeout(() => this.expire(target, where), options.attemptTimeoutMs)
    }
  }

  private get isLast(): boolean {
    return this.index === this.addresses.length
  }

  private expire({ address, family }: Address, where: AttemptPlace): void {
    const { socket, link, options } = this
    if (!isCurrent(socket, link)) return
    socket.emit('connectionAttemptTimeout', address, options.port, family)
    this.errors.push(attemptException('ETIMEDOUT', where, undefined))
    if (!isCurrent(socket, link)) return
    link.dropDialled()
    this.next()
  }

  private fail({ address, family }: Address, error: SystemError): void {
    const { socket, link, options } = this
    this.errors.push(error)
    if (error.syscall !== 'bind') {
      socket.emit('connectionAttemptFailed', address, options.port, family, error)
    }
    if (isCurrent(socket, link)) this.next()
  }
}

interface AttemptPlace {
  readonly address: string
  readonly port: number
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
}

/** Dials; false when it failed in the call itself, of which the observer or the socket was told. */
function dial(
  socket: InternalSocket,
  link: Link,
  target: DialTarget,
  isOnly: boolean,
  observer: DialObserver,
): boolean {
  try {
    link.attachDialled(getCarrier().dial(target, link), observer, isOnly)
    return true
  } catch (error) {
    if (error instanceof PunchlineError) {
      destroySoon(socket, link, error)
      return false
    }
    const code = codeOf(error)
    if (code === undefined || !isSystemErrorCode(code)) throw error
    // Binding to localAddress and localPort fails in the call itself, as bind(2) does.
    if (isCurrent(socket, link)) observer.refused(code as LineRefusal, undefined)
    return false
  }
}

function becomeConnected(socket: InternalSocket, link: Link): void {
  socket.connecting = false
  socket._sockname = null
  socket._unrefTimer()
  link.applySettings()
  socket.emit('connect')
  socket.emit('ready')
  if (!link.isClosed && !socket.isPaused()) socket.read(0)
}

// These codes come from binding when the caller has chosen the local half.
const bindCodes = new Set(['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES', 'EINVAL'])

function attemptException(
  code: LineRefusal,
  { address, port, localAddress, localPort }: AttemptPlace,
  cause: Error | undefined,
): SystemError {
  const isLocalChosen = localAddress !== undefined || localPort !== undefined
  if (isLocalChosen && bindCodes.has(code)) {
    const anyAddress = net.isIPv6(address) ? '::' : '0.0.0.0'
    const local = { address: localAddress ?? anyAddress, port: localPort }
    return hostPortException(code, 'bind', local, cause)
  }
  if (localAddress === undefined || localPort === undefined) {
    return hostPortException(code, 'connect', { address, port }, cause)
  }
  const details = `${localAddress}:${localPort}`
  const error = hostPortException(code, 'connect', { address, port, details }, cause)
  return Object.assign(error, { localAddress, localPort })
}

function limits({ connectTimeoutMs, security }: DialOptions) {
  return { connectTimeoutMs, security }
}

function localName(socket: InternalSocket): string {
  const { address, port } = socket._getsockname()
  return `${address}:${port}`
}

function isCurrent(socket: InternalSocket, link: Link): boolean {
  return socket.connecting && socket[kLink] === link && !link.isClosed
}

// Nobody has had a chance to listen for 'error' yet when a lookup fails at once.
function destroySoon(socket: InternalSocket, link: Link, error: Error): void {
  process.nextTick(() => {
    if (socket[kLink] === link) socket.destroy(error)
  })
}

function isLiteral(address: unknown): address is string {
  return typeof address === 'string' && net.isIP(address) !== 0
}

function invalidAddress(address: unknown): Error {
  return nodeError('ERR_INVALID_IP_ADDRESS', `Invalid IP address: ${String(address)}`)
}

function invalidFamily(family: unknown, options: DialOptions): Error {
  const { givenHost: host, givenPort: port } = options
  const message = `Invalid address family: ${String(family)} ${String(host)}:${String(port)}`
  return Object.assign(nodeError('ERR_INVALID_ADDRESS_FAMILY', message), { host, port })
}

function blocked(address: string): SystemError {
  return nodeError('ERR_IP_BLOCKED', `IP(${address}) is blocked by net.BlockList`)
}

function dnsFamily(family: unknown): unknown {
  if (family === 'IPv4') return 4
  if (family === 'IPv6') return 6
  return family
}

function isPlainlyValid(request: ConnectRequest): boolean {
  const { port, host, localAddress, localPort, lookup } = request
  const { autoSelectFamily, autoSelectFamilyAttemptTimeout: timeout } = request
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 0 || port > 65_535) return false
  if (host !== undefined && (typeof host !== 'string' || host.includes('\0'))) return false
  if (localAddress && net.isIP(localAddress) === 0) return false
  if (localPort !== undefined && typeof localPort !== 'number') return false
  if (lookup !== undefined && lookup !== null && typeof lookup !== 'function') return false
  if (autoSelectFamily !== undefined && typeof autoSelectFamily !== 'boolean') return false
  return timeout === undefined
}

/** Lets the built-in validate: it throws, or it has started nothing when it is destroyed again. */
function validateByBuiltin(request: ConnectRequest, base: ConnectBase): void {
  const probe = new net.Socket()
  probe.on('error', () => {})
  const lookup = typeof request.lookup === 'function' ? undefined : request.lookup
  try {
    Reflect.apply(base.connect, probe, [
      { ...request, path: undefined, lookup: lookup ?? (() => {}) },
    ])
  } finally {
    probe.destroy()
  }
}

/** Throws what the built-in throws for `connect` without a port and a path. */
export function throwMissingPort(base: ConnectBase): never {
  Reflect.apply(base.connect, new net.Socket(), [{}])
  throw errnoException('EINVAL', 'connect')
}
