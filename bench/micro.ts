/**
 * `npm run bench:micro [-- --tiny]`: what the compiled core gains over JavaScript, part by part.
 *
 * CRC32C and packet framing at three packet sizes, packet protection at 1,200 B, each contender's
 * result checked first. Ends with exit code 1 when the core misses one of its goals.
 */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { loadAddon } from '../bindings/addon.ts'
import { instantiateCore } from '../bindings/control.ts'
import { Core, type CoreBuild, RX_ARENA } from '../bindings/core.ts'
import { crc32cReference, fillTestBytes } from '../ts/dev/crc32c-reference.ts'
import { aeadContenders } from './lib/aead.ts'
import { crc32cSlicing16, JavaScriptFraming } from './lib/javascript.ts'
import {
  type BenchmarkResult,
  type Contender,
  describeMachine,
  MICRO_DEFAULTS,
  MICRO_TINY,
  type MicroOptions,
  type MicroResult,
  measure,
  ratio,
  runBenchmark,
} from './lib/micro-harness.ts'

const SIZES = [64, 256, 1400] as const

/** The usual payload of a packet before its path is measured. */
const AEAD_SIZE = 1200
const AEAD_TITLE = `ChaCha20-Poly1305: seal and open, ${AEAD_SIZE} B`

/** How many times as fast as the best other way the core has to be. */
const GOALS = [
  { title: 'CRC32C, 1400 B', ratio: 2 },
  { title: AEAD_TITLE, ratio: 3.5 },
]

/** As many packets as one drain brings, each with a place of its own, so that caches see reality. */
const PACKETS = 64
const STRIDE = 2048

/** One question, and what was measured of each way to do it. */
interface Group {
  readonly title: string
  /** The compiled core first, the best way without it second. */
  readonly results: readonly (MicroResult & BenchmarkResult)[]
}

/** Measures everything; throws when any contender gives a wrong result. */
export async function runMicro(options: MicroOptions = MICRO_DEFAULTS): Promise<Group[]> {
  const aead: Question = { title: AEAD_TITLE, contenders: aeadContenders(AEAD_SIZE), isLong: true }
  const rounds = [...SIZES.flatMap(questions), aead].map(
    ({ title, contenders, isLong = false }) => {
      return {
        title,
        contenders,
        results: measure(contenders, isLong ? lengthened(options) : options),
      }
    },
  )
  const groups: Group[] = []
  for (const { title, contenders, results } of rounds) {
    const combined: (MicroResult & BenchmarkResult)[] = []
    for (const [index, result] of results.entries()) {
      const benchmark = await runBenchmark(contenders[index] as Contender, options.benchmarkSeconds)
      combined.push({ ...result, ...benchmark })
    }
    groups.push({ title, results: combined })
  }
  return groups
}

interface Question {
  readonly title: string
  readonly contenders: Contender[]
  /** Whether a contender makes garbage: each round must be long enough to collect some, too. */
  readonly isLong?: boolean
}

function lengthened({ rounds, roundMs, ...others }: MicroOptions): MicroOptions {
  return { ...others, rounds: Math.max(3, rounds >> 2), roundMs: roundMs * 64 }
}

function questions(size: number): Question[] {
  const framing = new FramingPair(size)
  return [
    { title: `CRC32C, ${size} B`, contenders: crc32cContenders(size) },
    { title: `framing: encode, ${size} B`, contenders: framing.encoders() },
    { title: `framing: decode, ${size} B`, contenders: framing.decoders() },
  ]
}

// ── CRC32C: one call per packet ──────────────────────────────────────────────────────────────────

function crc32cContenders(size: number): Contender[] {
  const addon = loadAddon()
  return [
    wasmCrc32c('core, SIMD fold', 'simd', size),
    javaScriptCrc32c(size),
    wasmCrc32c('core without SIMD, slicing-16', 'plain', size),
    ...(addon ? [nativeCrc32c(addon.crc32c, size)] : []),
  ]
}

function wasmCrc32c(name: string, build: CoreBuild, size: number): Contender {
  const core = Core.create({ build })
  fillTestBytes(core.u8.subarray(RX_ARENA, RX_ARENA + PACKETS * STRIDE), 1)
  const { crc32c } = core.exports
  return forEachPacket(name, size, (index) => crc32c(RX_ARENA + index * STRIDE, size))
}

function javaScriptCrc32c(size: number): Contender {
  const bytes = testPackets()
  const words = new Int32Array(bytes.buffer)
  return forEachPacket('JavaScript, slicing-16 over Int32Array', size, (index) =>
    crc32cSlicing16(words, bytes, index * STRIDE, size),
  )
}

function nativeCrc32c(crc32c: (bytes: Uint8Array) => number, size: number): Contender {
  const bytes = testPackets()
  const packets = Array.from({ length: PACKETS }, (_, index) =>
    bytes.subarray(index * STRIDE, index * STRIDE + size),
  )
  return forEachPacket('addon, one call per packet', size, (index) =>
    crc32c(packets[index] as Uint8Array),
  )
}

function testPackets(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(PACKETS * STRIDE)
  fillTestBytes(bytes, 1)
  return bytes
}

/** Goes round the packets; all of their results are compared with the definition first. */
function forEachPacket(name: string, size: number, one: (index: number) => number): Contender {
  const bytes = testPackets()
  for (let index = 0; index < PACKETS; index += 1) {
    const expected = crc32cReference(bytes.subarray(index * STRIDE, index * STRIDE + size))
    if (one(index) >>> 0 !== expected) throw new Error(`${name}: wrong CRC32C of ${size} bytes`)
  }
  const run = (times: number) => {
    let sum = 0
    for (let count = 0; count < times; count += 1) sum ^= one(count % PACKETS)
    return sum
  }
  return { name, run }
}

// ── Framing: one call per batch ──────────────────────────────────────────────────────────────────

interface Framing {
  encodePackets(count: number, size: number, from: number, to: number, first: number): number
  decodePackets(from: number, end: number, expected: number): number
}

const MEMORY_PAGES = 64
const PAYLOADS = 0x100000
const PACKETS_AT = 0x200000
/** Numbers and offsets of a connection that has been busy for a while. */
const FIRST_NUMBER = 100_000

/** The core's wire functions and the same in JavaScript, each over a memory of its own. */
class FramingPair {
  private readonly size: number
  private readonly wasm: Framing
  private readonly javaScript: Framing
  private readonly end: number

  constructor(size: number) {
    const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES })
    const module = readFileSync(new URL('../build/bench.wasm', import.meta.url))
    const own = new ArrayBuffer(memory.buffer.byteLength)
    this.size = size
    this.wasm = instantiateCore(module, memory).exports as unknown as Framing
    this.javaScript = new JavaScriptFraming(own)
    for (const buffer of [memory.buffer, own]) {
      fillTestBytes(new Uint8Array(buffer, PAYLOADS, PACKETS * size), 2)
    }
    this.end = this.check(new Uint8Array(memory.buffer), new Uint8Array(own))
  }

  /** Both must write the same bytes, read them alike, and refuse the same broken ones. */
  private check(wasmBytes: Uint8Array, ownBytes: Uint8Array): number {
    const ends = this.both((framing) => this.encode(framing, 0))
    const [end = 0] = ends
    const written = (bytes: Uint8Array) => Buffer.from(bytes.subarray(PACKETS_AT, end))
    const sums = this.both((framing) => framing.decodePackets(PACKETS_AT, end, FIRST_NUMBER))
    const numbers = PACKETS * (FIRST_NUMBER + (PACKETS - 1) / 2)
    const expected = numbers + numbers * this.size + PACKETS * this.size
    const broken = this.both((framing) => framing.decodePackets(PACKETS_AT, end - 1, FIRST_NUMBER))
    const isRight =
      ends.every((other) => other === end) &&
      sums.every((sum) => sum === expected) &&
      broken.every((sum) => sum === -1) &&
      written(wasmBytes).equals(written(ownBytes))
    if (!isRight) throw new Error(`framing of ${this.size} bytes: ${ends} ${sums} ${broken}`)
    return end
  }

  private both(use: (framing: Framing) => number): number[] {
    return [this.wasm, this.javaScript].map(use)
  }

  private encode(framing: Framing, batch: number): number {
    const first = FIRST_NUMBER + (batch & 15) * PACKETS
    return framing.encodePackets(PACKETS, this.size, PAYLOADS, PACKETS_AT, first)
  }

  encoders(): Contender[] {
    return this.contenders((framing, batch) => this.encode(framing, batch))
  }

  /** Reads what the last encoder wrote: the numbers differ, the shape does not. */
  decoders(): Contender[] {
    return this.contenders((framing) => framing.decodePackets(PACKETS_AT, this.end, FIRST_NUMBER))
  }

  private contenders(one: (framing: Framing, batch: number) => number): Contender[] {
    const contender = (name: string, framing: Framing) => ({
      name,
      operations: PACKETS,
      run(times: number) {
        let sum = 0
        for (let batch = 0; batch < times; batch += 1) sum ^= one(framing, batch)
        return sum
      },
    })
    return [contender('core', this.wasm), contender('JavaScript, DataView', this.javaScript)]
  }
}

// ── Report ───────────────────────────────────────────────────────────────────────────────────────

function printGroup({ title, results }: Group): void {
  const [core] = results
  console.log(`\n${title}`)
  console.log(row(['', 'median', 'quartiles', 'min', 'Benchmark.js', 'vs core']))
  for (const result of results) {
    const { meanNs, marginPercent, samples } = result
    console.log(
      row([
        result.name,
        `${ns(result.medianNs)} ns`,
        `${ns(result.quartilesNs[0])}–${ns(result.quartilesNs[1])}`,
        ns(result.minNs),
        `${ns(meanNs)} ±${marginPercent.toFixed(1)} % (${samples})`,
        core ? `${ratio(result, core).toFixed(2)}x` : '',
      ]),
    )
  }
}

const ns = (value: number) => value.toFixed(value < 10 ? 2 : 0)
const WIDTHS = [40, 10, 13, 7, 23, 8]
const row = (cells: readonly string[]) =>
  cells
    .map((cell, index) => (index ? cell.padStart(WIDTHS[index] ?? 0) : cell.padEnd(40)))
    .join(' ')

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { tiny: { type: 'boolean', default: false } } })
  const options = values.tiny ? MICRO_TINY : MICRO_DEFAULTS
  console.log(describeMachine())
  console.log(`${options.rounds} interleaved rounds; times per packet; ratio of medians`)
  const groups = await runMicro(options)
  groups.forEach(printGroup)
  for (const goal of GOALS) {
    const [core, other] = groups.find(({ title }) => title === goal.title)?.results ?? []
    const reached = core && other ? ratio(other, core) : 0
    console.log(
      `\n${goal.title}: core ${reached.toFixed(2)}x ${other?.name}, to reach ${goal.ratio}x`,
    )
    if (!values.tiny && reached < goal.ratio) process.exitCode = 1
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await main()
