/** Several builds of the core, given the same calls: what they answer and leave must be equal. */
import { CRC_WORK, CRC_WORK_SIZE } from '../../assembly/crc32c.ts'
import { type Core, type CoreExports, PARAMS } from '../core.ts'
import { describeAddress } from './names.ts'

/** From here on all builds are the same but for CRC_WORK. Below: the control heap, the checksum's scratch. */
const COMPARED_FROM = PARAMS

/** A call that did not return: out of bounds, or an assertion. */
export const TRAPPED = 'trapped'

/** The builds do not agree. */
export class Difference extends Error {}

export class Lockstep {
  readonly cores: readonly Core[]
  /** The first of them. */
  readonly reference: Core
  /** How often each export was called, and how often it did not return. */
  readonly calls = new Map<string, { count: number; trapped: number }>()
  private lastCall = ''
  private readonly lastValues = new Map<string, readonly number[]>()

  constructor(cores: readonly Core[]) {
    this.cores = cores
    this.reference = cores[0] as Core
  }

  /**
   * Calls an export of every core; gives what all of them answered.
   * @throws Difference when they do not agree.
   */
  call(name: keyof CoreExports | string, ...values: readonly number[]): number | typeof TRAPPED {
    this.lastCall = `${name}(${values.join(', ')})`
    this.lastValues.set(name, values)
    const results = this.cores.map((core) => callOne(core, name, values))
    const [first] = results
    for (const [index, result] of results.entries()) {
      if (Object.is(result, first)) continue
      const names = [this.reference.build, this.cores[index]?.build]
      throw new Difference(`${this.lastCall}: ${names[0]} answers ${first}, ${names[1]} ${result}`)
    }
    const calls = this.calls.get(name) ?? { count: 0, trapped: 0 }
    calls.count += 1
    if (first === TRAPPED) calls.trapped += 1
    this.calls.set(name, calls)
    return first as number | typeof TRAPPED
  }

  /** What an export was last called with. */
  lastArguments(name: string): readonly number[] {
    return this.lastValues.get(name) ?? []
  }

  /** Writes bytes into every memory, as hosts do. */
  write(bytes: Uint8Array, address: number): void {
    for (const core of this.cores) core.u8.set(bytes, address)
  }

  writeWords(words: ArrayLike<number>, address: number): void {
    for (const core of this.cores) core.i32.set(words, address >> 2)
  }

  setParam(index: number, value: number): void {
    for (const core of this.cores) core.setParam(index, value)
  }

  /** @throws Difference that names the first address that is not the same everywhere. */
  compareMemories(): void {
    for (const { u8 } of this.cores) u8.fill(0, CRC_WORK, CRC_WORK + CRC_WORK_SIZE)
    const [first, ...others] = this.cores.map((core) => ({
      core,
      image: core.bytes.subarray(COMPARED_FROM),
    }))
    if (first === undefined) return
    for (const { core, image } of others) {
      if (first.image.equals(image)) continue
      const at = image.findIndex((byte, index) => byte !== first.image[index])
      const address = (COMPARED_FROM + at) & ~3
      const word = (one: Core) => `0x${((one.i32[address >> 2] as number) >>> 0).toString(16)}`
      throw new Difference(
        `after ${this.lastCall}: ${first.core.build} and ${core.build} first differ at ` +
          `${describeAddress(first.core.u8.buffer as ArrayBuffer, address)}: ` +
          `${word(first.core)}, ${word(core)}`,
      )
    }
  }
}

function callOne(core: Core, name: string, values: readonly number[]): number | typeof TRAPPED {
  const call = (core.exports as unknown as Record<string, (...values: number[]) => unknown>)[name]
  if (call === undefined) throw new Error(`${core.build} has no export ${name}`)
  try {
    const result = call(...values)
    return result === undefined ? 0 : Number(result)
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return TRAPPED
    if (error instanceof Error && error.message.startsWith('core: ')) return TRAPPED
    throw error
  }
}
