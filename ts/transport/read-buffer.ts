/**
 * Buffers for what programs read. The runtime frees them in batches of 32 MB, which the C library of
 * Linux (glibc) gives to the system at once, so that each of the next ones costs page faults anew: up
 * to half of a reader's time. It keeps twice the size of the largest block it was ever given back, so
 * a process that reads in bulk gives back one. A program that has set these limits itself keeps them.
 */
const BULK_BYTES = 64 * 1024 * 1024
/** Never touched, so it costs no memory. */
const BLOCK_BYTES = 24 * 1024 * 1024

let unreadBulkBytes = BULK_BYTES

/** As `Buffer.allocUnsafe`. */
export function makeReadBuffer(size: number): Buffer {
  if (unreadBulkBytes > 0) {
    unreadBulkBytes -= size
    if (unreadBulkBytes <= 0) Buffer.allocUnsafeSlow(BLOCK_BYTES)
  }
  return Buffer.allocUnsafe(size)
}
