/**
 * Errors of Punchline itself. Whatever `node:net` would fail with keeps the code, errno and syscall
 * of `node:net`; the codes below exist only for what `node:net` has no word for.
 */

/** Every code of our own with one line of meaning. The key set is the public list. */
export const punchlineErrorCodes = {
  ERR_PUNCHLINE_HANDSHAKE: 'the handshake with the peer failed',
  ERR_PUNCHLINE_PROTOCOL: 'a packet broke the protocol',
  ERR_PUNCHLINE_SECURITY: 'the demands of the two sides on security do not meet',
  ERR_PUNCHLINE_IDENTITY: 'the peer is not who it has to be, or a key can not be read',
  ERR_PUNCHLINE_DENIED: 'the peer does not let us in',
  ERR_PUNCHLINE_VERSION: 'the peer speaks another version of the transport',
  ERR_PUNCHLINE_BACKEND_UNAVAILABLE: 'a tier was asked for that this machine can not give',
  ERR_PUNCHLINE_FAULTS_INVALID: 'PUNCHLINE_FAULTS has a part that can not be read',
  ERR_PUNCHLINE_IDENTITY_FILE: 'the file with the node key can not be read, or by too many',
  ERR_PUNCHLINE_NO_CARRIER: 'the UDP transport was asked for but nothing that carries it is loaded',
  ERR_PUNCHLINE_NO_MEDIATOR: 'the name may be of the cloud, but no mediator is configured',
  ERR_PUNCHLINE_SECURITY_UNSUPPORTED: 'a protection was asked for that the transport cannot give',
  ERR_PUNCHLINE_TRANSPORT_INVALID: "a transport was asked for that is not 'tcp', 'udp' or 'auto'",
} as const satisfies Record<`ERR_PUNCHLINE_${string}`, string>

/** A code of `PunchlineError`. Codes are stable, messages are not. */
export type PunchlineErrorCode = keyof typeof punchlineErrorCodes

/** What Punchline throws or emits when `node:net` has no error for it. */
export class PunchlineError extends Error {
  /** Which error this is; safe to match on. */
  readonly code: PunchlineErrorCode

  /** Makes an error. The original, if there is one, goes into `options.cause`. */
  constructor(code: PunchlineErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }

  override get name(): string {
    return 'PunchlineError'
  }
}

/** Fails because of what the sockets layer was asked for. */
export class SocketError extends PunchlineError {
  override get name(): string {
    return 'SocketError'
  }
}

/** Fails because of how the process was set up to do input and output. */
export class IoError extends PunchlineError {
  override get name(): string {
    return 'IoError'
  }
}

/** The `cause` of a socket's error when the transport knows more than `node:net` has words for. */
export class TransportError extends PunchlineError {
  override get name(): string {
    return 'TransportError'
  }
}
