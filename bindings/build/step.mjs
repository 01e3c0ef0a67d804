/** Build steps that are skipped while their inputs are what they were at the last good run. */
import { createHash } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/** The checkout; all paths of steps are relative to it. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url))

const STAMPS = join(ROOT, 'build/stamps')

/**
 * Waits until no other build runs in this checkout: two at a time would read each other's
 * unfinished files. The lock ends with the process; one that was killed is found out by its id.
 */
export async function lock() {
  const path = join(ROOT, 'build/lock')
  mkdirSync(join(ROOT, 'build'), { recursive: true })
  const limit = AbortSignal.timeout(300_000)
  while (!tryLock(path)) {
    limit.throwIfAborted()
    await setTimeout(100)
  }
  process.on('exit', () => rmSync(path, { force: true }))
}

function tryLock(path) {
  try {
    writeFileSync(path, String(process.pid), { flag: 'wx' })
    return true
  } catch {
    if (!isHeld(path)) rmSync(path, { force: true })
    return false
  }
}

function isHeld(path) {
  try {
    // Signal 0 only asks. An empty file is one whose holder is just about to write its id.
    process.kill(Number(readFileSync(path, 'utf8')) || process.pid, 0)
    return true
  } catch (error) {
    // Only "no such process": a file that is gone by now may be back with another holder.
    return error.code !== 'ESRCH'
  }
}

/** Lists a file, or all files below a folder, that `accept` takes; sorted, relative to the root. */
export function filesBelow(path, accept = () => true) {
  const absolute = join(ROOT, path)
  if (!existsSync(absolute)) return []
  if (!statSync(absolute).isDirectory()) return accept(path) ? [path] : []
  return readdirSync(absolute, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .filter(accept)
    .sort()
}

/** Hashes names and contents; the Node version counts, since generated code may depend on it. */
function fingerprint(inputs) {
  const hash = createHash('sha256')
  for (const path of inputs) {
    hash.update(`${path}\0`)
    hash.update(existsSync(join(ROOT, path)) ? readFileSync(join(ROOT, path)) : 'absent')
    hash.update('\0')
  }
  return hash.digest('hex')
}

/**
 * Runs `action` unless inputs are unchanged and all outputs exist. Answers whether it ran.
 *
 * @param {{ name: string, inputs: string[], outputs: string[], action: () => unknown }} step
 */
export async function step({ name, inputs, outputs, action }) {
  const stamp = join(STAMPS, name)
  const before = fingerprint(inputs)
  const current = existsSync(stamp) ? readFileSync(stamp, 'utf8') : ''
  if (current === before && outputs.every((path) => existsSync(join(ROOT, path)))) return false
  const started = performance.now()
  await action()
  mkdirSync(STAMPS, { recursive: true })
  writeFileSync(stamp, before)
  console.log(`${name}: ${((performance.now() - started) / 1000).toFixed(1)} s`)
  return true
}
