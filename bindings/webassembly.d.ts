/**
 * The part of the WebAssembly API that `bindings/` uses. TypeScript has it in its browser library
 * only, which would also bring a `window` that Node does not have.
 */

declare namespace WebAssembly {
  type Exports = Record<string, unknown>

  class Module {
    constructor(bytes: Uint8Array)
    static exports(module: Module): { readonly name: string; readonly kind: string }[]
  }

  class Instance {
    constructor(module: Module, imports?: Record<string, Record<string, unknown>>)
    readonly exports: Exports
  }

  class Memory {
    constructor(size: { initial: number; maximum: number })
    readonly buffer: ArrayBuffer
  }

  /** A trap. */
  class RuntimeError extends Error {}
  class CompileError extends Error {}
  class LinkError extends Error {}

  function validate(bytes: Uint8Array): boolean
}
