/**
 * What the drivers of one core share: its memory is filled by one at a time, and one timer serves
 * them all.
 */
import { channel } from 'node:diagnostics_channel'
import { Core, type CoreOptions, JOBS, VERDICTS } from '../../bindings/core.ts'
import { NativeHub } from '../../bindings/native-hub.ts'
import { type Micros, NEVER } from '../machine.ts'
import type { AddressBook } from '../transport/index.ts'
import { type BackendChoice, chooseBackend, tellBackend, unavailable } from './backend.ts'
import { nowMicros } from './clock.ts'
import type { Backend, DatagramSocket, DatagramSocketOwner, UdpBinding } from './datagram-socket.ts'
import { DgramSocket } from './dgram-socket.ts'
import type { Driver } from './driver.ts'
import { NativeUdpSocket } from './native-socket.ts'

/** Tells of traps: { error }. */
const traps = channel('punchline:trap')
/** Longest wait of one timer: Node's own limit is 2^31 − 1 ms. */
const WAIT_MAX_MS = 2 ** 30
/** Shorter waits go to the native deadline, where there is one: it knows microseconds. */
const PRECISE_MICROS = 5_000

export interface LoopOptions extends CoreOptions {
  /** Which tier; default: PUNCHLINE_BACKEND, or the best there is. */
  readonly backend?: BackendChoice
  /**
   * For how long after a small datagram the next one is looked for before the process sleeps,
   * milliseconds, 0 … 1,000; default: PUNCHLINE_BUSY_POLL_MS, or 0.05; 0: never. Native tiers only. A
   * wake-up costs more than such a look, which goes on only while most of them find something.
   */
  readonly busyPollMs?: number
}

export interface SocketSetup {
  readonly binding: UdpBinding
  /** By which the core knows it. */
  readonly index: number
  readonly owner: DatagramSocketOwner
  readonly addresses: AddressBook
}

/** A core with its drivers, driven by the event loop. */
export class Loop {
  /** Another one after a trap. */
  core: Core
  private readonly options: LoopOptions
  private readonly drivers = new Set<Driver>()
  /** Whose datagrams lie in the receive arena. */
  private receiving: Driver | undefined
  private isDrainPlanned = false
  /** Who has something to send; the other array serves while this one is worked off. */
  private flushing: Driver[] = []
  private spare: Driver[] = []
  private timer: NodeJS.Timeout | undefined
  private timerDue: Micros = NEVER
  private readonly busyPollMs: number
  private choice: BackendChoice | undefined
  private hub: NativeHub | undefined
  /** The system still reads from the train arena for this one. */
  private sending: Driver | undefined

  constructor(options: LoopOptions = {}) {
    this.options = options
    this.core = this.makeCore()
    this.choice = options.backend
    this.busyPollMs = options.busyPollMs ?? busyPollOf(process.env['PUNCHLINE_BUSY_POLL_MS'])
  }

  // ── Traps ──────────────────────────────────────────────────────────────────────────────────────

  private makeCore(): Core {
    const core = Core.create(this.options)
    core.guard((error) => this.handleTrap(error))
    return core
  }

  /**
   * The core has met a defect of its own: its memory can't be trusted. Every socket on it gets
   * ECONNRESET, and a fresh core serves the next ones, on the same ports.
   */
  private handleTrap(error: Error): void {
    for (const driver of this.drivers) driver.endpoint.halt()
    traps.publish({ error })
    // Callers up the stack still hold the old one.
    process.nextTick(() => {
      const { hub } = this
      this.hub = undefined
      this.receiving = undefined
      this.sending = undefined
      this.core = this.makeCore()
      for (const driver of [...this.drivers]) driver.restart()
      hub?.close()
    })
  }

  add(driver: Driver): void {
    this.drivers.add(driver)
  }

  remove(driver: Driver): void {
    if (this.receiving === driver) {
      this.core.receivedDone()
      this.receiving = undefined
      this.hub?.setBusy(false)
    }
    this.drivers.delete(driver)
    this.release(driver)
  }

  // ── Sockets ────────────────────────────────────────────────────────────────────────────────────

  /** The tier of its sockets; undefined before the first. */
  get backend(): Backend | undefined {
    return this.choice?.backend
  }

  /** Why sockets are not carried by a faster tier; '' when there is none. */
  get backendReason(): string {
    return this.choice?.reason ?? ''
  }

  /**
   * Binds a socket on the best tier there is.
   * @throws the system error of `bind`; IoError ERR_PUNCHLINE_BACKEND_UNAVAILABLE
   */
  openSocket(setup: SocketSetup): DatagramSocket {
    const { binding, owner } = setup
    const hub = this.nativeHub()
    if (hub === undefined) return new DgramSocket(binding, this.core.bytes, owner)
    return new NativeUdpSocket({ ...setup, hub, wantsRing: this.choice?.backend === 'uring' })
  }

  /** Does the jobs of the core's list, where there is an addon; known after the first socket. */
  get runJobs(): ((count: number) => void) | undefined {
    const { hub } = this
    return hub && ((count) => hub.runJobs(JOBS, count, VERDICTS))
  }

  /** Whether those jobs may be AES-128-GCM, and the processor has instructions for it. */
  get hasAes(): boolean {
    if (this.hub === undefined) return false
    const { cpu, aes128Gcm } = this.choice?.addon?.describe(false) ?? {}
    return aes128Gcm?.available === true && (cpu?.aes === true || cpu?.armAes === true)
  }

  private nativeHub(): NativeHub | undefined {
    this.choice ??= chooseBackend()
    const { addon, isForced } = this.choice
    if (this.hub !== undefined || addon === undefined) return this.hub
    this.hub = new NativeHub(addon, this.core, {
      deadline: () => this.ring(),
      prepare: () => this.drain(),
      settle: () => {
        // The kernel writes to the arena next.
        this.core.exports.settle()
        this.flushAll()
      },
    })
    this.hub.setBusyPoll(this.busyPollMs * 1000)
    if (this.choice.backend === 'uring') {
      const { available, reason } = this.hub.openRing()
      if (!available && isForced) throw unavailable('uring', reason)
      if (!available) {
        this.choice = { ...this.choice, backend: 'mmsg', reason: `io_uring: ${reason}` }
        tellBackend(this.choice)
      }
    }
    return this.hub
  }

  /** Closes what is native. Sockets are closed by their drivers. */
  close(): void {
    if (this.timer !== undefined) clearTimeout(this.timer)
    this.hub?.close()
    this.hub = undefined
  }

  // ── Receiving ──────────────────────────────────────────────────────────────────────────────────

  /** A datagram is about to be copied for this driver: others' have to be taken first. */
  beginReceive(driver: Driver): void {
    if (this.receiving === driver) return
    this.drain()
    this.receiving = driver
    this.hub?.setBusy(true)
    if (this.isDrainPlanned) return
    this.isDrainPlanned = true
    // libuv reads many datagrams in one turn; immediates run right after that.
    setImmediate(() => {
      this.isDrainPlanned = false
      this.drain()
    })
  }

  /** Takes the datagrams that were copied to the arena, and answers. */
  drain(): void {
    const driver = this.receiving
    if (driver === undefined) return
    this.receiving = undefined
    this.hub?.setBusy(false)
    // A hub writes to this part of the arena, too, and knows nothing of what was left there.
    driver.ingest(this.core.receivedCount, this.hub === undefined)
  }

  // ── Sending ────────────────────────────────────────────────────────────────────────────────────

  /**
   * Something may have to be sent: once, after the present turn of the program, so that what it
   * answers leaves together with acknowledgements.
   */
  planFlush(driver: Driver): void {
    if (driver.isFlushPlanned) return
    driver.isFlushPlanned = true
    if (this.flushing.push(driver) > 1 || this.hub?.settleLater() === true) return
    process.nextTick(this.flushAll)
  }

  /** Whether the train arena may be written to. */
  get canSend(): boolean {
    return this.sending === undefined
  }

  /** The system still reads from the train arena: nobody may build until `release`. */
  hold(driver: Driver): void {
    this.sending = driver
  }

  release(driver: Driver): void {
    if (this.sending !== driver) return
    this.sending = undefined
    for (const other of this.drivers) this.planFlush(other)
  }

  private readonly flushAll = (): void => {
    const drivers = this.flushing
    this.flushing = this.spare
    for (const driver of drivers) {
      driver.isFlushPlanned = false
      driver.flush()
    }
    drivers.length = 0
    this.spare = drivers
    this.arm()
  }

  // ── Time ───────────────────────────────────────────────────────────────────────────────────────

  /** Sees to it that the timer rings when the next deadline is due, or earlier. */
  arm(): void {
    let due = NEVER
    for (const driver of this.drivers) due = Math.min(due, driver.endpoint.nextTimeout())
    // A timer that rings too early costs less than one that is set anew for each packet.
    if (due >= this.timerDue) return
    if (this.timer !== undefined) clearTimeout(this.timer)
    this.timer = undefined
    const wait = Math.max(due - nowMicros(), 0)
    this.timerDue = due
    if (this.hub !== undefined && wait < PRECISE_MICROS) {
      this.hub.setDeadline(wait)
      return
    }
    this.timer = setTimeout(() => this.ring(), Math.min(Math.ceil(wait / 1000), WAIT_MAX_MS))
    this.timer.unref()
  }

  private ring(): void {
    if (this.timer !== undefined) clearTimeout(this.timer)
    this.timer = undefined
    this.timerDue = NEVER
    const now = nowMicros()
    for (const driver of [...this.drivers]) {
      if (driver.endpoint.nextTimeout() <= now) driver.timeout(now)
    }
    this.arm()
  }
}

const BUSY_POLL_MS = 0.05

/** What does not make sense is left alone: an environment must not keep a program from running. */
function busyPollOf(text = ''): number {
  const millis = text === '' ? BUSY_POLL_MS : Number(text)
  return millis >= 0 ? Math.min(millis, 1_000) : BUSY_POLL_MS
}
