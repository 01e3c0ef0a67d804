/** The tiers that this machine has, for tests that must pass on each of them. */
import { PACKAGE_ROOT } from '../../../bindings/package-root.cjs'
import { type BackendChoice, chooseBackend } from '../backend.ts'

export const ROOT = PACKAGE_ROOT

/** Runs a program without io_uring: `REFUSER ERRNO CALLS PROGRAM …`. Built with the addon. */
export const REFUSER = `${PACKAGE_ROOT}/build/native/Release/refuse-io-uring`

/** Every tier that can be had here. Says in one line each which can't, and why. */
export function availableBackends(): BackendChoice[] {
  return ['uring', 'mmsg', 'dgram'].flatMap((name) => {
    try {
      return [chooseBackend(name)]
    } catch (error) {
      console.log(`skipped: tests of ${name} (${(error as Error).message})`)
      return []
    }
  })
}
