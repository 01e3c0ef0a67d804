/**
 * Bytes of a stream by offset, kept in pages: what was written and not yet acknowledged, what
 * arrived and was not yet read. The directory is a ring of page pointers that grows by doubling.
 *
 * Where there is plenty of memory pages are taken in runs, so that what the host copies in or out in
 * one piece is longer than a page. They are given back one by one: neighbours join again.
 *
 * A buffer that holds only a few bytes has no directory but one small block, which lies in its first
 * page's place: small messages of many connections would else be a page each.
 */
import { give, isPlenty, PAGE_SIZE, take } from './pages'
import { copy, fill, mini, type ptr, r32, rf64, w32, wf64 } from './prelude'

/** Page number (offset / 4,096) of the first entry. */
const FIRST_PAGE: i32 = 0
const DIRECTORY: i32 = 8
/** Entries of the directory: 0 or a power of two; IS_SMALL: DIRECTORY is the small block. */
const CAPACITY: i32 = 12
/** Ring index of the first entry; of a small block where in the first page it begins. */
const START: i32 = 16
/** Pages held; a small block counts as one. */
export const BUFFER_PAGES: i32 = 20
/** Bytes of a buffer inside its owner. */
export const BUFFER_SIZE: i32 = 24

const CAPACITY_MIN: i32 = 8
const IS_SMALL: i32 = -1
const SMALL_SIZE: i32 = 512
/** Pages of one run: what the host moves at a time. */
const RUN_MAX: i32 = 16

function pageOf(offset: f64): f64 {
  return Math.floor(offset / 4096.0)
}

/** Offset inside its page. */
export function withinPage(offset: f64): i32 {
  return i32(offset - pageOf(offset) * 4096.0)
}

function entryOf(buffer: ptr, index: i32): ptr {
  return (
    r32(buffer + DIRECTORY) + ((r32(buffer + START) + index) & (r32(buffer + CAPACITY) - 1)) * 4
  )
}

/** Address of the byte at `offset`, or 0 when its page is not held. */
export function bufferLocate(buffer: ptr, offset: f64): ptr {
  const index: f64 = pageOf(offset) - rf64(buffer + FIRST_PAGE)
  if (index < 0.0 || index >= f64(r32(buffer + CAPACITY))) {
    return index === 0.0 && isSmall(buffer) ? locateSmall(buffer, offset) : 0
  }
  const page: ptr = r32(entryOf(buffer, i32(index)))
  return page === 0 ? 0 : page + withinPage(offset)
}

/** Whether it holds a small block instead of pages. */
export function isSmall(buffer: ptr): bool {
  return r32(buffer + CAPACITY) === IS_SMALL
}

function locateSmall(buffer: ptr, offset: f64): ptr {
  const within: i32 = withinPage(offset) - r32(buffer + START)
  return within >= 0 && within < SMALL_SIZE ? r32(buffer + DIRECTORY) + within : 0
}

/** Takes a small block for `want` bytes within the first page; false when they need pages. */
function takeSmall(owner: ptr, buffer: ptr, offset: f64, want: i32): bool {
  const within: i32 = withinPage(offset)
  if (want > SMALL_SIZE || within + want > PAGE_SIZE) return false
  const block: ptr = take(owner, SMALL_SIZE)
  if (block === 0) return false
  holdSmall(buffer, block, mini(within, PAGE_SIZE - SMALL_SIZE))
  return true
}

function holdSmall(buffer: ptr, block: ptr, start: i32): void {
  w32(buffer + DIRECTORY, block)
  w32(buffer + CAPACITY, IS_SMALL)
  w32(buffer + START, start)
  w32(buffer + BUFFER_PAGES, 1)
}

/** Moves what a small block holds to a page; false when there is no memory: nothing has changed. */
function leaveSmall(owner: ptr, buffer: ptr): bool {
  const block: ptr = r32(buffer + DIRECTORY)
  const start: i32 = r32(buffer + START)
  forgetAll(buffer)
  if (growDirectory(owner, buffer, 1) && takePages(owner, buffer, 0, 1)) {
    copy(r32(entryOf(buffer, 0)) + start, block, SMALL_SIZE)
    give(owner, block, SMALL_SIZE)
    return true
  }
  bufferEmpty(owner, buffer)
  holdSmall(buffer, block, start)
  return false
}

function forgetAll(buffer: ptr): void {
  w32(buffer + DIRECTORY, 0)
  w32(buffer + CAPACITY, 0)
  w32(buffer + START, 0)
  w32(buffer + BUFFER_PAGES, 0)
}

function growDirectory(owner: ptr, buffer: ptr, entries: i32): bool {
  const capacity: i32 = r32(buffer + CAPACITY)
  let larger: i32 = capacity === 0 ? CAPACITY_MIN : capacity
  while (larger < entries) larger <<= 1
  if (larger === capacity) return true
  const directory: ptr = take(owner, larger * 4)
  if (directory === 0) return false
  fill(directory, larger * 4)
  if (capacity !== 0) {
    const start: i32 = r32(buffer + START)
    const old: ptr = r32(buffer + DIRECTORY)
    copy(directory, old + start * 4, (capacity - start) * 4)
    copy(directory + (capacity - start) * 4, old, start * 4)
    give(owner, old, capacity * 4)
  }
  w32(buffer + DIRECTORY, directory)
  w32(buffer + CAPACITY, larger)
  w32(buffer + START, 0)
  return true
}

/**
 * Address of the byte at `offset`, taking memory if needed; 0 when there is none. `want`: how many
 * bytes from there on will be stored at least; not all of them need have room in one piece.
 */
export function bufferEnsure(owner: ptr, buffer: ptr, offset: f64, want: i32): ptr {
  const index: f64 = pageOf(offset) - rf64(buffer + FIRST_PAGE)
  if (index >= 262144.0) return 0
  if (isSmall(buffer)) {
    const held: ptr = bufferLocate(buffer, offset)
    if (held !== 0 && bufferExtent(buffer, offset, want) === want) return held
    if (!leaveSmall(owner, buffer)) return 0
  } else if (r32(buffer + CAPACITY) === 0 && index === 0.0) {
    if (takeSmall(owner, buffer, offset, want)) return locateSmall(buffer, offset)
  }
  const i: i32 = i32(index)
  if (i >= r32(buffer + CAPACITY) && !growDirectory(owner, buffer, i + 1)) return 0
  if (
    r32(entryOf(buffer, i)) === 0 &&
    !takeRun(owner, buffer, i) &&
    !takePages(owner, buffer, i, 1)
  )
    return 0
  return r32(entryOf(buffer, i)) + withinPage(offset)
}

/** Takes up to half as many pages as are held already: a third of a buffer may be for nothing. */
function takeRun(owner: ptr, buffer: ptr, index: i32): bool {
  let pages: i32 = 1
  while (pages < RUN_MAX && pages * 4 <= r32(buffer + BUFFER_PAGES)) pages <<= 1
  if (pages === 1 || !isPlenty(owner, pages * PAGE_SIZE)) return false
  if (index + pages > r32(buffer + CAPACITY) && !growDirectory(owner, buffer, index + pages)) {
    return false
  }
  for (let i: i32 = 1; i < pages; i++) {
    if (r32(entryOf(buffer, index + i)) !== 0) return false
  }
  return takePages(owner, buffer, index, pages)
}

function takePages(owner: ptr, buffer: ptr, index: i32, pages: i32): bool {
  const run: ptr = take(owner, pages * PAGE_SIZE)
  if (run === 0) return false
  for (let i: i32 = 0; i < pages; i++) w32(entryOf(buffer, index + i), run + i * PAGE_SIZE)
  w32(buffer + BUFFER_PAGES, r32(buffer + BUFFER_PAGES) + pages)
  return true
}

/** How many of `most` bytes from `offset` on lie in one piece; its page is held. */
export function bufferExtent(buffer: ptr, offset: f64, most: i32): i32 {
  if (isSmall(buffer)) return mini(most, r32(buffer + START) + SMALL_SIZE - withinPage(offset))
  const first: i32 = i32(pageOf(offset) - rf64(buffer + FIRST_PAGE))
  let size: i32 = pageRoom(offset)
  let page: ptr = r32(entryOf(buffer, first))
  for (let i: i32 = first + 1; size < most && i < r32(buffer + CAPACITY); i++) {
    if (r32(entryOf(buffer, i)) !== page + PAGE_SIZE) break
    page += PAGE_SIZE
    size += PAGE_SIZE
  }
  return size < most ? size : most
}

/** Gives back all pages that lie wholly below `offset`. */
export function bufferRelease(owner: ptr, buffer: ptr, offset: f64): void {
  const target: f64 = pageOf(offset)
  let first: f64 = rf64(buffer + FIRST_PAGE)
  if (target > first && isSmall(buffer)) bufferEmpty(owner, buffer)
  if (r32(buffer + BUFFER_PAGES) !== 0 && !isSmall(buffer)) {
    while (first < target && r32(buffer + BUFFER_PAGES) !== 0) {
      const entry: ptr = entryOf(buffer, 0)
      const page: ptr = r32(entry)
      if (page !== 0) {
        give(owner, page, PAGE_SIZE)
        w32(entry, 0)
        w32(buffer + BUFFER_PAGES, r32(buffer + BUFFER_PAGES) - 1)
      }
      w32(buffer + START, (r32(buffer + START) + 1) & (r32(buffer + CAPACITY) - 1))
      first += 1.0
    }
  }
  if (target > first) first = target
  wf64(buffer + FIRST_PAGE, first)
}

/** Gives back all memory, but keeps the place: bytes may be stored again from there on. */
export function bufferEmpty(owner: ptr, buffer: ptr): void {
  const capacity: i32 = r32(buffer + CAPACITY)
  if (capacity === 0) return
  if (isSmall(buffer)) {
    give(owner, r32(buffer + DIRECTORY), SMALL_SIZE)
    forgetAll(buffer)
    return
  }
  for (let i: i32 = 0; i < capacity && r32(buffer + BUFFER_PAGES) !== 0; i++) {
    const entry: ptr = r32(buffer + DIRECTORY) + i * 4
    const page: ptr = r32(entry)
    if (page !== 0) {
      give(owner, page, PAGE_SIZE)
      w32(entry, 0)
      w32(buffer + BUFFER_PAGES, r32(buffer + BUFFER_PAGES) - 1)
    }
  }
  give(owner, r32(buffer + DIRECTORY), capacity * 4)
  forgetAll(buffer)
}

/** Bytes left in the page from `offset` on. */
export function pageRoom(offset: f64): i32 {
  return PAGE_SIZE - withinPage(offset)
}

/** Copies `size` held bytes at `offset` to `to`. */
export function bufferCopyOut(buffer: ptr, offset: f64, to: ptr, size: i32): void {
  let from: f64 = offset
  let target: ptr = to
  let left: i32 = size
  while (left > 0) {
    const part: i32 = bufferExtent(buffer, from, left)
    copy(target, bufferLocate(buffer, from), part)
    from += f64(part)
    target += part
    left -= part
  }
}

/** Copies `size` bytes to `offset`; false when pages run out: then nothing may be taken as stored. */
export function bufferCopyIn(owner: ptr, buffer: ptr, offset: f64, from: ptr, size: i32): bool {
  let to: f64 = offset
  let source: ptr = from
  let left: i32 = size
  while (left > 0) {
    const room: i32 = pageRoom(to)
    const part: i32 = left < room ? left : room
    const target: ptr = bufferEnsure(owner, buffer, to, part)
    if (target === 0) return false
    copy(target, source, part)
    to += f64(part)
    source += part
    left -= part
  }
  return true
}
