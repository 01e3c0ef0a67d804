import type { DatagramAddress, DatagramPort, Machine, Micros } from '../machine.ts'

/** Datagrams per round, in and out: some bound must be there. */
const BATCH_LENGTH_MAX = 64

/**
 * Lets a world drive a `Machine` (one call per datagram) as it drives engines. `handleEvent` gets
 * the machine's events in order, after each change.
 */
export function machinePort<Event>(
  machine: Machine<Event>,
  handleEvent: (event: Event, now: Micros) => void = () => {},
): DatagramPort {
  const inbox: { from: DatagramAddress; bytes: Uint8Array }[] = []
  let outbox: { to: DatagramAddress; bytes: Uint8Array }[] = []

  /** Answers whether there were any: their handlers may have changed the machine. */
  function drainEvents(now: Micros): boolean {
    let event = machine.pollEvent()
    if (event === undefined) return false
    for (; event !== undefined; event = machine.pollEvent()) handleEvent(event, now)
    return true
  }

  return {
    deliver(from, bytes) {
      if (inbox.length === BATCH_LENGTH_MAX) return false
      inbox.push({ from, bytes: bytes.slice() }) // A machine may keep what it was given.
      return true
    },
    ingest(now, count) {
      for (const { from, bytes } of inbox.splice(0, count)) {
        machine.handleDatagram(now, from, bytes)
        drainEvents(now)
      }
      return count
    },
    flush(now) {
      outbox = []
      do {
        while (outbox.length < BATCH_LENGTH_MAX) {
          const transmit = machine.pollTransmit(now)
          if (transmit === undefined) break
          outbox.push(transmit)
        }
      } while (drainEvents(now) && outbox.length === 0)
      return outbox.length
    },
    collect(take) {
      for (const { to, bytes } of outbox) take(to, bytes)
    },
    timeout(now) {
      machine.handleTimeout(now)
      drainEvents(now)
    },
    nextTimeout: () => machine.pollTimeout(),
  }
}
