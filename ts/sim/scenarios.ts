import { lifeScenario } from './life.ts'
import type { Scenario } from './scenario.ts'
import { stopAndWaitHarness } from './stop-and-wait.ts'
import { swarmScenario } from './swarm.ts'
import { transportHarness } from './transport-harness.ts'

/** What `npm run sim` knows, the default first. */
export const scenarios: readonly Scenario[] = [
  lifeScenario(),
  swarmScenario(transportHarness()),
  swarmScenario(transportHarness({ security: { mode: 'none' } })),
  swarmScenario(stopAndWaitHarness()),
]
