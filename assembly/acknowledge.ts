/**
 * Receiving: when what has arrived is acknowledged. At most once per drain, at least eight times per
 * round trip while packets come, at once when one is missing or comes alone.
 */
import { ENDPOINT, EP_ACK_DELAY } from './endpoint'
import { LOCAL_RTT } from './pacer'
import { PATH_ACK_DUE, PATH_ACK_PENDING, PATH_ACK_SENT, PATH_RECEIVED, PATH_RTT_MIN } from './path'
import { add32, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { RANGES_COUNT } from './ranges'

const PER_ROUND_TRIP: f64 = 8.0

/** Packet `number` asks for an acknowledgement; `largest` was the largest number before it. */
export function ackWanted(cn: ptr, path: ptr, number: f64, largest: f64, now: f64): void {
  add32(path + PATH_ACK_PENDING, 1)
  // RFC 9000 §13.2.1: the sender learns at once of what may be lost.
  const isNext: bool = number === largest + 1.0
  const due: f64 = isNext ? maxf(rf64(path + PATH_ACK_SENT) + ackInterval(cn, path), now) : now
  wf64(path + PATH_ACK_DUE, minf(rf64(path + PATH_ACK_DUE), due))
}

/** Between two acknowledgements; near peers get one per drain, because no timer is that fine. */
function ackInterval(cn: ptr, path: ptr): f64 {
  const rtt: f64 = rf64(path + PATH_RTT_MIN)
  if (rtt < LOCAL_RTT || rtt === Infinity) return 0.0
  return minf(rtt / PER_ROUND_TRIP, rf64(r32(cn + ENDPOINT) + EP_ACK_DELAY))
}

/** Whether an acknowledgement waits for something to travel with, or for its time. */
export function ackIsPending(path: ptr): bool {
  if (r32(path + PATH_ACK_PENDING) === 0) return false
  if (r32(path + PATH_RECEIVED + RANGES_COUNT) !== 0) return true
  // The peer knows already of everything that arrived.
  w32(path + PATH_ACK_PENDING, 0)
  wf64(path + PATH_ACK_DUE, Infinity)
  return false
}

/** It leaves. */
export function ackSent(path: ptr, now: f64): void {
  w32(path + PATH_ACK_PENDING, 0)
  wf64(path + PATH_ACK_DUE, Infinity)
  wf64(path + PATH_ACK_SENT, now)
}
