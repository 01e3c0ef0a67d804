/**
 * Memory: 4 KiB pages from a buddy allocator, smaller blocks cut from pages.
 *
 * Everything that outlives a call comes from here and is charged to an endpoint, so that one
 * endpoint cannot starve another. Nothing is ever taken from the host after start.
 */
import { INSTANCE, PAGE_TABLE } from './layout'
import { add32, div, fill, maxi, mini, poison, type ptr, r32, w32 } from './prelude'

export const PAGE_SHIFT: i32 = 12
export const PAGE_SIZE: i32 = 4096

// ── Instance state ───────────────────────────────────────────────────────────────────────────────

const PAGES_FIRST: i32 = INSTANCE + 0
const PAGES_COUNT: i32 = INSTANCE + 4
const PAGES_FREE: i32 = INSTANCE + 8
/** Recently freed pages: given out first because they are still in the cache. */
const HOT_COUNT: i32 = INSTANCE + 12
/** Free lists by order, page index + 1. */
const FREE_LISTS: i32 = INSTANCE + 64
/** Pages with free blocks, by size class, page index + 1. */
const PARTIAL_LISTS: i32 = INSTANCE + 192
const HOT_PAGES: i32 = INSTANCE + 256
const HOT_MAX: i32 = 64
const ORDER_MAX: i32 = 18

// Every owner of memory, an endpoint or one of its connections, starts with these fields.

/** The owner above, charged as well; 0: none. */
export const OWNER_PARENT: i32 = 4
/** Bytes charged. */
export const OWNER_USED: i32 = 8
export const OWNER_QUOTA: i32 = 12

// ── Page table entry ─────────────────────────────────────────────────────────────────────────────

const ENTRY_SIZE: i32 = 16
const ENTRY_NEXT: i32 = 0
const ENTRY_PREVIOUS: i32 = 4
/** FREE | order, or BLOCKS | class << 8 | count of free blocks, or 0 in use. */
const ENTRY_STATE: i32 = 8
const ENTRY_BLOCK: i32 = 12
const STATE_FREE: i32 = 0x10000
const STATE_BLOCKS: i32 = 0x20000

// Block classes: 32 << class, 32 … 2,048 bytes.

function entryOf(index: i32): ptr {
  return PAGE_TABLE + index * ENTRY_SIZE
}

function push(list: ptr, index: i32): void {
  const entry: ptr = entryOf(index)
  const next: i32 = r32(list)
  w32(entry + ENTRY_NEXT, next)
  w32(entry + ENTRY_PREVIOUS, 0)
  if (next !== 0) w32(entryOf(next - 1) + ENTRY_PREVIOUS, index + 1)
  w32(list, index + 1)
}

function unlink(list: ptr, index: i32): void {
  const entry: ptr = entryOf(index)
  const next: i32 = r32(entry + ENTRY_NEXT)
  const previous: i32 = r32(entry + ENTRY_PREVIOUS)
  if (previous !== 0) w32(entryOf(previous - 1) + ENTRY_NEXT, next)
  else w32(list, next)
  if (next !== 0) w32(entryOf(next - 1) + ENTRY_PREVIOUS, previous)
}

/** Lays out all memory above the staging areas. */
export function pagesInit(memoryBytes: i32): void {
  fill(INSTANCE, HOT_PAGES - INSTANCE + HOT_MAX * 4)
  // Each page costs its own size and one entry.
  let count: i32 = div(memoryBytes - PAGE_TABLE - PAGE_SIZE, PAGE_SIZE + ENTRY_SIZE)
  const first: ptr = (PAGE_TABLE + count * ENTRY_SIZE + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)
  // The last bytes stay untouched: the control plane's allocator may keep a mark there.
  while (first + count * PAGE_SIZE > memoryBytes - 64) count -= 1
  fill(PAGE_TABLE, count * ENTRY_SIZE)
  w32(PAGES_FIRST, first)
  w32(PAGES_COUNT, count)
  w32(PAGES_FREE, count)
  let index: i32 = 0
  while (index < count) {
    let order: i32 = ORDER_MAX
    while ((index & ((1 << order) - 1)) !== 0 || index + (1 << order) > count) order -= 1
    w32(entryOf(index) + ENTRY_STATE, STATE_FREE | order)
    push(FREE_LISTS + order * 4, index)
    index += 1 << order
  }
}

export function pagesCount(): i32 {
  return r32(PAGES_COUNT)
}
export function pagesFree(): i32 {
  return r32(PAGES_FREE)
}

function takeRun(order: i32): ptr {
  let from: i32 = order
  while (from <= ORDER_MAX && r32(FREE_LISTS + from * 4) === 0) from += 1
  if (from > ORDER_MAX) return 0
  const index: i32 = r32(FREE_LISTS + from * 4) - 1
  unlink(FREE_LISTS + from * 4, index)
  while (from > order) {
    from -= 1
    const half: i32 = index + (1 << from)
    w32(entryOf(half) + ENTRY_STATE, STATE_FREE | from)
    push(FREE_LISTS + from * 4, half)
  }
  w32(entryOf(index) + ENTRY_STATE, 0)
  add32(PAGES_FREE, -(1 << order))
  return r32(PAGES_FIRST) + (index << PAGE_SHIFT)
}

function giveRun(p: ptr, order: i32): void {
  const count: i32 = r32(PAGES_COUNT)
  let index: i32 = (p - r32(PAGES_FIRST)) >> PAGE_SHIFT
  let size: i32 = order
  add32(PAGES_FREE, 1 << order)
  while (size < ORDER_MAX) {
    const buddy: i32 = index ^ (1 << size)
    if (buddy + (1 << size) > count) break
    if (r32(entryOf(buddy) + ENTRY_STATE) !== (STATE_FREE | size)) break
    unlink(FREE_LISTS + size * 4, buddy)
    w32(entryOf(buddy) + ENTRY_STATE, 0)
    index = mini(index, buddy)
    size += 1
  }
  w32(entryOf(index) + ENTRY_STATE, STATE_FREE | size)
  push(FREE_LISTS + size * 4, index)
}

/** Hands the hot pages back, so that larger runs can form. */
function cool(): void {
  while (r32(HOT_COUNT) > 0) {
    const count: i32 = add32(HOT_COUNT, -1)
    giveRun(r32(HOT_PAGES + count * 4), 0)
    add32(PAGES_FREE, -1)
  }
}

function takePage(): ptr {
  const hot: i32 = r32(HOT_COUNT)
  if (hot > 0) {
    w32(HOT_COUNT, hot - 1)
    add32(PAGES_FREE, -1)
    return r32(HOT_PAGES + (hot - 1) * 4)
  }
  return takeRun(0)
}

function givePage(p: ptr): void {
  const hot: i32 = r32(HOT_COUNT)
  if (hot === HOT_MAX) {
    giveRun(p, 0)
    return
  }
  w32(HOT_PAGES + hot * 4, p)
  w32(HOT_COUNT, hot + 1)
  add32(PAGES_FREE, 1)
}

/** Order of the smallest run of pages that holds `size` bytes. */
function orderOf(size: i32): i32 {
  let order: i32 = 0
  while (PAGE_SIZE << order < size) order += 1
  return order
}

function classOf(size: i32): i32 {
  let kind: i32 = 0
  while (32 << kind < size) kind += 1
  return kind
}

function takeBlock(kind: i32): ptr {
  const list: ptr = PARTIAL_LISTS + kind * 4
  if (r32(list) === 0) {
    const page: ptr = takePage()
    if (page === 0) return 0
    const size: i32 = 32 << kind
    const count: i32 = PAGE_SIZE >> (5 + kind)
    for (let i: i32 = 0; i < count; i++) {
      w32(page + i * size, i + 1 < count ? page + (i + 1) * size : 0)
    }
    const index: i32 = (page - r32(PAGES_FIRST)) >> PAGE_SHIFT
    w32(entryOf(index) + ENTRY_STATE, STATE_BLOCKS | (kind << 8) | count)
    w32(entryOf(index) + ENTRY_BLOCK, page)
    push(list, index)
  }
  const index: i32 = r32(list) - 1
  const entry: ptr = entryOf(index)
  const block: ptr = r32(entry + ENTRY_BLOCK)
  w32(entry + ENTRY_BLOCK, r32(block))
  if ((add32(entry + ENTRY_STATE, -1) & 0xff) === 0) unlink(list, index)
  return block
}

function giveBlock(block: ptr, kind: i32): void {
  const list: ptr = PARTIAL_LISTS + kind * 4
  const index: i32 = (block - r32(PAGES_FIRST)) >> PAGE_SHIFT
  const entry: ptr = entryOf(index)
  w32(block, r32(entry + ENTRY_BLOCK))
  w32(entry + ENTRY_BLOCK, block)
  const free: i32 = add32(entry + ENTRY_STATE, 1) & 0xff
  if (free === 1) push(list, index)
  // An empty page goes back unless it is the last one of its class.
  if (
    free === PAGE_SIZE >> (5 + kind) &&
    r32(entry + ENTRY_NEXT) + r32(entry + ENTRY_PREVIOUS) > 0
  ) {
    unlink(list, index)
    w32(entry + ENTRY_STATE, 0)
    givePage(r32(PAGES_FIRST) + (index << PAGE_SHIFT))
  }
}

/** What a block of `size` bytes is charged with. */
export function blockSize(size: i32): i32 {
  return size <= 2048 ? 32 << classOf(size) : PAGE_SIZE << orderOf(size)
}

/** Takes `size` bytes, not zeroed, charged to `owner`; 0 when the quota or the memory is used up. */
export function take(owner: ptr, size: i32): ptr {
  const charge: i32 = blockSize(size)
  const parent: ptr = r32(owner + OWNER_PARENT)
  if (r32(owner + OWNER_USED) + charge > r32(owner + OWNER_QUOTA)) return 0
  if (parent !== 0 && r32(parent + OWNER_USED) + charge > r32(parent + OWNER_QUOTA)) return 0
  let p: ptr = 0
  if (size <= 2048) p = takeBlock(classOf(size))
  else if (charge === PAGE_SIZE) p = takePage()
  else {
    p = takeRun(orderOf(size))
    if (p === 0) {
      cool()
      p = takeRun(orderOf(size))
    }
  }
  if (p !== 0) {
    add32(owner + OWNER_USED, charge)
    if (parent !== 0) add32(parent + OWNER_USED, charge)
    if (!ASC_NO_ASSERT) poison(p, charge)
  }
  return p
}

/** Whether an owner may take `size` bytes and leave 1/2^shift of its quota, at least `least` bytes. */
function leaves(owner: ptr, size: i32, shift: i32, least: i32): bool {
  const quota: i32 = r32(owner + OWNER_QUOTA)
  return r32(owner + OWNER_USED) + size <= quota - maxi(quota >> shift, least)
}

/**
 * Whether `size` bytes may be taken for bytes on their way out: a quarter stays for what comes in.
 * If both sides could fill all of their memory with what they send, neither could receive.
 */
export function maySpendOnSending(owner: ptr, size: i32): bool {
  return leaves(owner, size, 2, 4 * PAGE_SIZE) && leaves(r32(owner + OWNER_PARENT), size, 2, 0)
}

/**
 * Whether bytes that arrive out of order may be kept: an eighth stays for those that close the gap,
 * of the owner's quota and of what all connections share.
 */
export function maySpendOnGaps(owner: ptr): bool {
  return leaves(owner, 0, 3, 2 * PAGE_SIZE) && leaves(r32(owner + OWNER_PARENT), 0, 3, 0)
}

/** Whether `size` bytes more leave half of the quotas: then comfort may cost memory. */
export function isPlenty(owner: ptr, size: i32): bool {
  const parent: ptr = r32(owner + OWNER_PARENT)
  return leaves(owner, size, 1, 0) && (parent === 0 || leaves(parent, size, 1, 0))
}

/** Whether `p` is the start of something of this size that was taken and not given back. */
function isTaken(p: ptr, size: i32): bool {
  if (!isRetained(p)) return false
  const offset: i32 = p - r32(PAGES_FIRST)
  const state: i32 = r32(entryOf(offset >> PAGE_SHIFT) + ENTRY_STATE)
  if (size > 2048) return state === 0 && (offset & (PAGE_SIZE - 1)) === 0
  const kind: i32 = classOf(size)
  if ((state & ~0xff) !== (STATE_BLOCKS | (kind << 8))) return false
  return (offset & ((32 << kind) - 1)) === 0 && (state & 0xff) < PAGE_SIZE >> (5 + kind)
}

/** Gives back what `take` gave for the same owner and size. */
export function give(owner: ptr, p: ptr, size: i32): void {
  const parent: ptr = r32(owner + OWNER_PARENT)
  assert(isTaken(p, size))
  assert(r32(owner + OWNER_USED) >= blockSize(size))
  if (!ASC_NO_ASSERT) poison(p, blockSize(size))
  add32(owner + OWNER_USED, -blockSize(size))
  if (parent !== 0) add32(parent + OWNER_USED, -blockSize(size))
  if (size <= 2048) giveBlock(p, classOf(size))
  else if (size <= PAGE_SIZE) givePage(p)
  else giveRun(p, orderOf(size))
}

/** Whether `p` is an address inside the pages: the check for handles that come from the host. */
export function isRetained(p: ptr): bool {
  const first: ptr = r32(PAGES_FIRST)
  return (p & 31) === 0 && p >= first && p < first + (r32(PAGES_COUNT) << PAGE_SHIFT)
}
