/**
 * `node bindings/build/build.mjs [STEP]`: builds what is not up to date.
 *
 * - `asbuild`: the core for all targets, and its embedding in `bindings/generated/`
 * - `native`: the addon; fails where it can't be built
 * - `sanitized`: the addon with checks at run time, for `npm run test:long`
 * - `all`: the package, what tests and micro benchmarks take of the core's parts, and the addon where
 *   there is a compiler; tests, demo and benchmarks run it first
 * - none: the package
 */
import { asbuild, asbuildBench, asbuildParts } from './asbuild.mjs'
import { embed } from './embed.mjs'
import { buildNative, buildSanitized, missingForNative } from './native.mjs'
import { buildPackage } from './package.mjs'
import { lock } from './step.mjs'

async function build(wanted) {
  const missing = missingForNative()
  if (wanted === 'native') {
    if (missing) throw new Error(`the addon can't be built here: ${missing}`)
    return buildNative()
  }
  if (wanted === 'sanitized') return missing ? undefined : buildSanitized()
  const extras =
    wanted === 'all' ? [asbuildBench(), asbuildParts(), missing ? undefined : buildNative()] : []
  await Promise.all([buildCore(wanted !== 'asbuild'), ...extras])
}

async function buildCore(withPackage) {
  await asbuild()
  await embed()
  if (withPackage) await buildPackage()
}

try {
  await lock()
  await build(process.argv[2] ?? 'package')
} catch (error) {
  // The text is the compiler's; where in these scripts it surfaced helps nobody.
  console.error(error instanceof Error ? error.message : error)
  process.exit(1)
}
