/**
 * `node bindings/build/asc.mjs TARGET ENTRY`: compiles a module for one target of `asconfig.json`.
 *
 * The compiler's grammar has neither type-only imports nor imports that end in `.ts`; TypeScript
 * needs the first to run a file by erasing its types, and the house style wants the second. So both
 * are blanked while a file is read. Columns in messages stay true.
 */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { main } from 'assemblyscript/asc'
import { ROOT } from './step.mjs'

const IMPORT =
  /^(?:import|export)\s+(?:type\s+)?(?:\{[^}]*\}|\*(?:\s+as\s+\w+)?)\s+from\s+'[^']+'/gm

const blank = (text) => ' '.repeat(text.length)

function forCompiler(source) {
  return source.replace(IMPORT, (statement) =>
    statement.replace(/\btype\s+(?=[\w{])/g, blank).replace(/\.ts'$/, "'"),
  )
}

async function read(path, baseDir) {
  try {
    const source = await readFile(resolve(baseDir, path), 'utf8')
    return path.endsWith('.ts') ? forCompiler(source) : source
  } catch {
    // The compiler tries several names for one import.
    return null
  }
}

const [, , target = '', entry = ''] = process.argv
const { error, stdout, stderr } = await main(
  [
    entry,
    ...['--baseDir', ROOT, '--config', 'asconfig.json', '--target', target],
    // A relative transform inside asconfig.json is not found by the compiler.
    ...['--transform', './bindings/build/asbind-transform.mjs'],
  ],
  { readFile: read },
)
process.stdout.write(stdout.toString())
process.stderr.write(stderr.toString())
process.exitCode = error ? 1 : 0
