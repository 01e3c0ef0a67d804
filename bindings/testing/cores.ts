/** Cores over memories of any size, from every build, for tests. */
import { builtCores } from '../build/test-builds.ts'
import { instantiateCore } from '../control.ts'
import { Core, type CoreExports, MEMORY_BYTES_MIN } from '../core.ts'
import { plainCore } from '../plain.ts'

const WASM_PAGE_BYTES = 65_536

/** `typescript` and `typescript-debug` are the shared source run as it stands. */
export const TEST_BUILDS = [
  'simd',
  'plain',
  'simd-debug',
  'plain-debug',
  'typescript',
  'typescript-debug',
] as const

export type TestBuild = (typeof TEST_BUILDS)[number]

/** Makes a core of that build, with a memory of its own. */
export async function testCore(build: TestBuild, memoryBytes = MEMORY_BYTES_MIN): Promise<Core> {
  if (build === 'typescript' || build === 'typescript-debug') {
    const memory = new ArrayBuffer(memoryBytes)
    const raw = await plainCore(memory, { hasAssertions: build === 'typescript-debug' })
    return new Core(raw, memory, build)
  }
  const bytes = builtCores().find(({ name }) => name === build)?.bytes
  if (bytes === undefined) throw new Error(`there is no build ${build}`)
  const count = memoryBytes / WASM_PAGE_BYTES
  const memory = new WebAssembly.Memory({ initial: count, maximum: count })
  const { exports } = instantiateCore(bytes, memory)
  return new Core(exports as unknown as CoreExports, memory.buffer, build)
}
