/** What the compiler's declarations leave out of the stub runtime (`runtime/stub.ts`). */
declare namespace heap {
  /** Empties the managed heap. */
  function reset(): void
}
