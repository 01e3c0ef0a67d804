/**
 * Who asks for a connection under `punchline/register`. With `PUNCHLINE_PACKAGES` set only the
 * packages that it names get our sockets. What counts is which file the call comes from, Node's own
 * files aside: so it is the same for modules of both formats, and through `http` and `tls`, too.
 */

/** Callers are looked for this deep: `http` alone puts a dozen calls in between. */
const STACK_LIMIT = 50

/** Gives the packages that `PUNCHLINE_PACKAGES` names, or null when it names none. */
export function namedPackages(): ReadonlySet<string> | null {
  const names = (process.env['PUNCHLINE_PACKAGES'] ?? '').split(',').map((name) => name.trim())
  const packages = new Set(names.filter((name) => name !== ''))
  return packages.size === 0 ? null : packages
}

/**
 * Gives the package whose code called `callee`; undefined for the program itself, and where only
 * Node's own code is left of who called. Files for which `isPassedOver` holds are looked through.
 */
export function callingPackage(
  callee: (...args: never[]) => unknown,
  isPassedOver: (file: string) => boolean,
): string | undefined {
  const file = filesBelow(callee).find((each) => !each.startsWith('node:') && !isPassedOver(each))
  return file === undefined ? undefined : packageOf(file)
}

/** The innermost package that a file lies in: its dependencies are packages of their own. */
function packageOf(file: string): string | undefined {
  const parts = file.split(/[/\\]/)
  const at = parts.lastIndexOf('node_modules')
  if (at < 0) return undefined
  const [first, second] = parts.slice(at + 1)
  return first?.startsWith('@') ? `${first}/${second}` : first
}

/** Gives the files of the calls that led to `callee`, the nearest first. */
export function filesBelow(callee: (...args: never[]) => unknown): readonly string[] {
  const { prepareStackTrace, stackTraceLimit } = Error
  const holder: { stack?: unknown } = {}
  try {
    Error.stackTraceLimit = STACK_LIMIT
    Error.prepareStackTrace = (_error, calls) =>
      calls.map((call) => call.getFileName()).filter((file) => typeof file === 'string')
    Error.captureStackTrace(holder, callee)
    return holder.stack as readonly string[]
  } finally {
    Error.prepareStackTrace = prepareStackTrace
    Error.stackTraceLimit = stackTraceLimit
  }
}
