import type { DatagramAddress, Micros, Random } from '../machine.ts'
import { NEVER } from '../machine.ts'
import type { Connection } from './connection.ts'

/** Pauses between attempts: the first, and the longest; each is up to a half shorter, by chance. */
const PAUSE_FIRST_MICROS = 500_000
const PAUSE_MAX_MICROS = 4_000_000
const PAUSE_GROWTH = 2

export interface PinOwner {
  /** There is a connection; `epoch` counts them from 1: what the last one had is gone with it. */
  opened?(connection: Connection, epoch: number): void
  /** It is over, CODE_…; the next attempt follows by itself. */
  closed?(code: number): void
}

/** What a pin asks of its endpoint. */
export interface PinHost {
  now(): Micros
  dial(owner: {
    opened(connection: Connection): void
    closed(code: number): void
  }): Connection | undefined
  /** The deadline has moved. */
  work(): void
  /** It is released. */
  forget(pin: Pin): void
}

/**
 * A peer that is never given up: whenever there is no connection to it, the next attempt begins, at
 * once after one that had come about, else after a pause. While an attempt goes on, its first packet
 * is repeated each second; so a link that returns after an hour is noticed within seconds.
 */
export class Pin {
  readonly to: DatagramAddress
  private readonly owner: PinOwner
  private readonly host: PinHost
  private readonly random: Random
  private current: Connection | undefined
  private due: Micros
  private pause = PAUSE_FIRST_MICROS
  private opened = 0
  private isReleased = false
  /** The present attempt has come to a connection. */
  private hasOpened = false

  /** @internal Pins come from `Endpoint.pin`. */
  constructor(to: DatagramAddress, owner: PinOwner, host: PinHost, random: Random, now: Micros) {
    this.to = to
    this.owner = owner
    this.host = host
    this.random = random
    this.due = now
  }

  /** The connection, if there is one that is open. */
  get connection(): Connection | undefined {
    return this.current?.isOpen ? this.current : undefined
  }

  /** How many connections there have been. */
  get epoch(): number {
    return this.opened
  }

  /** Lets go: the connection ends when it has no streams for a while, and none follows. */
  release(): void {
    this.isReleased = true
    this.due = NEVER
    this.host.forget(this)
    if (this.connection === undefined) this.current?.close()
    else this.connection.setPinned(false)
  }

  /** @internal */
  nextTimeout(): Micros {
    return this.due
  }

  /** @internal Begins an attempt, if one is due. */
  timeout(now: Micros): void {
    if (now < this.due || this.isReleased) return
    this.due = NEVER
    this.hasOpened = false
    this.current = this.host.dial({
      opened: (opened) => {
        this.hasOpened = true
        this.opened += 1
        this.pause = PAUSE_FIRST_MICROS
        this.owner.opened?.(opened, this.opened)
      },
      closed: (code) => this.handleClosed(code),
    })
    // A limit is reached: it may not be, later.
    if (this.current === undefined) this.plan(now)
  }

  private handleClosed(code: number): void {
    this.current = undefined
    if (!this.isReleased) {
      if (this.hasOpened) this.planAt(this.host.now())
      else this.plan(this.host.now())
    }
    this.owner.closed?.(code)
  }

  private plan(now: Micros): void {
    const jitter = (this.random.u32() >>> 1) / 2 ** 32
    this.planAt(now + Math.round(this.pause * (1 - jitter)))
    this.pause = Math.min(this.pause * PAUSE_GROWTH, PAUSE_MAX_MICROS)
  }

  private planAt(at: Micros): void {
    this.due = at
    this.host.work()
  }
}
