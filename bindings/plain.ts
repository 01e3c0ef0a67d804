/**
 * Runs the shared source of the core (`assembly/`) as plain TypeScript: provides the instructions it
 * is written in as globals over an ArrayBuffer. For tests, debugging and fair benchmarks; the
 * package does not carry it.
 *
 * It is the strictest build: an access outside the memory throws, and so does one below the core's
 * own layout, where only a null pointer leads. Compiled builds would go on.
 */
import type { CoreExports } from './core.ts'

/** The fixed layout begins with the CRC32C tables; below lies what only compiled builds use. */
const LOWEST = 0x20000

let view = new DataView(new ArrayBuffer(0))
let bytes = new Uint8Array(0)
let hasAssertions = false
let accesses = 0
let guardedFrom = 0
let guardedTo = 0

const instructions = {
  i32: Object.assign(truncate, {
    load: (p: number) => view.getInt32(checked(p, 4), true),
    load8_u: (p: number) => view.getUint8(checked(p, 1)),
    load16_u: (p: number) => view.getUint16(checked(p, 2), true),
    store: (p: number, value: number) => view.setInt32(checked(p, 4), value, true),
    store8: (p: number, value: number) => view.setUint8(checked(p, 1), value),
    store16: (p: number, value: number) => view.setUint16(checked(p, 2), value, true),
    mul: Math.imul,
    div_s: (a: number, b: number) => truncate(Math.trunc(a / b)),
  }),
  f64: Object.assign((value: number) => value, {
    load: (p: number) => view.getFloat64(checked(p, 8), true),
    store: (p: number, value: number) => view.setFloat64(checked(p, 8), value, true),
  }),
  memory: {
    fill: (p: number, value: number, size: number) => bytes.fill(value, checked(p, size), p + size),
    copy: (to: number, from: number, size: number) =>
      bytes.copyWithin(checked(to, size), checked(from, size), from + size),
  },
  ASC_FEATURE_SIMD: false,
}

/** As `i32.trunc_sat_f64_s`, which the compiler uses: what does not fit becomes the nearest. */
function truncate(value: number): number {
  if (value >= 2147483647) return 2147483647
  return value <= -2147483648 ? -2147483648 : value | 0
}

function checked(p: number, size: number): number {
  accesses += 1
  const isGuarded = p < guardedTo && p + size > guardedFrom
  if (p >= LOWEST && size >= 0 && p + size <= bytes.length && !isGuarded) return p
  throw new RangeError(`memory access out of bounds: ${size} bytes at ${p}`)
}

function installInstructions(): void {
  Object.assign(globalThis, instructions)
  Object.defineProperty(globalThis, 'ASC_NO_ASSERT', {
    configurable: true,
    get: () => !hasAssertions,
  })
  Object.assign(globalThis, {
    assert: (condition: unknown, message = 'assertion failed') => {
      if (hasAssertions && !condition) throw new Error(`core: ${message}`)
      return condition
    },
  })
}

/**
 * Makes `memory` what the modules of `assembly/` work on, when they are imported one by one: they
 * are to be imported after this call. All of them share the one memory that was used last.
 */
export function usePlainMemory(memory: ArrayBuffer, options: PlainOptions = {}): void {
  if (bytes.buffer !== memory) {
    view = new DataView(memory)
    bytes = new Uint8Array(memory)
  }
  hasAssertions = options.hasAssertions ?? false
  if (!('ASC_FEATURE_SIMD' in globalThis)) installInstructions()
}

/**
 * How often memory was accessed so far: a measure of work that does not depend on the machine, for
 * tests of what little input may cost.
 */
export function plainAccesses(): number {
  return accesses
}

/**
 * Makes the core throw when it touches [from, to): what lies behind a datagram, for instance, is none
 * of its business. Ends with the next call.
 */
export function guardPlainMemory(from: number, to: number): void {
  guardedFrom = from
  guardedTo = to
}

export interface PlainOptions {
  /** Check what release builds take for granted, as debug builds do. Default: no. */
  readonly hasAssertions?: boolean
}

/** An instance of the core over `memory`, with the exports that the compiled one has. */
export async function plainCore(
  memory: ArrayBuffer,
  options: PlainOptions = {},
): Promise<CoreExports> {
  usePlainMemory(memory, options)
  const core: Record<string, unknown> = await import('../assembly/index.ts')
  const calls = Object.entries(core).filter(([, value]) => typeof value === 'function')
  const use = (call: (...values: number[]) => unknown) => {
    return (...values: number[]) => {
      usePlainMemory(memory, options)
      const result = call(...values)
      return typeof result === 'boolean' ? Number(result) : result
    }
  }
  return Object.fromEntries(
    calls.map(([name, call]) => [name, use(call as (...values: number[]) => unknown)]),
  ) as unknown as CoreExports
}
