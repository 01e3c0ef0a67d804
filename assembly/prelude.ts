/**
 * The few operations through which all shared source touches memory and 32-bit arithmetic.
 *
 * The bodies are WebAssembly instructions. Under plain TypeScript `bindings/plain.ts` provides the
 * same instructions as globals, so that one source runs in both and leaves the same memory image.
 */

/** Pointer to a byte of the instance's memory. */
export type ptr = i32

export function r8(p: ptr): i32 {
  return i32.load8_u(p)
}
export function r16(p: ptr): i32 {
  return i32.load16_u(p)
}
export function r32(p: ptr): i32 {
  return i32.load(p)
}
export function rf64(p: ptr): f64 {
  return f64.load(p)
}
export function w8(p: ptr, value: i32): void {
  i32.store8(p, value)
}
export function w16(p: ptr, value: i32): void {
  i32.store16(p, value)
}
export function w32(p: ptr, value: i32): void {
  i32.store(p, value)
}
export function wf64(p: ptr, value: f64): void {
  f64.store(p, value)
}

/** Adds to a 32-bit field and gives the sum. */
export function add32(p: ptr, value: i32): i32 {
  const sum: i32 = (r32(p) + value) | 0
  w32(p, sum)
  return sum
}
/** Adds to a float field. */
export function addf64(p: ptr, value: f64): void {
  wf64(p, rf64(p) + value)
}

/** Zeroes `size` bytes. */
export function fill(p: ptr, size: i32): void {
  memory.fill(p, 0, size)
}
export function copy(to: ptr, from: ptr, size: i32): void {
  memory.copy(to, from, size)
}
/** Debug builds: fills memory with what no field ever holds, so that a use after the end shows. */
export function poison(p: ptr, size: i32): void {
  memory.fill(p, 0xdd, size)
}

/** Multiplies modulo 2^32. */
export function mul(a: i32, b: i32): i32 {
  return i32.mul(a, b)
}
/** Divides, rounding towards zero. */
export function div(a: i32, b: i32): i32 {
  return i32.div_s(a, b)
}

const TWO_32: f64 = 4294967296.0

/** Reads a 32-bit pattern as an unsigned number. */
export function unsigned(value: i32): f64 {
  return value < 0 ? f64(value) + TWO_32 : f64(value)
}
/** The low 32 bits of a non-negative integer below 2^53. */
export function low32(value: f64): i32 {
  const low: f64 = value - Math.floor(value / TWO_32) * TWO_32
  return low >= 2147483648.0 ? i32(low - TWO_32) : i32(low)
}
/** Bits 32 … 52 of a non-negative integer below 2^53. */
export function high32(value: f64): i32 {
  return i32(Math.floor(value / TWO_32))
}

export function minf(a: f64, b: f64): f64 {
  return a < b ? a : b
}
export function maxf(a: f64, b: f64): f64 {
  return a > b ? a : b
}
export function mini(a: i32, b: i32): i32 {
  return a < b ? a : b
}
export function maxi(a: i32, b: i32): i32 {
  return a > b ? a : b
}
