/**
 * The managed heap of the control plane: strings and arrays on their way between host and core.
 *
 * It replaces the compiler's own stub runtime (the build hands it over in place of `~lib/rt/stub`),
 * which grows the memory when it is full. Growing would detach every view the host holds, and
 * before that the heap would run over the core's fixed layout. This one ends at `HEAP_END` and
 * traps there; the hot path never allocates, and the host resets the heap after each control call.
 *
 * Decorators on functions are AssemblyScript, not TypeScript: tools for the latter leave this out.
 */

/** The fixed layout begins here: the CRC32C tables (`crc32c.ts`). */
const HEAP_END: usize = 0x20000

const ALIGN_MASK: usize = 15
/** Size word in front of every block; the compiler's library expects it. */
const BLOCK_OVERHEAD: usize = 4
/** Two words for a collector, class id, size: the header the compiler gives managed objects. */
const OBJECT_OVERHEAD: usize = 16

@lazy const HEAP_START: usize =
  ((__heap_base + BLOCK_OVERHEAD + ALIGN_MASK) & ~ALIGN_MASK) - BLOCK_OVERHEAD
@lazy let offset: usize = HEAP_START

@inline
function payloadSize(size: usize): usize {
  return ((size + BLOCK_OVERHEAD + ALIGN_MASK) & ~ALIGN_MASK) - BLOCK_OVERHEAD
}

/** Moves the end of the heap, or traps: a control call was given more than fits. */
function claim(end: usize): void {
  if (end > HEAP_END) throw new Error('control heap exhausted')
  offset = end
}

@unsafe @global
export function __alloc(size: usize): usize {
  // Compared before any sum with it: a size near 2^32 must not wrap past the check.
  if (size > HEAP_END) throw new Error('control heap exhausted')
  const pointer = offset + BLOCK_OVERHEAD
  const payload = payloadSize(size)
  claim(pointer + payload)
  store<usize>(pointer - BLOCK_OVERHEAD, payload)
  return pointer
}

@unsafe @global
export function __realloc(pointer: usize, size: usize): usize {
  const oldPayload = load<usize>(pointer - BLOCK_OVERHEAD)
  if (size <= oldPayload) return pointer
  if (pointer + oldPayload === offset && size <= HEAP_END) {
    const payload = payloadSize(size)
    claim(pointer + payload)
    store<usize>(pointer - BLOCK_OVERHEAD, payload)
    return pointer
  }
  const moved = __alloc(max(size, oldPayload << 1))
  memory.copy(moved, pointer, oldPayload)
  return moved
}

@unsafe @global
export function __free(pointer: usize): void {
  const payload = load<usize>(pointer - BLOCK_OVERHEAD)
  if (pointer + payload === offset) offset = pointer - BLOCK_OVERHEAD
}

/** Empties the heap. Every managed object is gone; the host has copied what it wanted. */
@unsafe @global
export function __reset(): void {
  offset = HEAP_START
}

@unsafe @global
export function __new(size: usize, classId: u32): usize {
  if (size > HEAP_END) throw new Error('control heap exhausted')
  const header = __alloc(OBJECT_OVERHEAD + size)
  store<u64>(header, 0)
  store<u32>(header, classId, 8)
  store<u32>(header, <u32>size, 12)
  return header + OBJECT_OVERHEAD
}

@unsafe @global
export function __renew(pointer: usize, size: usize): usize {
  if (size > HEAP_END) throw new Error('control heap exhausted')
  const header = __realloc(pointer - OBJECT_OVERHEAD, OBJECT_OVERHEAD + size)
  store<u32>(header, <u32>size, 12)
  return header + OBJECT_OVERHEAD
}

// Nothing is collected one by one, so references need no bookkeeping.

@unsafe @global
export function __link(parent: usize, child: usize, expectMultiple: bool): void {}

@unsafe @global
export function __pin(pointer: usize): usize {
  return pointer
}

@unsafe @global
export function __unpin(pointer: usize): void {}

@unsafe @global
function __visit(pointer: usize, cookie: u32): void {}

@unsafe @global
export function __collect(): void {}
