/** Which tier carries datagrams in this process, and why not a faster one. */
import { channel } from 'node:diagnostics_channel'
import { addonStatus, loadAddon, type NativeAddon } from '../../bindings/addon.ts'
import { IoError } from '../errors.ts'
import type { Backend } from './datagram-socket.ts'

/** Told once per process and choice: `{ backend, reason }`. */
export const BACKEND_CHANNEL = 'punchline:backend'

export interface BackendChoice {
  readonly backend: Backend
  /** Why it is not a faster one; '' when it is the fastest. */
  readonly reason: string
  /** The addon, unless `backend` is `dgram`. */
  readonly addon?: NativeAddon
  /** PUNCHLINE_BACKEND asked for it: nothing else may take its place. */
  readonly isForced: boolean
}

const BACKENDS: readonly Backend[] = ['uring', 'mmsg', 'dgram']
const choices = new Map<string, BackendChoice>()

/**
 * Chooses the best tier that works here, or the one that `wanted` names. The first call tries things
 * out, about a millisecond; later ones give the same answer.
 * @throws IoError ERR_PUNCHLINE_BACKEND_UNAVAILABLE when `wanted` can't be had
 */
export function chooseBackend(wanted = process.env['PUNCHLINE_BACKEND'] ?? ''): BackendChoice {
  const known = choices.get(wanted)
  if (known !== undefined) return known
  const choice = wanted === '' ? best() : forced(wanted)
  choices.set(wanted, choice)
  tellBackend(choice)
  return choice
}

/** A tier turned out not to work in earnest. */
export function tellBackend({ backend, reason }: BackendChoice): void {
  const events = channel(BACKEND_CHANNEL)
  if (events.hasSubscribers) events.publish({ backend, reason })
}

/** Makes the error for a tier that was asked for and can't be had. */
export function unavailable(wanted: string, reason: string): IoError {
  return new IoError(
    'ERR_PUNCHLINE_BACKEND_UNAVAILABLE',
    `PUNCHLINE_BACKEND=${wanted} can't be had here: ${reason}`,
  )
}

/** Why a native tier can't be used, '' when it can. */
export function whyNot(backend: Backend): string {
  if (backend === 'dgram') return ''
  const addon = loadAddon()
  if (addon === undefined) return `no addon (${whyNoAddon()})`
  if (addon.shared === undefined) return 'the addon does not know this libuv'
  if (backend === 'mmsg') return ''
  const ring = addon.probeRing()
  return ring.available ? '' : `io_uring: ${ring.reason}`
}

function best(): BackendChoice {
  const reasons: string[] = []
  for (const backend of BACKENDS) {
    const reason = whyNot(backend)
    if (reason === '') return choiceOf(backend, reasons.at(-1) ?? '', false)
    reasons.push(reason)
  }
  // Not reached: the last of them has no reason.
  return choiceOf('dgram', '', false)
}

function forced(wanted: string): BackendChoice {
  const backend = BACKENDS.find((name) => name === wanted)
  if (backend === undefined) {
    throw unavailable(wanted, `there are ${BACKENDS.join(', ')}`)
  }
  const reason = whyNot(backend)
  if (reason !== '') throw unavailable(wanted, reason)
  return choiceOf(backend, backend === 'uring' ? '' : 'PUNCHLINE_BACKEND', true)
}

function choiceOf(backend: Backend, reason: string, isForced: boolean): BackendChoice {
  const addon = backend === 'dgram' ? undefined : loadAddon()
  return { backend, reason, isForced, ...(addon === undefined ? {} : { addon }) }
}

function whyNoAddon(): string {
  return addonStatus()
    .refused.map(({ path, reason }) => (path === '' ? reason : `${path}: ${reason}`))
    .join('; ')
}
