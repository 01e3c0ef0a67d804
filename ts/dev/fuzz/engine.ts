/**
 * Seeded, structure-aware mutation: takes inputs that are kept (`corpus/`), changes them as somebody
 * would who knows the format, and gives them to a parser that must not mind. A failing input is
 * printed with the command that repeats it.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { SeededRandom } from '../../sim/random.ts'

export interface FuzzTarget {
  readonly name: string
  /** Text inputs are kept as text, others in base64. */
  readonly kind: 'binary' | 'text'
  /** How many executions the long run does, and how many the short one that is part of the tests. */
  readonly longCount: number
  readonly shortCount: number
  /** Functions that make up the parser, by source file: what coverage is measured of. */
  readonly parser: Readonly<Record<string, readonly string[]>>
  /** Words of the format, for insertion. */
  readonly tokens?: readonly Uint8Array[]
  /** Inputs beside those that are kept. */
  readonly examples?: readonly Uint8Array[]
  /** A change that keeps the format; undefined: change bytes instead. */
  mutate?(random: SeededRandom, input: Uint8Array): Uint8Array | undefined
  /** How many inputs this one stands for: each has its own time. Default: 1. */
  parts?(input: Uint8Array): number
  /** Throws for what must not happen; rejecting the input is no failure. */
  run(input: Uint8Array): void
}

export class FuzzFailure extends Error {
  readonly input: Uint8Array

  constructor(target: FuzzTarget, input: Uint8Array, cause: unknown) {
    const text = Buffer.from(input).toString('base64')
    const message = cause instanceof Error ? cause.message : String(cause)
    super(
      `${target.name}: ${message}\n  replay: npm run fuzz -- --target ${target.name} --input ${text}`,
      { cause },
    )
    this.input = input
  }
}

export interface FuzzReport {
  readonly executions: number
  /** The slowest execution, ms; 0 unless times are taken. */
  readonly slowestMs: number
}

export interface FuzzOptions {
  readonly seed: number
  readonly count: number
  /** Take the time of each execution, and fail above 100 ms. Default: no, tests don't take times. */
  readonly isTimed?: boolean
}

const HANG_MS = 100

/**
 * Runs the kept inputs and then `count` changed ones.
 * @throws FuzzFailure
 */
export function fuzz(target: FuzzTarget, options: FuzzOptions): FuzzReport {
  const random = new SeededRandom(options.seed)
  const corpus = corpusOf(target)
  let slowestMs = 0
  const execute = (input: Uint8Array) => {
    const beganAt = options.isTimed ? performance.now() : 0
    let tookMs = 0
    try {
      target.run(input)
      if (!options.isTimed) return
      tookMs = (performance.now() - beganAt) / (target.parts?.(input) ?? 1)
      // What else the machine does must not count; running an input again changes what comes after
      // it, and can be what brings a defect to light.
      if (tookMs > HANG_MS) tookMs = quickestMs(target, input)
    } catch (error) {
      throw new FuzzFailure(target, input, error)
    }
    if (tookMs > HANG_MS) throw new FuzzFailure(target, input, `took ${tookMs} ms`)
    slowestMs = Math.max(slowestMs, tookMs)
  }
  for (const input of corpus) execute(input)
  for (let index = 0; index < options.count; index++) execute(mutate(target, random, corpus))
  return { executions: corpus.length + options.count, slowestMs }
}

/** Processor time of the quickest of three runs: others may have the processor all the while. */
function quickestMs(target: FuzzTarget, input: Uint8Array): number {
  const runs = [1, 2, 3].map(() => {
    const before = process.cpuUsage()
    target.run(input)
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000 / (target.parts?.(input) ?? 1)
  })
  return Math.min(...runs)
}

// ── Corpora ──────────────────────────────────────────────────────────────────────────────────────

/** Kept inputs, one a line (`#` begins a comment), and the target's own examples. */
export function corpusOf(target: FuzzTarget): readonly Uint8Array[] {
  const path = fileURLToPath(new URL(`corpus/${target.name}.txt`, import.meta.url))
  const lines = readFileSync(path, 'utf8').split('\n')
  const kept = lines
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => Buffer.from(line, target.kind === 'text' ? 'utf8' : 'base64'))
  return [new Uint8Array(0), ...kept, ...(target.examples ?? [])]
}

// ── Mutation ─────────────────────────────────────────────────────────────────────────────────────

/** Around the sizes of integers and of fields. */
const BYTES = [0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 192, 224, 252, 253, 254, 255]
const INPUT_BYTES_MAX = 4_096

function mutate(
  target: FuzzTarget,
  random: SeededRandom,
  corpus: readonly Uint8Array[],
): Uint8Array {
  let input = random.pick(corpus)
  for (let left = 1 + random.below(3); left > 0; left--) {
    const changed = random.chance(0.5) ? target.mutate?.(random, input) : undefined
    input = changed ?? mutateBytes(target, random, input, corpus)
  }
  return input
}

function mutateBytes(
  { tokens }: FuzzTarget,
  random: SeededRandom,
  input: Uint8Array,
  corpus: readonly Uint8Array[],
): Uint8Array {
  const at = random.below(input.length + 1)
  const other = random.pick(corpus)
  switch (random.below(9)) {
    case 0: // Ends early.
      return input.slice(0, at)
    case 1: // One bit, most often near the front, where headers are.
    case 2: {
      const changed = input.slice()
      const index = random.chance(0.5) ? random.below(Math.min(32, input.length) || 1) : at
      if (index < changed.length)
        changed[index] = (changed[index] as number) ^ (1 << random.below(8))
      return changed
    }
    case 3:
    case 4: {
      const changed = input.slice()
      if (at < changed.length) changed[at] = random.chance(0.5) ? random.pick(BYTES) : random.u32()
      return changed
    }
    case 5: // Something that the format knows, or any byte.
      return insert(
        input,
        at,
        tokens === undefined ? Uint8Array.of(random.u32()) : random.pick(tokens),
      )
    case 6: // A part is missing.
      return insert(
        input.slice(0, at),
        at,
        input.subarray(Math.min(input.length, at + 1 + random.below(8))),
      )
    case 7: // A part comes twice.
      return insert(input, at, input.subarray(at, at + random.below(64)))
    default: // The end of another input.
      return insert(input.slice(0, at), at, other.subarray(random.below(other.length + 1)))
  }
}

function insert(input: Uint8Array, at: number, piece: Uint8Array): Uint8Array {
  const changed = new Uint8Array(input.length + piece.length)
  changed.set(input.subarray(0, at))
  changed.set(piece, at)
  changed.set(input.subarray(at), at + piece.length)
  return changed.length > INPUT_BYTES_MAX ? changed.slice(0, INPUT_BYTES_MAX) : changed
}
