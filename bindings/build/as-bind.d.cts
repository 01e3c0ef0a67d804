/** What `bindings/control.ts` uses of as-bind 0.8's run-time half, which comes without types. */

export interface Instance {
  readonly exports: Record<string, (...values: unknown[]) => unknown>
  readonly loadedModule: { readonly instance: WebAssembly.Instance }
  readonly typeDescriptor: { readonly exportedFunctions: Record<string, unknown> }
}

/** Carries values of one managed type across. */
export interface Converter {
  ascToJs(instance: Bound, pointer: number, typeName: string): unknown
  jsToAsc(instance: Bound, value: unknown, typeName: string): number
}

/** What a converter is given: the instance while it is being bound. */
export interface Bound {
  readonly exports: {
    readonly memory: WebAssembly.Memory
    __new(sizeBytes: number, classId: number): number
  }
  /** Gives the class id that the compiler gave to a managed type. */
  getTypeId(typeName: string): number
}

export const converters: Map<string | RegExp, Converter>
export const version: string

export function instantiateSync(
  bytes: Uint8Array,
  imports: Record<string, Record<string, unknown>>,
): Instance
