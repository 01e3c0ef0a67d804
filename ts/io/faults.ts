/**
 * Faults on purpose: `PUNCHLINE_FAULTS` makes the driver lose, double, alter or hold back datagrams
 * that it sends, so that a program can be tried on a bad network without one. Datagrams are dropped
 * after the send call was counted.
 *
 *     loss=5%                       one of 20 is lost
 *     loss=1%,blackout=3s@2s        and nothing passes from second 2 to second 5
 *     duplicate=1%,corrupt=0.1%     doubled; one bit altered
 *     reorder=2%                    held back for 5 ms; reorder=2%:20ms for 20 ms
 *     seed=7                        the same draws again
 */
import { IoError } from '../errors.ts'
import type { Micros } from '../machine.ts'

export interface Faults {
  /** Shares of datagrams, 0 … 1. */
  readonly loss: number
  readonly duplicate: number
  readonly corrupt: number
  readonly reorder: number
  readonly holdMs: number
  /** Microseconds after the first datagram. */
  readonly blackouts: readonly { readonly from: Micros; readonly to: Micros }[]
  readonly seed: number
}

/** What becomes of a datagram. */
export type Fate = 'send' | 'drop' | 'double' | 'alter' | 'hold'

const NO_FAULTS: Faults = {
  loss: 0,
  duplicate: 0,
  corrupt: 0,
  reorder: 0,
  holdMs: 5,
  blackouts: [],
  seed: 1,
}

/**
 * Reads `PUNCHLINE_FAULTS`.
 * @throws IoError ERR_PUNCHLINE_FAULTS_INVALID naming the part that can't be read
 */
export function parseFaults(text: string): Faults {
  let faults = NO_FAULTS
  for (const part of text.split(',')) {
    const [name, value] = part.trim().split('=')
    if (name === '') continue
    faults = { ...faults, ...parsePart(name as string, value ?? '', faults) }
  }
  return faults
}

function parsePart(name: string, value: string, faults: Faults): Partial<Faults> {
  switch (name) {
    case 'loss':
    case 'duplicate':
    case 'corrupt':
      return { [name]: parseShare(value) }
    case 'reorder': {
      const [share = '', hold] = value.split(':')
      const held = hold === undefined ? {} : { holdMs: parseTime(hold) / 1000 }
      return { reorder: parseShare(share), ...held }
    }
    case 'blackout': {
      const [length = '', start = '0s'] = value.split('@')
      const from = parseTime(start)
      return { blackouts: [...faults.blackouts, { from, to: from + parseTime(length) }] }
    }
    case 'seed':
      if (/^\d{1,9}$/.test(value)) return { seed: Number(value) }
      throw invalid(`seed=${value}`)
    default:
      throw invalid(name)
  }
}

function parseShare(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(text)
  const share = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1)
  if (!(share <= 1)) throw invalid(text)
  return share
}

/** Microseconds. */
function parseTime(text: string): Micros {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(text)
  if (match === null) throw invalid(text)
  const unit = match[2] === 'ms' ? 1e3 : match[2] === 's' ? 1e6 : 6e7
  return Math.round(Number(match[1]) * unit)
}

function invalid(part: string): IoError {
  return new IoError(
    'ERR_PUNCHLINE_FAULTS_INVALID',
    `PUNCHLINE_FAULTS: can't read '${part}'; for example loss=1%,blackout=3s@2s`,
  )
}

/** Decides, datagram by datagram. */
export class FaultDrawer {
  readonly faults: Faults
  /** Datagrams dropped so far. */
  dropped = 0
  private state: number
  private startedAt: Micros | undefined

  constructor(faults: Faults) {
    this.faults = faults
    this.state = Math.imul(faults.seed, 0x9e3779b1) | 1
  }

  draw(now: Micros): Fate {
    this.startedAt ??= now
    const since = now - this.startedAt
    const { faults } = this
    for (const { from, to } of faults.blackouts) {
      if (since >= from && since < to) return this.drop()
    }
    if (this.chance(faults.loss)) return this.drop()
    if (this.chance(faults.corrupt)) return 'alter'
    if (this.chance(faults.reorder)) return 'hold'
    return this.chance(faults.duplicate) ? 'double' : 'send'
  }

  /** Flips one bit of the datagram. */
  alter(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    const bit = this.u32() % (bytes.length * 8)
    bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
  }

  private drop(): Fate {
    this.dropped += 1
    return 'drop'
  }

  private chance(share: number): boolean {
    return share > 0 && this.u32() < share * 2 ** 32
  }

  private u32(): number {
    // Marsaglia's xorshift: good enough for faults.
    let x = this.state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.state = x
    return x >>> 0
  }
}
