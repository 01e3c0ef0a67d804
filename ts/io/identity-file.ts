/**
 * The node key in a file: made when it is not there, never half written, never two of them.
 *
 * A new key is written beside the file and then linked to its name, which fails if another process
 * was first; then that one's key is taken. A place that can't be written, such as a read-only home,
 * is no failure: the key then lives as long as the process.
 */
import { channel } from 'node:diagnostics_channel'
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { IoError } from '../errors.ts'
import type { Random } from '../machine.ts'
import { NodeKey } from '../transport/index.ts'
import { systemRandom } from './chance.ts'

const FILE_MODE = 0o600
const FOLDER_MODE = 0o700
/** Any permission for group or others. */
const OTHERS_MASK = 0o077
/** A key takes about 180 bytes; whatever is longer is something else. */
const FILE_SIZE_MAX = 4096

/** Told when a node key could not be kept: { path, reason }. */
export const NODE_KEY_CHANNEL = 'punchline:node-key'

export interface LoadedNodeKey {
  readonly key: NodeKey
  /** `memory`: the file could not be made, and `reason` says why. */
  readonly origin: 'loaded' | 'created' | 'memory'
  readonly reason?: Error
}

/**
 * Loads the node key of a file, or makes one there with its folders.
 * @throws IoError, ERR_PUNCHLINE_IDENTITY_FILE: the file is there but can't be read, is readable by
 * others, or holds no node key. It is never overwritten.
 */
export function loadOrCreateNodeKey(path: string, random: Random = systemRandom()): LoadedNodeKey {
  const present = load(path)
  if (present) return { key: present, origin: 'loaded' }
  const key = NodeKey.generate(random)
  try {
    if (create(path, key, random)) return { key, origin: 'created' }
  } catch (error) {
    return inMemory(path, key, error as Error)
  }
  const winner = load(path)
  if (winner) return { key: winner, origin: 'loaded' }
  return inMemory(path, key, new Error(`${path} appeared and vanished`))
}

function inMemory(path: string, key: NodeKey, reason: Error): LoadedNodeKey {
  const events = channel(NODE_KEY_CHANNEL)
  if (events.hasSubscribers) events.publish({ path, reason })
  return { key, origin: 'memory', reason }
}

/** Gives the key of the file, or nothing when there is no file. */
function load(path: string): NodeKey | undefined {
  try {
    const text = read(path)
    return text === undefined ? undefined : NodeKey.from(text)
  } catch (cause) {
    if (cause instanceof IoError) throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new IoError('ERR_PUNCHLINE_IDENTITY_FILE', `${path}: ${why}`, { cause })
  }
}

function read(path: string): string | undefined {
  let file: number
  try {
    file = openSync(path, 'r')
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
  try {
    // Asked of the open file: a name could stand for another one a moment later.
    const { mode, size } = fstatSync(file)
    // Windows has no such permissions; the folders of its users are closed to others.
    if (process.platform !== 'win32' && (mode & OTHERS_MASK) !== 0) {
      throw refusal(path, 'others may read it; chmod 600 it, or delete it to get a new key')
    }
    if (size > FILE_SIZE_MAX) throw refusal(path, 'this is no node key')
    return readFileSync(file, 'utf8')
  } finally {
    closeSync(file)
  }
}

/** Writes the key; false when there is a file by now. */
function create(path: string, key: NodeKey, random: Random): boolean {
  mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE })
  // Numbers of processes are no names: containers that share a volume all begin at 1.
  const temporary = `${path}.${random.u32().toString(36)}${random.u32().toString(36)}.tmp`
  const file = openSync(temporary, 'wx', FILE_MODE)
  try {
    try {
      writeFileSync(file, `${JSON.stringify(key.exportSecrets(), null, 2)}\n`)
      // The name must not outlive a crash that the bytes do not.
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    linkSync(temporary, path)
    return true
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false
    throw error
  } finally {
    unlinkSync(temporary)
  }
}

function refusal(path: string, why: string): IoError {
  return new IoError('ERR_PUNCHLINE_IDENTITY_FILE', `${path}: ${why}`)
}

function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '')
}
