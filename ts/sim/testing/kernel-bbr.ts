/**
 * A flow as the first version of BBR sends it, which is the one in Linux: what ours meets on links
 * that it shares. It keeps up to two path volumes on their way, remembers the most bandwidth of ten
 * round trips, and does not slow down when packets are lost. Cardwell et al., "BBR:
 * Congestion-Based Congestion Control" (2016), with the constants and the recovery of the kernel.
 *
 * Times are in µs; windows and bandwidths count packets, which all have one size.
 */
import type { DatagramAddress, Machine, Micros } from '../../machine.ts'
import { NEVER } from '../../machine.ts'
import type { Host } from '../host.ts'
import { machinePort } from '../machine-port.ts'

/** Of UDP's payload; on the link as large as a full packet of TCP. */
const PACKET_BYTES = 1_472
/** What such a packet of TCP carries. */
const USER_BYTES = 1_448

const GAIN_HIGH = 2.89
const GAIN_WINDOW = 2
const GAINS = [1.25, 0.75, 1, 1, 1, 1, 1, 1]
const ROUNDS_REMEMBERED = 10
const FLAT_ROUNDS_MAX = 3
const WINDOW_INITIAL = 10
const WINDOW_MIN = 4
const PACING_MARGIN = 0.99
/** A train is what the rate carries in this time, at least two packets. */
const TRAIN_MICROS = 1_000
const MIN_RTT_LIFE = 10e6
const PROBE_RTT_TIME = 200e3
const TIMEOUT_MIN = 200e3
const ACK_DELAY = 40e3

type Transmit = ReturnType<Machine<never>['pollTransmit']>

interface Sent {
  readonly at: Micros
  /** How much had arrived by then, when the last of it had, and when that had left. */
  readonly delivered: number
  readonly deliveredAt: Micros
  readonly firstSentAt: Micros
}

class Sender implements Machine<never> {
  private readonly to: DatagramAddress
  private readonly firstPhase: number
  /** By number, oldest first. Each packet has a new one, also what is sent again. */
  private readonly inFlight = new Map<number, Sent>()
  private next = 0
  private window = WINDOW_INITIAL
  private rate = 0
  private paceNext: Micros = 0
  private trainLeft = 0

  private delivered = 0
  private deliveredAt: Micros = 0
  private firstSentAt: Micros = 0
  private smoothedRtt = 0
  private roundEnd = 0

  private mode: 'startup' | 'drain' | 'probe-bandwidth' | 'probe-rtt' = 'startup'
  /** The most of each round, newest first. */
  private readonly bandwidths = [0]
  private fullBandwidth = 0
  private flatRounds = 0
  private phase = 0
  private phaseAt: Micros = 0
  private minRtt = Number.POSITIVE_INFINITY
  private minRttAt: Micros = 0
  private probeRttEnd: Micros = NEVER
  private probeRttRound = 0

  /** The window before recovery or PROBE_RTT. */
  private windowBefore = 0
  /** Recovery ends with this packet, −1: there is none. */
  private recoveryEnd = -1
  /** In its first round as much leaves as arrives. */
  private isConserving = false

  constructor(to: DatagramAddress, firstPhase: number) {
    this.to = to
    this.firstPhase = firstPhase
  }

  handleDatagram(now: Micros, _from: DatagramAddress, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    const flight = this.inFlight.size
    let newest: Sent | undefined
    let largest = -1
    for (let at = 0; at < bytes.length; at += 4) {
      const number = view.getUint32(at)
      const sent = this.inFlight.get(number)
      if (sent === undefined) continue
      this.inFlight.delete(number)
      this.delivered += 1
      newest = sent
      largest = number
    }
    if (newest === undefined) return
    const acked = flight - this.inFlight.size
    const lost = this.detectLosses(largest)
    const isRound = newest.delivered >= this.roundEnd
    if (isRound) this.beginRound()
    this.measureBandwidth(newest, now)
    if (isRound) this.watchGrowth()
    this.nextPhase(now, flight, lost)
    this.measureRtt(now, now - newest.at)
    this.setRate()
    this.recover(acked, lost, largest)
    if (!this.isConserving) this.setWindow(acked)
  }

  handleTimeout(now: Micros): void {
    if (now < this.timeoutAt()) return
    this.inFlight.clear()
    this.windowBefore = Math.max(this.windowBefore, this.window)
    this.recoveryEnd = this.next
    this.window = WINDOW_MIN
    this.deliveredAt = now
  }

  pollTransmit(now: Micros): Transmit {
    if (this.inFlight.size >= Math.floor(this.window)) return undefined
    if (this.trainLeft === 0) {
      if (this.paceNext > now) return undefined
      this.trainLeft = this.trainLength
    }
    this.trainLeft -= 1
    if (this.inFlight.size === 0) {
      this.firstSentAt = now
      this.deliveredAt = now
    }
    const { delivered, deliveredAt, firstSentAt } = this
    this.inFlight.set(this.next, { at: now, delivered, deliveredAt, firstSentAt })
    const bytes = new Uint8Array(PACKET_BYTES)
    new DataView(bytes.buffer).setUint32(0, this.next)
    this.next += 1
    if (this.rate > 0) this.paceNext = Math.max(this.paceNext, now) + 1 / this.rate
    return { to: this.to, bytes }
  }

  pollEvent(): undefined {}

  pollTimeout(): Micros {
    const isOpen = this.inFlight.size < Math.floor(this.window)
    return Math.ceil(isOpen ? Math.min(this.paceNext, this.timeoutAt()) : this.timeoutAt())
  }

  private timeoutAt(): Micros {
    if (this.inFlight.size === 0) return NEVER
    return this.deliveredAt + Math.max(TIMEOUT_MIN, this.smoothedRtt) + this.smoothedRtt * 2
  }

  /** What three later packets have overtaken is lost. */
  private detectLosses(largest: number): number {
    const flight = this.inFlight.size
    for (const number of this.inFlight.keys()) {
      if (number > largest - 3) break
      this.inFlight.delete(number)
    }
    return flight - this.inFlight.size
  }

  private beginRound(): void {
    this.roundEnd = this.delivered
    this.isConserving = false
    this.bandwidths.unshift(0)
    this.bandwidths.length = Math.min(this.bandwidths.length, ROUNDS_REMEMBERED)
  }

  private measureBandwidth(newest: Sent, now: Micros): void {
    this.deliveredAt = now
    this.firstSentAt = newest.at
    const rtt = now - newest.at
    this.smoothedRtt = this.smoothedRtt === 0 ? rtt : this.smoothedRtt * 0.875 + rtt * 0.125
    const time = Math.max(now - newest.deliveredAt, newest.at - newest.firstSentAt)
    if (this.minRtt < NEVER && time < this.minRtt) return
    const rate = (this.delivered - newest.delivered) / time
    this.bandwidths[0] = Math.max(this.bandwidths[0] as number, rate)
  }

  private get bandwidth(): number {
    return Math.max(...this.bandwidths)
  }

  private get trainLength(): number {
    return Math.max(2, Math.floor(this.rate * TRAIN_MICROS))
  }

  private get isFound(): boolean {
    return this.flatRounds >= FLAT_ROUNDS_MAX
  }

  /** What the path holds, times `gain`, and three trains. */
  private volume(gain: number): number {
    if (this.minRtt === NEVER) return WINDOW_INITIAL
    const packets = Math.ceil(gain * this.bandwidth * this.minRtt) + 3 * this.trainLength
    return packets + (packets & 1)
  }

  private watchGrowth(): void {
    if (this.isFound) return
    if (this.bandwidth < this.fullBandwidth * 1.25) this.flatRounds += 1
    else {
      this.fullBandwidth = this.bandwidth
      this.flatRounds = 0
    }
  }

  private nextPhase(now: Micros, flight: number, lost: number): void {
    if (this.mode === 'startup' && this.isFound) this.mode = 'drain'
    if (this.mode === 'drain' && this.inFlight.size <= this.volume(1)) this.probeBandwidth(now)
    if (this.mode !== 'probe-bandwidth') return
    const gain = GAINS[this.phase] as number
    let isOver = now - this.phaseAt > this.minRtt
    if (gain > 1) isOver = isOver && (lost > 0 || flight >= this.volume(gain))
    if (gain < 1) isOver = isOver || flight <= this.volume(1)
    if (!isOver) return
    this.phase = (this.phase + 1) % GAINS.length
    this.phaseAt = now
  }

  private probeBandwidth(now: Micros): void {
    this.mode = 'probe-bandwidth'
    this.phase = this.firstPhase
    this.phaseAt = now
  }

  private measureRtt(now: Micros, rtt: Micros): void {
    const isOld = this.minRtt < NEVER && now > this.minRttAt + MIN_RTT_LIFE
    if (rtt < this.minRtt || isOld) {
      this.minRtt = rtt
      this.minRttAt = now
    }
    if (isOld && this.mode !== 'probe-rtt') {
      this.mode = 'probe-rtt'
      this.windowBefore = Math.max(this.recoveryEnd < 0 ? 0 : this.windowBefore, this.window)
      this.probeRttEnd = NEVER
    }
    if (this.mode !== 'probe-rtt') return
    if (this.probeRttEnd === NEVER && this.inFlight.size <= WINDOW_MIN) {
      this.probeRttEnd = now + PROBE_RTT_TIME
      this.probeRttRound = this.delivered + this.inFlight.size
    }
    if (now <= this.probeRttEnd || this.delivered <= this.probeRttRound) return
    this.minRttAt = now
    this.window = Math.max(this.window, this.windowBefore)
    if (this.isFound) this.probeBandwidth(now)
    else this.mode = 'startup'
  }

  private setRate(): void {
    let gain = 1
    if (this.mode === 'startup') gain = GAIN_HIGH
    else if (this.mode === 'drain') gain = 1 / GAIN_HIGH
    else if (this.mode === 'probe-bandwidth') gain = GAINS[this.phase] as number
    const rate = gain * this.bandwidth * PACING_MARGIN
    if (this.isFound || rate > this.rate) this.rate = rate
  }

  /** Losses cost their own packets, and for one round the window does not grow. */
  private recover(acked: number, lost: number, largest: number): void {
    this.window = Math.max(this.window - lost, 1)
    if (lost > 0 && this.recoveryEnd < 0) {
      if (this.mode !== 'probe-rtt') this.windowBefore = this.window + lost
      this.recoveryEnd = this.next
      this.roundEnd = this.delivered
      this.isConserving = true
      this.window = this.inFlight.size + acked
    } else if (this.recoveryEnd >= 0 && largest >= this.recoveryEnd && lost === 0) {
      this.recoveryEnd = -1
      this.isConserving = false
      this.window = Math.max(this.window, this.windowBefore)
    }
    if (this.isConserving) this.window = Math.max(this.window, this.inFlight.size + acked)
  }

  private setWindow(acked: number): void {
    const isStarting = this.mode === 'startup' || this.mode === 'drain'
    const target = this.volume(isStarting ? GAIN_HIGH : GAIN_WINDOW)
    if (this.isFound) this.window = Math.min(this.window + acked, target)
    else if (this.window < target || this.delivered < WINDOW_INITIAL) this.window += acked
    this.window = Math.max(this.window, WINDOW_MIN)
    if (this.mode === 'probe-rtt') this.window = WINDOW_MIN
  }
}

/** Acknowledges every other packet, or a single one after a while. */
class Receiver implements Machine<never> {
  packets = 0
  private from: DatagramAddress | undefined
  private waiting: number[] = []
  private dueAt: Micros = NEVER

  handleDatagram(now: Micros, from: DatagramAddress, bytes: Uint8Array): void {
    this.packets += 1
    this.from = from
    this.waiting.push(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0))
    this.dueAt = this.waiting.length === 1 ? now + ACK_DELAY : now
  }

  handleTimeout(): void {}

  pollTransmit(now: Micros): Transmit {
    if (this.from === undefined || now < this.dueAt) return undefined
    const bytes = new Uint8Array(4 * this.waiting.length)
    const view = new DataView(bytes.buffer)
    for (const [index, number] of this.waiting.entries()) view.setUint32(4 * index, number)
    this.waiting = []
    this.dueAt = NEVER
    return { to: this.from, bytes }
  }

  pollEvent(): undefined {}

  pollTimeout(): Micros {
    return this.dueAt
  }
}

/** Such a flow from one host to another; it begins at once and never runs dry. */
export class KernelBbr {
  private readonly receiver = new Receiver()

  /** `firstPhase`: where its cycle of eight gains begins; the kernel draws any but the second. */
  constructor(from: Host, to: Host, firstPhase: number, port = 5_201) {
    to.attach(machinePort(this.receiver), [{ port }])
    const peer = { socketIndex: 0, address: to.address, port }
    from.attach(machinePort(new Sender(peer, firstPhase)))
  }

  /** User bytes that arrived. */
  get receivedBytes(): number {
    return this.receiver.packets * USER_BYTES
  }
}
