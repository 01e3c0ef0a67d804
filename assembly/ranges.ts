/**
 * Sets of half-open intervals [start, end) of whole numbers: received packet numbers, received,
 * acknowledged and lost parts of a stream.
 *
 * A doubly linked list in ascending order. Additions come nearly always at the end or close to the
 * last one, so a search starts at the nearer of both ends.
 */
import { give, take } from './pages'
import { maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'

export const RANGES_HEAD: i32 = 0
export const RANGES_TAIL: i32 = 4
export const RANGES_COUNT: i32 = 8
/** Bytes of a set inside its owner. */
export const RANGES_SIZE: i32 = 16

export const RANGE_NEXT: i32 = 0
export const RANGE_PREVIOUS: i32 = 4
export const RANGE_START: i32 = 8
export const RANGE_END: i32 = 16
const RANGE_SIZE: i32 = 32

function remove(owner: ptr, set: ptr, node: ptr): void {
  const next: ptr = r32(node + RANGE_NEXT)
  const previous: ptr = r32(node + RANGE_PREVIOUS)
  if (previous !== 0) w32(previous + RANGE_NEXT, next)
  else w32(set + RANGES_HEAD, next)
  if (next !== 0) w32(next + RANGE_PREVIOUS, previous)
  else w32(set + RANGES_TAIL, previous)
  w32(set + RANGES_COUNT, r32(set + RANGES_COUNT) - 1)
  give(owner, node, RANGE_SIZE)
}

function insertAfter(owner: ptr, set: ptr, previous: ptr, start: f64, end: f64): ptr {
  const node: ptr = take(owner, RANGE_SIZE)
  if (node === 0) return 0
  const next: ptr = previous === 0 ? r32(set + RANGES_HEAD) : r32(previous + RANGE_NEXT)
  w32(node + RANGE_NEXT, next)
  w32(node + RANGE_PREVIOUS, previous)
  wf64(node + RANGE_START, start)
  wf64(node + RANGE_END, end)
  if (previous !== 0) w32(previous + RANGE_NEXT, node)
  else w32(set + RANGES_HEAD, node)
  if (next !== 0) w32(next + RANGE_PREVIOUS, node)
  else w32(set + RANGES_TAIL, node)
  w32(set + RANGES_COUNT, r32(set + RANGES_COUNT) + 1)
  return node
}

/** The last interval that starts at or before `value`, or 0. */
export function rangeAtOrBefore(set: ptr, value: f64): ptr {
  const head: ptr = r32(set + RANGES_HEAD)
  if (head === 0) return 0
  const tail: ptr = r32(set + RANGES_TAIL)
  if (rf64(head + RANGE_START) > value) return 0
  // Nearer end first.
  if (value - rf64(head + RANGE_START) < rf64(tail + RANGE_START) - value) {
    let node: ptr = head
    while (true) {
      const next: ptr = r32(node + RANGE_NEXT)
      if (next === 0 || rf64(next + RANGE_START) > value) return node
      node = next
    }
  }
  let node: ptr = tail
  while (rf64(node + RANGE_START) > value) node = r32(node + RANGE_PREVIOUS)
  return node
}

export function rangesContain(set: ptr, value: f64): bool {
  const node: ptr = rangeAtOrBefore(set, value)
  return node !== 0 && rf64(node + RANGE_END) > value
}

/** Adds [start, end). False when there is no memory for it: the set is as it was. */
export function rangesAdd(owner: ptr, set: ptr, start: f64, end: f64): bool {
  // An interval without a number in it could never be taken out again.
  if (start >= end) return true
  let node: ptr = rangeAtOrBefore(set, start)
  if (node !== 0 && rf64(node + RANGE_END) >= start) {
    if (rf64(node + RANGE_END) >= end) return true
    wf64(node + RANGE_END, end)
  } else {
    const next: ptr = node === 0 ? r32(set + RANGES_HEAD) : r32(node + RANGE_NEXT)
    if (next !== 0 && rf64(next + RANGE_START) <= end) {
      // It touches the next one only: grow that one downwards.
      wf64(next + RANGE_START, start)
      if (rf64(next + RANGE_END) >= end) return true
      wf64(next + RANGE_END, end)
      node = next
    } else {
      node = insertAfter(owner, set, node, start, end)
      return node !== 0
    }
  }
  // Swallow what the grown interval now covers or touches.
  while (true) {
    const next: ptr = r32(node + RANGE_NEXT)
    if (next === 0 || rf64(next + RANGE_START) > end) return true
    wf64(node + RANGE_END, maxf(end, rf64(next + RANGE_END)))
    remove(owner, set, next)
  }
}

/** Takes [start, end) out. False when splitting an interval found no memory: more stays in. */
export function rangesRemove(owner: ptr, set: ptr, start: f64, end: f64): bool {
  if (start >= end) return true
  let node: ptr = rangeAtOrBefore(set, start)
  if (node === 0) node = r32(set + RANGES_HEAD)
  while (node !== 0) {
    const from: f64 = rf64(node + RANGE_START)
    const to: f64 = rf64(node + RANGE_END)
    if (from >= end) return true
    const next: ptr = r32(node + RANGE_NEXT)
    if (to > start) {
      if (from < start && to > end) {
        if (insertAfter(owner, set, node, end, to) === 0) return false
        wf64(node + RANGE_END, start)
        return true
      }
      if (from < start) wf64(node + RANGE_END, start)
      else if (to > end) wf64(node + RANGE_START, end)
      else remove(owner, set, node)
    }
    node = next
  }
  return true
}

/** Forgets the lowest interval. */
export function rangesDropHead(owner: ptr, set: ptr): void {
  remove(owner, set, r32(set + RANGES_HEAD))
}

export function rangesClear(owner: ptr, set: ptr): void {
  while (r32(set + RANGES_HEAD) !== 0) remove(owner, set, r32(set + RANGES_HEAD))
}

/** How many numbers of [start, end) the set does not hold. */
export function rangesMissing(set: ptr, start: f64, end: f64): f64 {
  let missing: f64 = end - start
  let node: ptr = rangeAtOrBefore(set, start)
  if (node === 0) node = r32(set + RANGES_HEAD)
  while (node !== 0 && rf64(node + RANGE_START) < end) {
    const from: f64 = maxf(start, rf64(node + RANGE_START))
    const to: f64 = minf(end, rf64(node + RANGE_END))
    if (to > from) missing -= to - from
    node = r32(node + RANGE_NEXT)
  }
  return missing
}

/** The first number at or above `value` that the set does not hold. */
export function rangesNextMissing(set: ptr, value: f64): f64 {
  const node: ptr = rangeAtOrBefore(set, value)
  return node !== 0 && rf64(node + RANGE_END) > value ? rf64(node + RANGE_END) : value
}

/** Where the first interval above `value` starts, `limit` at most. */
export function rangesNextHeld(set: ptr, value: f64, limit: f64): f64 {
  const node: ptr = rangeAtOrBefore(set, value)
  const next: ptr = node === 0 ? r32(set + RANGES_HEAD) : r32(node + RANGE_NEXT)
  return next === 0 ? limit : minf(limit, rf64(next + RANGE_START))
}
