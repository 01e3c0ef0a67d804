/**
 * The control plane: strings and arrays to and from the core, bound by as-bind.
 *
 * as-bind 0.8's run-time half expects the object layout of AssemblyScript 0.19. What changed since
 * is replaced here through as-bind's own extension point, its table of converters: class ids of
 * strings and buffers, and how arrays are described. Hot exports never come this way: they are
 * called raw, 4–6 ns a call against 77 ns for a bound one.
 */
import { type Converter, converters, instantiateSync } from './generated/as-bind.cjs'

/** Class ids that AssemblyScript fixes for its built-in types since 0.20. */
const CLASS_ARRAY_BUFFER = 1
const CLASS_STRING = 2
/** The size of a managed object stands this far in front of it. */
const SIZE_OFFSET = 4
/** `Array<T>` is four words: buffer, start of the data, bytes of data, length. */
const ARRAY_WORDS = 4

const STRING = '~lib/string/String'

/** The control functions, as `assembly/control.ts` declares them. */
export interface Control {
  /** Gives the package version that the core was built for. */
  coreVersion(): string
  /** Names what the core was compiled with: `simd`, `assertions`. */
  coreFeatures(): string[]
}

/**
 * A `WebAssembly.Memory`, whose type is in TypeScript's browser library only: what this package
 * declares must make sense without it.
 */
export interface CoreMemory {
  readonly buffer: ArrayBuffer
}

/** An instance of the core: raw exports for the hot path, bound ones for control. */
export interface CoreInstance {
  readonly exports: Record<string, unknown>
  readonly control: Control
}

/**
 * Instantiates one build of the core over `memory`, whose size is fixed: initial equals maximum.
 *
 * Throws `WebAssembly.CompileError` for a module this engine refuses. A control call throws an
 * Error with the core's own text when an `assert` or `throw` fires in it, for one when its strings
 * do not fit the control heap (about 64 KiB).
 */
export function instantiateCore(bytes: Uint8Array, memory: CoreMemory): CoreInstance {
  const text = (pointer: number) => readString(memory, pointer) ?? ''
  const abort = (message: number, file: number, line: number, column: number) => {
    throw new Error(`core: ${text(message)} (${text(file)}:${line}:${column})`)
  }
  const instance = instantiateSync(bytes, { env: { memory, abort } })
  const { exports } = instance.loadedModule.instance
  const reset = exports['controlReset'] as () => void
  const bound = Object.keys(instance.typeDescriptor.exportedFunctions).map((name) => {
    const call = instance.exports[name]
    return [name, (...values: unknown[]) => callAndReset(() => call?.(...values), reset)]
  })
  return { exports, control: Object.fromEntries(bound) as Control }
}

/** The heap of the control plane is emptied after each call; results are copies by then. */
function callAndReset(call: () => unknown, reset: () => void): unknown {
  try {
    return call()
  } finally {
    reset()
  }
}

function readString(memory: CoreMemory, pointer: number): string | null {
  if (pointer === 0) return null
  const view = new DataView(memory.buffer)
  const sizeBytes = view.getUint32(pointer - SIZE_OFFSET, true)
  return Buffer.from(memory.buffer, pointer, sizeBytes).toString('utf16le')
}

const stringConverter: Converter = {
  ascToJs: ({ exports }, pointer) => readString(exports.memory, pointer),
  jsToAsc({ exports }, value) {
    if (value === null) return 0
    const source = Buffer.from(String(value), 'utf16le')
    const pointer = exports.__new(source.length, CLASS_STRING) >>> 0
    source.copy(Buffer.from(exports.memory.buffer, pointer, source.length))
    return pointer
  },
}

type NumberArray = Int32Array | Uint32Array | Float64Array
type NumberArrayType = new (buffer: ArrayBuffer, offset: number, length: number) => NumberArray

/** How the elements of an array lie in memory; a string is the word that points to it. */
const ELEMENT_ARRAYS: Record<string, NumberArrayType & { readonly BYTES_PER_ELEMENT: number }> = {
  i32: Int32Array,
  u32: Uint32Array,
  f64: Float64Array,
  [STRING]: Uint32Array,
}

function elementsOf(typeName: string) {
  const elementType = typeName.slice('~lib/array/Array<'.length, -1)
  const Elements = ELEMENT_ARRAYS[elementType]
  if (!Elements) throw new TypeError(`core: no converter for ${typeName}`)
  return { Elements, isString: elementType === STRING }
}

const arrayConverter: Converter = {
  ascToJs(instance, pointer, typeName) {
    const { buffer } = instance.exports.memory
    const { Elements, isString } = elementsOf(typeName)
    const [, data = 0, , length = 0] = new Uint32Array(buffer, pointer, ARRAY_WORDS)
    const values = Array.from(new Elements(buffer, data, length))
    return isString ? values.map((at) => readString(instance.exports.memory, at)) : values
  },
  jsToAsc(instance, value, typeName) {
    const { Elements, isString } = elementsOf(typeName)
    const values = [...(value as Iterable<unknown>)].map((element) =>
      isString ? stringConverter.jsToAsc(instance, element, STRING) : Number(element),
    )
    const { exports } = instance
    const sizeBytes = values.length * Elements.BYTES_PER_ELEMENT
    const data = exports.__new(sizeBytes, CLASS_ARRAY_BUFFER) >>> 0
    new Elements(exports.memory.buffer, data, values.length).set(values)
    const pointer = exports.__new(ARRAY_WORDS * 4, instance.getTypeId(typeName)) >>> 0
    const header = new Uint32Array(exports.memory.buffer, pointer, ARRAY_WORDS)
    header.set([data, data, sizeBytes, values.length])
    return pointer
  },
}

// as-bind's own converters for these types know the old object layout only: none may remain.
for (const key of [...converters.keys()]) {
  if (String(key).includes('~lib')) converters.delete(key)
}
converters.set(STRING, stringConverter)
converters.set(/^~lib\/array\/Array<.+>$/, arrayConverter)
