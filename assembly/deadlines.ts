/**
 * Time: each connection has one timer and at most a handful of deadlines; this does what is due.
 */
import { emptyDeadline, nextDeadline } from './builder'
import {
  addControl,
  arm,
  blockedDeadline,
  bury,
  CN_CONNECT_TIMEOUT,
  CN_FLAGS,
  CN_IDLE_TIMEOUT,
  CN_LAST_HEARD,
  CN_MESSAGE_OUT,
  CN_PATHS,
  CN_RETRY_AT,
  CN_SAY_HANDSHAKE,
  CN_STARTED,
  CN_STATE,
  CN_TIMER,
  CONTROL_PING,
  probeInterval,
  STATE_CLOSING,
  STATE_CONNECTING,
  STATE_DRAINING,
  STATE_HALF_OPEN,
  wantSend,
} from './connection'
import { EP_NOW, EP_WHEEL } from './endpoint'
import { fail } from './ingest'
import { CODE_CLOSED, CODE_CONNECT_TIMEOUT, CODE_IDLE_TIMEOUT } from './layout'
import { challengeDeadline, challengeExpired } from './migration'
import { paceDeadline } from './pacer'
import {
  PATH_ACK_DUE,
  PATH_EXPECT_AT,
  PATH_IN_FLIGHT_COUNT,
  PATH_LAST_ELICITING,
  PATH_LOSS_TIME,
  PATH_PROBE_COUNT,
} from './path'
import { type ptr, r32, rf64, w32, wf64 } from './prelude'
import { detectLosses, probe } from './recovery'
import { streamsSever } from './stream'
import { askForCredit, relieve } from './stream-send'
import { wheelNext, wheelPop } from './wheel'

export function endpointTimeout(ep: ptr, now: f64): void {
  wf64(ep + EP_NOW, now)
  while (true) {
    const timer: ptr = wheelPop(ep + EP_WHEEL, now)
    if (timer === 0) return
    expired(timer - CN_TIMER, now)
  }
}

export function endpointNextTimeout(ep: ptr): f64 {
  return wheelNext(ep + EP_WHEEL)
}

/** Does what is due for a connection. Its timer may have rung early: then it is set again. */
function expired(cn: ptr, now: f64): void {
  const state: i32 = r32(cn + CN_STATE)
  if (now < nextDeadline(cn)) {
    arm(cn, nextDeadline(cn))
    return
  }
  if (state === STATE_CLOSING || state === STATE_DRAINING) {
    bury(cn, 0)
    return
  }
  if (state === STATE_CONNECTING) {
    if (now >= rf64(cn + CN_STARTED) + rf64(cn + CN_CONNECT_TIMEOUT)) {
      streamsSever(cn)
      bury(cn, CODE_CONNECT_TIMEOUT)
      return
    }
    w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_HANDSHAKE)
    wantSend(cn)
    return
  }
  if (state === STATE_HALF_OPEN || now >= rf64(cn + CN_LAST_HEARD) + rf64(cn + CN_IDLE_TIMEOUT)) {
    streamsSever(cn)
    bury(cn, CODE_IDLE_TIMEOUT)
    return
  }
  if (now >= emptyDeadline(cn)) {
    fail(cn, CODE_CLOSED, now)
    return
  }
  if (now >= rf64(cn + CN_RETRY_AT)) {
    relieve(cn)
    return
  }
  const path: ptr = r32(cn + CN_PATHS)
  if (now >= rf64(path + PATH_ACK_DUE) || now >= paceDeadline(path)) {
    wantSend(cn)
    return
  }
  if (now >= challengeDeadline(path)) {
    challengeExpired(cn, path)
    return
  }
  if (now >= rf64(path + PATH_EXPECT_AT)) {
    wf64(path + PATH_EXPECT_AT, Infinity)
    addControl(cn, CONTROL_PING)
    return
  }
  if (now >= blockedDeadline(cn, path)) {
    askForCredit(cn)
    wantSend(cn)
    return
  }
  const lossTime: f64 = rf64(path + PATH_LOSS_TIME)
  if (lossTime > 0.0) {
    if (now >= lossTime) detectLosses(cn, path, now)
  } else if (r32(path + PATH_IN_FLIGHT_COUNT) > 0) {
    const interval: f64 = probeInterval(cn, path, r32(path + PATH_PROBE_COUNT))
    if (now >= rf64(path + PATH_LAST_ELICITING) + interval) {
      probe(cn, path, now)
      // The responder can't open our packets before it has our last message.
      if (r32(cn + CN_MESSAGE_OUT) !== 0) {
        w32(cn + CN_FLAGS, r32(cn + CN_FLAGS) | CN_SAY_HANDSHAKE)
      }
    }
  } else addControl(cn, CONTROL_PING)
  wantSend(cn)
}
