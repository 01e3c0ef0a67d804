/** The scenarios `link` and `share`: what of the command line they need, and how they run. */

import {
  compareOverLink,
  LINK_PARTIES,
  type LinkComparison,
  type LinkComparisonOrder,
} from './comparison.ts'
import { KERNEL_CONTROLLERS } from './emulator.ts'
import { LINK_PROFILES } from './profiles.ts'
import { describeLinkOrder, renderLinkRows } from './report.ts'

/** Alone on a link, or together with a flow of the kernel's TCP. */
export const LINK_SCENARIOS = ['link', 'share'] as const
export type LinkScenario = (typeof LINK_SCENARIOS)[number]

const WINDOW_MS = { link: 10_000, share: 20_000 } as const
/** On a shared link both flows have found each other by then; alone, starting counts. */
const SHARE_WARMUP_MS = 5_000
/** Its queue is one path volume. */
const SHARE_PROFILES = ['wan50']

export interface LinkOptions {
  readonly profiles: readonly string[]
  readonly parties: readonly string[]
  readonly rounds: number
  /** Undefined: what the scenario is measured for. */
  readonly windowMs: number | undefined
}

export interface NamedOrder {
  readonly name: string
  readonly order: LinkComparisonOrder
}

/** @throws Error that says what is not understood. */
export function linkOrders(scenario: LinkScenario, options: LinkOptions): NamedOrder[] {
  const isShared = scenario === 'share'
  const fallback = isShared ? SHARE_PROFILES : Object.keys(LINK_PROFILES)
  const names = options.profiles.length > 0 ? options.profiles : fallback
  return names.flatMap((name) => {
    const profile = LINK_PROFILES[name]
    if (profile === undefined) {
      throw new Error(`no profile "${name}": there are ${Object.keys(LINK_PROFILES).join(', ')}`)
    }
    const common = {
      profile,
      parties: options.parties.length > 0 ? options.parties : LINK_PARTIES,
      rounds: options.rounds,
      windowMs: options.windowMs ?? WINDOW_MS[scenario] * (profile.patience ?? 1),
      warmupMs: isShared ? SHARE_WARMUP_MS : 0,
    }
    if (!isShared) return [{ name, order: common }]
    return KERNEL_CONTROLLERS.map((rival) => ({ name, order: { ...common, rival } }))
  })
}

/** Measures and prints; answers what was found. */
export async function runLinks(
  orders: readonly NamedOrder[],
  showProgress: (text: string) => void,
): Promise<(LinkComparison & NamedOrder)[]> {
  const results: (LinkComparison & NamedOrder)[] = []
  for (const { name, order } of orders) {
    console.log(`\n${describeLinkOrder(name, order)}\n`)
    const comparison = await compareOverLink(order, (round, party) => {
      showProgress(`round ${round + 1} of ${order.rounds}: ${party}`)
    })
    showProgress('')
    console.log(renderLinkRows(comparison, order.rival !== undefined))
    results.push({ name, order, ...comparison })
  }
  return results
}
