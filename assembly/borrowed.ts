/**
 * Bytes of streams that still lie where they arrived. A large piece that continues its stream is not
 * copied at once: a host that reads within the turn takes it from the receive arena, one copy less.
 * Its pages are taken all the same, so that what nobody has read can be kept in any case.
 */
import { bufferEnsure, bufferExtent, bufferLocate, pageRoom } from './buffer'
import { BORROWED, BORROWED_COUNT, INSTANCE } from './layout'
import { copy, maxf, minf, type ptr, r32, rf64, w32, wf64 } from './prelude'
import { ST_CONNECTION, ST_RECEIVE_BUFFER, ST_TAKEN } from './stream'

/** Shorter ones cost more to read one by one than to copy. */
export const BORROWED_MIN: i32 = 8192

/** Entries in use, or given up, since the last `settle`. */
const COUNT: i32 = INSTANCE + 3084

// A piece: its stream, 0 when that needs it no more, where it lies, its size and its place.
const STREAM: i32 = 0
const POINTER: i32 = 4
const SIZE: i32 = 8
const OFFSET: i32 = 16
const ENTRY_SIZE: i32 = 32

function endOf(entry: ptr): f64 {
  return rf64(entry + OFFSET) + f64(r32(entry + SIZE))
}

/** Notes [offset, offset + size), which lies at `p`. False: it has to be copied. */
export function borrow(st: ptr, offset: f64, p: ptr, size: i32): bool {
  const index: i32 = r32(COUNT)
  if (size < BORROWED_MIN || index === BORROWED_COUNT) return false
  const cn: ptr = r32(st + ST_CONNECTION)
  for (let at: f64 = offset; at < offset + f64(size); at += f64(pageRoom(at))) {
    if (bufferEnsure(cn, st + ST_RECEIVE_BUFFER, at, size) === 0) return false
  }
  const entry: ptr = BORROWED + index * ENTRY_SIZE
  w32(entry + STREAM, st)
  w32(entry + POINTER, p)
  w32(entry + SIZE, size)
  wf64(entry + OFFSET, offset)
  w32(COUNT, index + 1)
  return true
}

/** The first piece of a stream that ends above `offset`, or 0. */
export function borrowedAfter(st: ptr, offset: f64): ptr {
  for (let i: i32 = 0; i < r32(COUNT); i++) {
    const entry: ptr = BORROWED + i * ENTRY_SIZE
    // Pieces are noted in the order of their offsets.
    if (r32(entry + STREAM) === st && endOf(entry) > offset) return entry
  }
  return 0
}

export function borrowedOffset(entry: ptr): f64 {
  return rf64(entry + OFFSET)
}

/** Where the byte at `offset` lies, which is inside the piece. */
export function borrowedLocate(entry: ptr, offset: f64): ptr {
  return r32(entry + POINTER) + i32(offset - rf64(entry + OFFSET))
}

/** Bytes of the piece from `offset` on. */
export function borrowedExtent(entry: ptr, offset: f64): i32 {
  return i32(endOf(entry) - offset)
}

/** The stream needs nothing below `offset` any more. */
export function forgetBorrowed(st: ptr, offset: f64): void {
  for (let i: i32 = 0; i < r32(COUNT); i++) {
    const entry: ptr = BORROWED + i * ENTRY_SIZE
    if (r32(entry + STREAM) === st && endOf(entry) <= offset) w32(entry + STREAM, 0)
  }
}

/** Copies what nobody has taken: the arena may be written to again. */
export function settleBorrowed(): void {
  for (let i: i32 = 0; i < r32(COUNT); i++) {
    const entry: ptr = BORROWED + i * ENTRY_SIZE
    const st: ptr = r32(entry + STREAM)
    if (st === 0) continue
    const end: f64 = endOf(entry)
    let at: f64 = maxf(rf64(entry + OFFSET), rf64(st + ST_TAKEN))
    while (at < end) {
      const part: i32 = bufferExtent(st + ST_RECEIVE_BUFFER, at, i32(minf(end - at, 65536.0)))
      copy(bufferLocate(st + ST_RECEIVE_BUFFER, at), borrowedLocate(entry, at), part)
      at += f64(part)
    }
  }
  w32(COUNT, 0)
}
