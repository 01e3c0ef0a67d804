/**
 * Compiler plug-in for `asc --transform`. as-bind 0.8.2 brings its own, but that one stops at
 * AssemblyScript 0.19; this one serves its runtime from the current compiler. It
 *
 * - puts `assembly/runtime/stub.ts` in the place of the compiler's stub runtime,
 * - adds the custom section `as-bind_bindings`, from which as-bind learns the types of exports,
 * - refuses a module whose statics leave the control heap too little room.
 */
import { readFileSync } from 'node:fs'
import { CommonFlags, NodeKind } from 'assemblyscript'
import { libraryFiles } from 'assemblyscript/asc'
import binaryen from 'assemblyscript/binaryen'
import { Transform } from 'assemblyscript/transform'

/** Statics end below this address; the heap takes the other half of the first 128 KiB. */
const HEAP_BASE_MAX = 0x10000

libraryFiles['rt/stub'] = readFileSync(
  new URL('../../assembly/runtime/stub.ts', import.meta.url),
  'utf8',
)

const typeName = (type) => type.getClass()?.internalName ?? type.toString()

/** Adds a class and its type arguments; numbers have no id. */
function collectTypeIds(type, typeIds) {
  const managed = type.getClass()
  if (!managed || typeIds[managed.internalName]) return
  typeIds[managed.internalName] = { id: managed.id, byteSize: managed.nextMemoryOffset }
  for (const argument of managed.typeArguments ?? []) collectTypeIds(argument, typeIds)
}

export default class AsBindTransform extends Transform {
  afterCompile(module) {
    this.checkHeapBase(module)
    const typeIds = {}
    const exportedFunctions = {}
    for (const element of this.program.elementsByDeclaration.values()) {
      if (element.declaration.kind !== NodeKind.FunctionDeclaration) continue
      if (element.internalName.startsWith('~') || !element.is(CommonFlags.ModuleExport)) continue
      const signature = element.instances?.get('')?.signature
      if (!signature) continue
      const types = [signature.returnType, ...signature.parameterTypes]
      // Functions of numbers are called raw; binding them would only slow the start.
      if (!types.some((type) => type.getClass())) continue
      for (const type of types) collectTypeIds(type, typeIds)
      exportedFunctions[element.name] = {
        returnType: typeName(signature.returnType),
        parameters: signature.parameterTypes.map(typeName),
      }
    }
    const section = { typeIds, importedFunctions: {}, exportedFunctions }
    module.addCustomSection('as-bind_bindings', new TextEncoder().encode(JSON.stringify(section)))
  }

  checkHeapBase(module) {
    const { init } = binaryen.getGlobalInfo(module.getGlobal('~lib/memory/__heap_base'))
    const heapBase = binaryen.getExpressionInfo(init).value
    if (heapBase >= HEAP_BASE_MAX) {
      throw new Error(`statics end at ${heapBase}, above the limit of ${HEAP_BASE_MAX}`)
    }
    this.log(`statics end at 0x${heapBase.toString(16)}`)
  }
}
