/**
 * The way to a peer: from which address the system goes there, and whether the peer's machine says
 * that nobody is at that port.
 *
 * On the native tiers the endpoint's own socket hears that (`tellRefusal`). On `node:dgram` it can't:
 * there a connected socket beside it asks.
 */
import { createSocket, type Socket } from 'node:dgram'
import { getSystemErrorName } from 'node:util'
import type { NativeAddon } from '../../bindings/addon.ts'
import { AddressBook } from '../transport/index.ts'
import { chooseBackend } from './backend.ts'
import type { DatagramRefusal } from './datagram-socket.ts'
import { zoneNumbers } from './zones.ts'

/** Length of silence before the first question, and between questions. */
const ASK_FIRST_MS = 25
const ASK_AGAIN_MS = 1000

/** One byte that no Punchline endpoint answers or counts (docs/protocol.md, "Route probe"). */
const QUESTION = Buffer.from([0xff])

export interface RouteOwner {
  /** The peer's machine says that nobody is at that port. */
  refused(): void
  /** There is no way to the peer: code ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL …. */
  unreachable(error: NodeJS.ErrnoException): void
}

/** What finds out, one way or the other. */
interface Guide {
  readonly localAddress: string | undefined
  ask(): void
  close(): void
}

export class Route {
  private readonly owner: RouteOwner
  private readonly guide: Guide
  private isClosed = false

  constructor(address: string, port: number, family: 4 | 6, owner: RouteOwner) {
    this.owner = owner
    const target = { address, port, family }
    const addon = nativeAddon()
    this.guide =
      addon === undefined
        ? new AskingGuide(target, (error) => this.tell(error))
        : new NativeGuide(target, addon, (error) => this.tell(error))
  }

  /** From which address the system sends to the peer; undefined when it can't. */
  get localAddress(): string | undefined {
    return this.guide.localAddress
  }

  /** Finds out, until closed, whether somebody is there. */
  ask(): void {
    if (!this.isClosed && this.localAddress !== undefined) this.guide.ask()
  }

  close(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.guide.close()
  }

  private tell(error: NodeJS.ErrnoException): void {
    if (this.isClosed) return
    this.close()
    if (error.code === 'ECONNREFUSED') this.owner.refused()
    else this.owner.unreachable(error)
  }
}

interface Target {
  readonly address: string
  readonly port: number
  readonly family: 4 | 6
}

type Tell = (error: NodeJS.ErrnoException) => void

/** The addon, when this process's sockets are native. */
function nativeAddon(): NativeAddon | undefined {
  try {
    return chooseBackend().addon
  } catch {
    // A tier that can't be had: opening the socket says so.
    return undefined
  }
}

// ── node:dgram ───────────────────────────────────────────────────────────────────────────────────

class AskingGuide implements Guide {
  readonly localAddress: string | undefined
  private readonly socket: Socket
  private timer: NodeJS.Timeout | undefined

  constructor({ address, port, family }: Target, tell: Tell) {
    this.socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      lookup: (host, _options, callback) => callback(null, host, family),
    })
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') tell(error)
    })
    // With a lookup that answers at once this connects now; only failure is told later.
    this.socket.connect(port, address, (error?: NodeJS.ErrnoException) => {
      if (error) tell(error)
    })
    this.socket.unref()
    try {
      this.socket.remoteAddress()
      this.localAddress = this.socket.address().address
    } catch {
      // Not connected: the callback says why.
    }
  }

  ask(): void {
    const again = () => {
      this.socket.send(QUESTION)
      this.timer = setTimeout(again, ASK_AGAIN_MS)
      this.timer.unref()
    }
    this.timer = setTimeout(again, ASK_FIRST_MS)
    this.timer.unref()
  }

  close(): void {
    clearTimeout(this.timer)
    this.socket.close()
  }
}

// ── Native tiers ─────────────────────────────────────────────────────────────────────────────────

let addresses: AddressBook | undefined
const ADDRESS_WORDS = 6

/** Routes that wait for a refusal, by the peer's address. */
const waiting = new Map<string, Set<NativeGuide>>()

/** A socket of this process has heard of a refusal. */
export function tellRefusal(refusal: DatagramRefusal): void {
  if (refusal.code !== 'ECONNREFUSED') return
  const plain = refusal.address.replace(/^::ffff:(?=\d+\.)/, '')
  for (const guide of [...(waiting.get(`${plain} ${refusal.port}`) ?? [])]) guide.refused()
}

class NativeGuide implements Guide {
  readonly localAddress: string | undefined
  private readonly key: string
  private readonly tell: Tell

  constructor({ address, port, family }: Target, addon: NativeAddon, tell: Tell) {
    addresses ??= new AddressBook({ zones: zoneNumbers() })
    this.tell = tell
    const words = addresses.pack(address, port)
    const local = new Int32Array(ADDRESS_WORDS)
    const error = words === undefined ? EINVAL : addon.localAddressTo(words, family, local)
    this.key = words === undefined ? '' : `${addresses.unpack(words, 0).address} ${port}`
    if (error === 0) {
      this.localAddress = addresses.unpack(local, 0).address
      return
    }
    process.nextTick(() => tell(connectError(error, address, port)))
  }

  /** The packets that open the connection are the question. */
  ask(): void {
    const guides = waiting.get(this.key)
    if (guides === undefined) waiting.set(this.key, new Set([this]))
    else guides.add(this)
  }

  refused(): void {
    this.tell(Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }))
  }

  close(): void {
    const guides = waiting.get(this.key)
    if (guides?.delete(this) && guides.size === 0) waiting.delete(this.key)
  }
}

const EINVAL = 22

function connectError(errno: number, address: string, port: number): NodeJS.ErrnoException {
  const code = getSystemErrorName(-errno)
  const error = new Error(`connect ${code} ${address}:${port}`)
  return Object.assign(error, { errno: -errno, code, syscall: 'connect', address, port })
}
