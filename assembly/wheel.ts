/**
 * Hierarchical timing wheel: 4 levels of 64 slots, 1 ms per slot on the lowest, so that setting and
 * cancelling cost the same for ten timers and for ten thousand. Timers keep their exact due time;
 * slots only sort them coarsely.
 *
 * One timer lives in each connection. What lies beyond the top level (4.6 hours) waits in its last
 * slot and is sorted again when it comes round.
 */
import { fill, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'

const TICK_MICROS: f64 = 1000.0
const LEVELS: i32 = 4
const SPAN_MAX: f64 = 16777215.0

// Wheel
const TICK: i32 = 0
/** Earliest due time if known, or −1: to be found. */
const EARLIEST: i32 = 8
const COUNT: i32 = 16
/** Bit per slot, two words per level. */
const BITS: i32 = 24
const SLOTS: i32 = 56
/** Bytes of a wheel inside its owner. */
export const WHEEL_SIZE: i32 = 1080

// Timer
export const TIMER_DUE: i32 = 0
const TIMER_NEXT: i32 = 8
const TIMER_PREVIOUS: i32 = 12
/** Slot number + 1, 0 when not set. */
const TIMER_SLOT: i32 = 16
export const TIMER_SIZE: i32 = 24

export function wheelInit(wheel: ptr, now: f64): void {
  fill(wheel, WHEEL_SIZE)
  wf64(wheel + TICK, Math.floor(now / TICK_MICROS))
  wf64(wheel + EARLIEST, -1.0)
}

export function timerIsSet(timer: ptr): bool {
  return r32(timer + TIMER_SLOT) !== 0
}

/** Low 24 bits of a tick: the four slot digits. */
function digits(tick: f64): i32 {
  return i32(tick - Math.floor(tick / 16777216.0) * 16777216.0)
}

function place(wheel: ptr, timer: ptr): void {
  const tick: f64 = rf64(wheel + TICK)
  const ahead: f64 = minf(
    maxf(Math.floor(rf64(timer + TIMER_DUE) / TICK_MICROS) - tick, 0.0),
    SPAN_MAX,
  )
  const span: i32 = i32(ahead)
  const level: i32 = span < 64 ? 0 : span < 4096 ? 1 : span < 262144 ? 2 : 3
  const digit: i32 = (digits(tick + ahead) >> (6 * level)) & 63
  const slot: i32 = level * 64 + digit
  const list: ptr = wheel + SLOTS + slot * 4
  const next: ptr = r32(list)
  w32(timer + TIMER_NEXT, next)
  w32(timer + TIMER_PREVIOUS, 0)
  w32(timer + TIMER_SLOT, slot + 1)
  if (next !== 0) w32(next + TIMER_PREVIOUS, timer)
  w32(list, timer)
  const word: ptr = wheel + BITS + (slot >> 5) * 4
  w32(word, r32(word) | (1 << (slot & 31)))
}

function displace(wheel: ptr, timer: ptr): void {
  const slot: i32 = r32(timer + TIMER_SLOT) - 1
  const next: ptr = r32(timer + TIMER_NEXT)
  const previous: ptr = r32(timer + TIMER_PREVIOUS)
  if (next !== 0) w32(next + TIMER_PREVIOUS, previous)
  if (previous !== 0) w32(previous + TIMER_NEXT, next)
  else {
    w32(wheel + SLOTS + slot * 4, next)
    if (next === 0) {
      const word: ptr = wheel + BITS + (slot >> 5) * 4
      w32(word, r32(word) & ~(1 << (slot & 31)))
    }
  }
  w32(timer + TIMER_SLOT, 0)
}

/** Sets the timer, or moves it. */
export function timerSet(wheel: ptr, timer: ptr, due: f64): void {
  if (timerIsSet(timer)) timerClear(wheel, timer)
  wf64(timer + TIMER_DUE, due)
  place(wheel, timer)
  w32(wheel + COUNT, r32(wheel + COUNT) + 1)
  if (rf64(wheel + EARLIEST) > due) wf64(wheel + EARLIEST, due)
  else if (r32(wheel + COUNT) === 1) wf64(wheel + EARLIEST, due)
}

export function timerClear(wheel: ptr, timer: ptr): void {
  if (!timerIsSet(timer)) return
  displace(wheel, timer)
  w32(wheel + COUNT, r32(wheel + COUNT) - 1)
  if (rf64(timer + TIMER_DUE) === rf64(wheel + EARLIEST)) wf64(wheel + EARLIEST, -1.0)
}

/** Number of the first used slot of a level at or after `digit`, going round, or −1. */
function firstSlot(wheel: ptr, level: i32, digit: i32): i32 {
  const low: i32 = r32(wheel + BITS + level * 8)
  const high: i32 = r32(wheel + BITS + level * 8 + 4)
  if ((low | high) === 0) return -1
  for (let i: i32 = 0; i < 64; i++) {
    const slot: i32 = (digit + i) & 63
    if ((((slot < 32 ? low : high) >>> (slot & 31)) & 1) !== 0) return slot
  }
  return -1
}

/** Tick at which the next used slot of a level above the lowest is to be sorted, or Infinity. */
function nextSorting(wheel: ptr, level: i32): f64 {
  const tick: f64 = rf64(wheel + TICK)
  const digit: i32 = (digits(tick) >> (6 * level)) & 63
  // The current slot has been sorted: what is in it is a round away.
  const slot: i32 = firstSlot(wheel, level, digit + 1)
  if (slot < 0) return Infinity
  const unit: f64 = level === 1 ? 64.0 : level === 2 ? 4096.0 : 262144.0
  const steps: i32 = ((slot - digit - 1) & 63) + 1
  return (Math.floor(tick / unit) + f64(steps)) * unit
}

/** Earliest due time on the lowest level's next used slot, or the time of the next sorting. */
function findEarliest(wheel: ptr): f64 {
  let earliest: f64 = Infinity
  const slot: i32 = firstSlot(wheel, 0, digits(rf64(wheel + TICK)) & 63)
  if (slot >= 0) {
    for (let t: ptr = r32(wheel + SLOTS + slot * 4); t !== 0; t = r32(t + TIMER_NEXT)) {
      earliest = minf(earliest, rf64(t + TIMER_DUE))
    }
  }
  for (let level: i32 = 1; level < LEVELS; level++) {
    earliest = minf(earliest, nextSorting(wheel, level) * TICK_MICROS)
  }
  return earliest
}

/** When `wheelPop` wants to be asked again, Infinity when no timer is set. May be early. */
export function wheelNext(wheel: ptr): f64 {
  if (r32(wheel + COUNT) === 0) return Infinity
  if (rf64(wheel + EARLIEST) < 0.0) wf64(wheel + EARLIEST, findEarliest(wheel))
  return rf64(wheel + EARLIEST)
}

/** Sorts the current slot of a level into lower ones. */
function cascade(wheel: ptr, level: i32): void {
  const slot: i32 = level * 64 + ((digits(rf64(wheel + TICK)) >> (6 * level)) & 63)
  const list: ptr = wheel + SLOTS + slot * 4
  let timer: ptr = r32(list)
  w32(list, 0)
  const word: ptr = wheel + BITS + (slot >> 5) * 4
  w32(word, r32(word) & ~(1 << (slot & 31)))
  while (timer !== 0) {
    const next: ptr = r32(timer + TIMER_NEXT)
    place(wheel, timer)
    timer = next
  }
}

/** A timer of the current slot that is due, taken off the wheel; 0 when none is. */
function dueInSlot(wheel: ptr, now: f64): ptr {
  const slot: i32 = digits(rf64(wheel + TICK)) & 63
  for (let t: ptr = r32(wheel + SLOTS + slot * 4); t !== 0; t = r32(t + TIMER_NEXT)) {
    if (rf64(t + TIMER_DUE) <= now) return t
  }
  return 0
}

/** Takes the next due timer off the wheel and gives it, or 0 when none is due at `now`. */
export function wheelPop(wheel: ptr, now: f64): ptr {
  const target: f64 = Math.floor(now / TICK_MICROS)
  while (true) {
    if (r32(wheel + COUNT) === 0) {
      wf64(wheel + TICK, maxf(rf64(wheel + TICK), target))
      return 0
    }
    const timer: ptr = dueInSlot(wheel, now)
    if (timer !== 0) {
      displace(wheel, timer)
      w32(wheel + COUNT, r32(wheel + COUNT) - 1)
      wf64(wheel + EARLIEST, -1.0)
      return timer
    }
    let tick: f64 = rf64(wheel + TICK)
    if (tick >= target) return 0
    // To the next used slot of any level: a clock that jumps by hours must not cost a step for
    // every slot on the way.
    const digit: i32 = digits(tick) & 63
    const slot: i32 = firstSlot(wheel, 0, digit + 1)
    let next: f64 = slot < 0 ? Infinity : tick + f64(((slot - digit - 1) & 63) + 1)
    for (let level: i32 = 1; level < LEVELS; level++) next = minf(next, nextSorting(wheel, level))
    tick = minf(next, target)
    wf64(wheel + TICK, tick)
    wf64(wheel + EARLIEST, -1.0)
    const reached: i32 = digits(tick)
    if ((reached & 63) === 0) {
      if ((reached & 4095) === 0) {
        if ((reached & 262143) === 0) cascade(wheel, 3)
        cascade(wheel, 2)
      }
      cascade(wheel, 1)
    }
  }
}
