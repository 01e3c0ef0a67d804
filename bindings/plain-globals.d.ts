/**
 * What shared source (`assembly/`) sees of AssemblyScript when TypeScript checks it as TypeScript.
 * `bindings/plain.ts` provides the values; the compiler's own declarations apply in `assembly/`.
 */

// biome-ignore-all lint/suspicious/noRedeclare: as in AssemblyScript, a type and its operations share a name.

declare type i32 = number
declare type f64 = number
declare type bool = boolean

declare function i32(value: number): i32
declare namespace i32 {
  function load(pointer: i32, offset?: i32): i32
  function load8_u(pointer: i32, offset?: i32): i32
  function load16_u(pointer: i32, offset?: i32): i32
  function store(pointer: i32, value: i32, offset?: i32): void
  function store8(pointer: i32, value: i32, offset?: i32): void
  function store16(pointer: i32, value: i32, offset?: i32): void
  function mul(a: i32, b: i32): i32
  function div_s(a: i32, b: i32): i32
  function div_u(a: i32, b: i32): i32
  function rem_s(a: i32, b: i32): i32
  function rem_u(a: i32, b: i32): i32
  function lt_u(a: i32, b: i32): i32
  function le_u(a: i32, b: i32): i32
  function gt_u(a: i32, b: i32): i32
  function ge_u(a: i32, b: i32): i32
  function clz(value: i32): i32
  function ctz(value: i32): i32
  function popcnt(value: i32): i32
  function rotl(value: i32, by: i32): i32
}

declare function f64(value: number): f64
declare namespace f64 {
  function load(pointer: i32, offset?: i32): f64
  function store(pointer: i32, value: f64, offset?: i32): void
  function convert_i32_u(value: i32): f64
  function sqrt(value: f64): f64
  function floor(value: f64): f64
  function ceil(value: f64): f64
}

declare namespace memory {
  function fill(pointer: i32, value: i32, size: i32): void
  function copy(to: i32, from: i32, size: i32): void
}

/** False under plain TypeScript, where kernels for it can't run. */
declare const ASC_FEATURE_SIMD: boolean

// Named by kernels in `assembly/simd/`, which are imported but never called.
declare type v128 = { readonly lanes: never }
declare namespace v128 {
  function load(pointer: i32, offset?: i32): v128
  function load32_splat(pointer: i32, offset?: i32): v128
  function store(pointer: i32, value: v128, offset?: i32): void
  function and(a: v128, b: v128): v128
  function or(a: v128, b: v128): v128
  function xor(a: v128, b: v128): v128
}
declare function i8x16(...lanes: i32[]): v128
declare namespace i8x16 {
  function splat(value: i32): v128
  function swizzle(a: v128, s: v128): v128
}
declare namespace i16x8 {
  function shr_u(a: v128, by: i32): v128
}
declare function i32x4(a: i32, b: i32, c: i32, d: i32): v128
declare namespace i32x4 {
  function splat(value: i32): v128
  function replace_lane(a: v128, index: i32, value: i32): v128
  function add(a: v128, b: v128): v128
  function shl(a: v128, by: i32): v128
  function shr_u(a: v128, by: i32): v128
  function shuffle(a: v128, b: v128, ...lanes: i32[]): v128
}
declare namespace i64x2 {
  function shuffle(a: v128, b: v128, ...lanes: i32[]): v128
}
declare type u64 = number
declare namespace i64 {
  function load32_u(pointer: i32, offset?: i32): u64
  function store32(pointer: i32, value: u64, offset?: i32): void
}

// Named by the control plane (`assembly/control.ts`), which runs compiled only.
declare const ASC_NO_ASSERT: boolean
declare namespace heap {
  function reset(): void
}

/** Checks in debug builds and under plain TypeScript on request; nothing in release builds. */
declare function assert(condition: unknown, message?: string): unknown
