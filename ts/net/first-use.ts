/** Methods that are loaded when the first of them is called, so that an import need not read them. */

/**
 * Puts methods called `names` on `target` that `make` gives on first use. From then on they are on
 * `target` themselves, but for those that somebody has put something else in the place of.
 */
export function defineOnFirstUse(
  target: object,
  names: readonly string[],
  make: () => object,
): void {
  const standIns: Record<string, unknown> = {}
  let made: object | undefined
  const settle = (): object => {
    if (made !== undefined) return made
    made = make()
    for (const name of names) {
      const isUntouched = Reflect.get(target, name) === standIns[name]
      if (isUntouched) Reflect.set(target, name, Reflect.get(made, name))
    }
    return made
  }
  for (const name of names) {
    const { [name]: standIn } = {
      [name](this: unknown, ...args: unknown[]): unknown {
        return Reflect.apply(Reflect.get(settle(), name), this, args)
      },
    }
    standIns[name] = standIn
  }
  Object.assign(target, standIns)
}
