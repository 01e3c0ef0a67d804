/**
 * The control plane: the only exports that take or give strings and arrays. as-bind binds them
 * (`bindings/control.ts`); everything else crosses as numbers. Not shared source: it uses the
 * managed types of AssemblyScript and runs compiled only.
 */

const VERSION: string = '0.1.0'

/** Gives the version of the package that the core was built for. */
export function coreVersion(): string {
  return VERSION
}

/** Names what this build of the core was compiled with. */
export function coreFeatures(): Array<string> {
  const features: string[] = []
  if (ASC_FEATURE_SIMD) features.push('simd')
  if (!ASC_NO_ASSERT) features.push('assertions')
  return features
}

/** Empties the heap of the control plane; called by the host after each control call. */
export function controlReset(): void {
  heap.reset()
}
