/** The builds of the core that the package carries, and which of them this machine runs. */
import { CORE_PLAIN, CORE_SIMD } from './generated/core-wasm.cjs'

/** `simd` needs fixed-width SIMD; `plain` runs on every WebAssembly engine. */
export type CoreBuild = 'simd' | 'plain'

/** Decodes one build: a module that wants `env.memory` and `env.abort`. */
export function coreBytes(build: CoreBuild): Uint8Array {
  return Buffer.from(build === 'simd' ? CORE_SIMD : CORE_PLAIN, 'base64')
}

/** Chooses the build: SIMD where the engine takes it, unless `PUNCHLINE_SIMD=0` says no. */
export function preferredBuild(environment: NodeJS.ProcessEnv = process.env): CoreBuild {
  if (environment['PUNCHLINE_SIMD'] === '0') return 'plain'
  return WebAssembly.validate(coreBytes('simd')) ? 'simd' : 'plain'
}
