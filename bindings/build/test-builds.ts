/** Every build of the core for tests, also those with assertions, which the package leaves out. */
import { readFileSync } from 'node:fs'

const FILES = {
  simd: 'core.simd.wasm',
  plain: 'core.wasm',
  'simd-debug': 'core.simd.debug.wasm',
  'plain-debug': 'core.debug.wasm',
}

/** Reads the modules that `npm run asbuild` wrote. */
export function builtCores(): { name: string; bytes: Uint8Array }[] {
  return Object.entries(FILES).map(([name, file]) => ({
    name,
    bytes: readFileSync(new URL(`../../build/${file}`, import.meta.url)),
  }))
}
