/** One process of a measurement: plays the role that its argument orders, as the runner says. */
import { getHeapSpaceStatistics } from 'node:v8'
import type { PeerMessage, PeerOrder, RunnerMessage, Snapshot } from './messages.ts'
import { findParty } from './parties.ts'
import type { ClientRole, Role, ServerRole } from './party.ts'
import { quantile } from './statistics.ts'

const order: PeerOrder = JSON.parse(process.argv[2] ?? 'null')

function tell(message: PeerMessage): void {
  process.send?.(message)
}

function fail(reason: string): void {
  tell({ type: 'failed', reason })
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

if (!process.connected) throw new Error('a peer is started by the runner: npm run bench')

// The runner is gone, or needs this process no more.
process.on('disconnect', () => process.exit())
process.on('uncaughtException', (error) => fail(error.stack ?? error.message))

/** Makes the role; undefined when the party cannot play it here. */
async function takeRole(): Promise<ServerRole | ClientRole | undefined> {
  const scenarios = await findParty(order.party)
    .then((party) => party.load())
    .catch((error: unknown) => tell({ type: 'unavailable', reason: reasonOf(error) }))
  if (scenarios === undefined) return undefined
  const scenario = scenarios[order.scenario]
  if (scenario === undefined) {
    tell({ type: 'unavailable', reason: `has no scenario "${order.scenario}"` })
    return undefined
  }
  return order.address === undefined
    ? scenario.serve(order.workload, fail)
    : scenario.call(order.address, order.workload, fail)
}

/** V8's young generation: it grows with what passes through, to a limit, and not with what is kept. */
function youngBytes(): number {
  const space = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')
  return space?.physical_space_size ?? 0
}

function takeSnapshot(role: Role, isSettled: boolean): Snapshot {
  if (isSettled) globalThis.gc?.()
  // Read together, before anything here costs time of its own.
  const { user, system } = process.cpuUsage()
  const atMs = performance.now()
  const done = role.done()
  const latencies = 'takeLatencies' in role ? (role as ClientRole).takeLatencies?.() : undefined
  return {
    atMs,
    cpuMicros: user + system,
    done,
    residentBytes: process.memoryUsage.rss() - youngBytes(),
    figures: role.figures?.() ?? {},
    ...(latencies !== undefined && {
      latency: {
        count: latencies.length,
        p50Micros: quantile(latencies, 0.5),
        p99Micros: quantile(latencies, 0.99),
      },
    }),
  }
}

async function obey(role: ServerRole | ClientRole, message: RunnerMessage): Promise<void> {
  switch (message.type) {
    case 'begin':
      if ('begin' in role) role.begin()
      return
    case 'mark':
      tell({ type: 'marked', snapshot: takeSnapshot(role, message.isSettled) })
      return
    case 'finish': {
      // Asked first: a socket that is closed may know less about itself.
      const details = role.details?.() ?? {}
      tell({ type: 'finished', tally: await role.finish(), details })
    }
  }
}

const startedMs = performance.now()
try {
  const role = await takeRole()
  if (role !== undefined) {
    process.on('message', (message: RunnerMessage) => {
      obey(role, message).catch((error: unknown) => fail(reasonOf(error)))
    })
    const address = 'address' in role ? { address: role.address } : {}
    tell({ type: 'ready', ...address, setupMs: performance.now() - startedMs })
  }
} catch (error) {
  fail(reasonOf(error))
}
