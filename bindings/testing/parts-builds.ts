/** Inner functions of the core, compiled and as plain TypeScript, each over a memory of its own. */
import { readFileSync } from 'node:fs'
import { instantiateCore } from '../control.ts'
import { usePlainMemory } from '../plain.ts'

/** The functions of `parts.ts`. Pointers are byte addresses. */
export interface Parts {
  chacha20(key: number, nonce: number, counter: number, count: number, to: number): void
  xorInto(pointer: number, keystream: number, size: number): void
  poly1305(state: number, key: number, message: number, size: number, tag: number): void
  sipHash(key: number, data: number, size: number, out: number): void
}

export interface PartsBuild {
  readonly name: string
  readonly bytes: Uint8Array
  readonly parts: Parts
}

const MEMORY_PAGES = 64
const WASM_PAGE_BYTES = 65_536
const FILES = { simd: 'parts.simd.wasm', plain: 'parts.wasm' }

/** Loads both compiled builds. */
export function compiledParts(): PartsBuild[] {
  return Object.entries(FILES).map(([name, file]) => {
    const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES })
    const module = readFileSync(new URL(`../../build/${file}`, import.meta.url))
    const parts = instantiateCore(module, memory).exports as unknown as Parts
    return { name, bytes: new Uint8Array(memory.buffer), parts }
  })
}

/** Loads the shared source as it stands. It works on the memory that was made plain last. */
export async function plainParts(): Promise<PartsBuild> {
  const memory = new ArrayBuffer(MEMORY_PAGES * WASM_PAGE_BYTES)
  usePlainMemory(memory)
  const parts = await import('./parts.ts')
  return { name: 'TypeScript', bytes: new Uint8Array(memory), parts }
}
