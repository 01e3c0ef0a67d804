const WAIT_MS = 30_000

/** Lets the event loop turn until something is so; fails when that takes too long. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const limit = AbortSignal.timeout(WAIT_MS)
  while (!condition()) {
    if (limit.aborted) throw new Error(`timed out: ${what}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
