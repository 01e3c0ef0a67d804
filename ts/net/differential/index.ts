/** All scripts, by area. */
import { connectingScenarios } from './connecting.ts'
import { dataScenarios } from './data.ts'
import { endingScenarios } from './ending.ts'
import { listeningScenarios } from './listening.ts'
import { moduleScenarios } from './module.ts'
import { surroundingsScenarios } from './surroundings.ts'

export { builtinSide, runBoth, type Scenario, type Side } from './harness.ts'

export const scenarios = [
  ...moduleScenarios,
  ...listeningScenarios,
  ...connectingScenarios,
  ...dataScenarios,
  ...endingScenarios,
  ...surroundingsScenarios,
]
