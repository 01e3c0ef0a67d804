/**
 * Errors with the class, code, errno, syscall, address, port and message that `node:net` gives.
 * The built-in does not export its makers, and people match on every one of these fields.
 */
import { getSystemErrorMap } from 'node:util'

interface KnownError {
  readonly errno: number
  readonly description: string
}

let knownErrors: Map<string, KnownError> | undefined

/** A system error as `node:net` makes it. */
export interface SystemError extends Error {
  errno?: number
  code: string
  syscall?: string
  address?: string
  port?: number
  localAddress?: string
  localPort?: number
}

/** Makes `read ECONNRESET` and its like: an error of an open connection. */
export function errnoException(code: string, syscall: string, cause?: Error): SystemError {
  return decorate(newError(`${syscall} ${code}`, cause), {
    errno: known(code).errno,
    code,
    syscall,
  })
}

/** Makes `connect ECONNREFUSED 127.0.0.1:80`, with ` - Local (…)` when the local half was chosen. */
export function hostPortException(
  code: string,
  syscall: string,
  where: { address?: string | undefined; port?: number | undefined; details?: string | undefined },
  cause?: Error,
): SystemError {
  const { address, port, details } = where
  const local = details === undefined ? '' : ` - Local (${details})`
  const error = newError(`${syscall} ${code}${place(address, port)}${local}`, cause)
  return placed(error, code, syscall, address, port)
}

/** Makes `listen EADDRINUSE: address already in use 127.0.0.1:80`. */
export function listenException(
  code: string,
  where: { address?: string | undefined; port?: number | undefined },
  cause?: Error,
): SystemError {
  const { address, port } = where
  const message = `listen ${code}: ${known(code).description}${place(address, port)}`
  return placed(newError(message, cause), code, 'listen', address, port)
}

/** Makes the error that waits in `ERR_…` codes of the runtime, e.g. ERR_SOCKET_CLOSED. */
export function nodeError(
  code: keyof typeof nodeErrors,
  message: string = nodeErrors[code].message,
): SystemError {
  const { Class } = nodeErrors[code]
  const error = new Class(message)
  // The runtime shows the code in the stack's first line and in toString(), never in `name`.
  const name = error.name
  error.stack = error.stack?.replace(name, `${name} [${code}]`) ?? ''
  Object.defineProperty(error, 'toString', {
    value: () => `${name} [${code}]: ${error.message}`,
    configurable: true,
    writable: true,
  })
  return Object.assign(error, { code })
}

const nodeErrors = {
  ERR_SOCKET_CLOSED: { Class: Error, message: 'Socket is closed' },
  ERR_SOCKET_CLOSED_BEFORE_CONNECTION: {
    Class: Error,
    message: 'Socket closed before the connection was established',
  },
  ERR_SOCKET_CONNECTION_TIMEOUT: { Class: Error, message: 'Socket connection timeout' },
  ERR_IP_BLOCKED: { Class: Error, message: 'IP is blocked by net.BlockList' },
  ERR_SOCKET_BAD_PORT: { Class: RangeError, message: 'Port should be >= 0 and < 65536.' },
  ERR_INVALID_IP_ADDRESS: { Class: TypeError, message: 'Invalid IP address' },
  ERR_INVALID_ADDRESS_FAMILY: { Class: RangeError, message: 'Invalid address family' },
} as const

/** Gathers the failures of all attempts of one `connect` as the built-in does. */
export function attemptsException(errors: readonly SystemError[]): AggregateError {
  return Object.assign(new AggregateError(errors), { code: errors[0]?.code })
}

/** Reads the code of something thrown by a carrier. */
export function codeOf(error: unknown): string | undefined {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    return error.code
  }
  return undefined
}

/** Says whether libuv knows this code; only such codes can be written as system errors. */
export function isSystemErrorCode(code: string): boolean {
  return errorsByCode().has(code)
}

function placed(
  error: Error,
  code: string,
  syscall: string,
  address: string | undefined,
  port: number | undefined,
): SystemError {
  const fields: Partial<SystemError> = { errno: known(code).errno, code, syscall }
  if (address !== undefined) fields.address = address
  if (port) fields.port = port
  return decorate(error, fields)
}

function decorate(error: Error, fields: Partial<SystemError>): SystemError {
  return Object.assign(error, fields, { code: fields.code ?? '' })
}

function newError(message: string, cause: Error | undefined): Error {
  return cause === undefined ? new Error(message) : new Error(message, { cause })
}

function place(address: string | undefined, port: number | undefined): string {
  if (port !== undefined && port > 0) return ` ${address}:${port}`
  return address ? ` ${address}` : ''
}

function known(code: string): KnownError {
  // -4094 is libuv's UNKNOWN: what the runtime itself falls back to.
  return errorsByCode().get(code) ?? { errno: -4094, description: 'unknown error' }
}

function errorsByCode(): Map<string, KnownError> {
  if (knownErrors === undefined) {
    knownErrors = new Map()
    for (const [errno, [code, description]] of getSystemErrorMap()) {
      knownErrors.set(code, { errno, description })
    }
  }
  return knownErrors
}
