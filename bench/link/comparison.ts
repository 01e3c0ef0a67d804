/**
 * Compares transports over links, in rounds: in each round every party has the same link, with the
 * same seed, and what counts is its ratio to the kernel's BBR of the same round. Rounds in which the
 * link itself was late are repeated.
 */
import { median } from '../lib/statistics.ts'
import { UnavailableError } from '../lib/two-process.ts'
import { KERNEL_CONTROLLERS, type KernelController, missingForLink } from './emulator.ts'
import type { LinkProfile } from './profiles.ts'
import { type LinkFlow, type LinkSample, measureLink } from './sample.ts'

/** The kernel's TCP with either controller, and our transport; all with room for a long fat path. */
export const LINK_PARTIES = [
  ...KERNEL_CONTROLLERS,
  'punchline+wide',
  'punchline@dgram+wide',
] as const

/** What the others' goodput is compared with, and drops in the queue. */
const REFERENCE = 'bbr'

/** A link this late, as a share of the round trip, measures the machine. */
const LATE_SHARE = 0.1
/** For each round that is wanted, so many may be thrown away. */
const REPEATS_PER_ROUND = 1

export interface LinkComparisonOrder {
  readonly profile: LinkProfile
  /** Names of `LINK_PARTIES`, or of other parties with a `stream` scenario. */
  readonly parties: readonly string[]
  /** Controller of a flow of the kernel's TCP that shares the link. */
  readonly rival?: KernelController
  readonly rounds: number
  readonly windowMs: number
  readonly warmupMs: number
}

export interface LinkRow {
  readonly party: string
  readonly samples: readonly LinkSample[]
  readonly skipped?: string
  readonly failures: readonly string[]
  /** Median of the rounds' ratios to the reference's goodput; absent without a reference. */
  readonly ratio?: number
}

export interface LinkComparison {
  readonly rows: readonly LinkRow[]
  /** Rounds that were thrown away because the link was late. */
  readonly lateRounds: number
}

export async function compareOverLink(
  order: LinkComparisonOrder,
  onProgress: (round: number, party: string) => void = () => {},
): Promise<LinkComparison> {
  const { parties, profile } = order
  const missing = missingForLink()
  const skipped = new Map(missing === '' ? [] : parties.map((party) => [party, missing]))
  const failures = new Map<string, string[]>(parties.map((party) => [party, []]))
  const rounds: Map<string, LinkSample>[] = []
  let lateRounds = 0
  for (let index = 0; rounds.length < order.rounds && skipped.size < parties.length; index++) {
    const round = new Map<string, LinkSample>()
    const shift = index % parties.length
    for (const party of [...parties.slice(shift), ...parties.slice(0, shift)]) {
      if (skipped.has(party)) continue
      onProgress(rounds.length, party)
      try {
        const { windowMs, warmupMs } = order
        const flows = flowsOf(party, order.rival)
        round.set(party, await measureLink({ profile, flows, windowMs, warmupMs, seed: index + 1 }))
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error)
        if (error instanceof UnavailableError) skipped.set(party, reason)
        else failures.get(party)?.push(`round ${rounds.length + 1}: ${reason}`)
      }
    }
    const isLate = [...round.values()].some((sample) => wasLate(sample, profile))
    if (isLate && lateRounds < order.rounds * REPEATS_PER_ROUND) lateRounds += 1
    else rounds.push(round)
  }
  const rows = parties.map((party): LinkRow => {
    const reason = skipped.get(party)
    const ratios = rounds.flatMap((round) => {
      const [goodput] = round.get(party)?.goodputs ?? []
      const [reference] = round.get(REFERENCE)?.goodputs ?? []
      return goodput === undefined || reference === undefined ? [] : [goodput / reference]
    })
    return {
      party,
      samples: rounds.flatMap((round) => round.get(party) ?? []),
      failures: failures.get(party) ?? [],
      ...(reason !== undefined && { skipped: reason }),
      ...(ratios.length > 0 && { ratio: median(ratios) }),
    }
  })
  return { rows, lateRounds }
}

/** The flow of a party, and the one that it shares the link with. */
function flowsOf(party: string, rival: KernelController | undefined): LinkFlow[] {
  const flows = [flowOf(party)]
  if (rival !== undefined) flows.push(flowOf(rival))
  return flows
}

function flowOf(party: string): LinkFlow {
  const controller = KERNEL_CONTROLLERS.find((name) => name === party)
  return controller === undefined ? { party, controller: 'cubic' } : { party: 'net', controller }
}

/** Whether the link was late; the way back matters as much, it carries the acknowledgements. */
export function wasLate({ link }: LinkSample, { rttMs }: LinkProfile): boolean {
  const latest = Math.max(link.there.latenessMicros.p99, link.back.latenessMicros.p99)
  return latest > rttMs * 1_000 * LATE_SHARE
}
