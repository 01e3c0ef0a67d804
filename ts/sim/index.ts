/**
 * A network in one process, on a virtual clock, out of one seed: the kit that Punchline tests itself
 * with. Build a `World`, add hosts and links, attach engines, let time pass.
 */

export type { DatagramAddress, DatagramPort, Engine, Machine, Micros, Random } from '../machine.ts'
export { NEVER } from '../machine.ts'
export type { SimAddress, SimIp } from './address.ts'
export { SIMULATION_ERROR_CODES, SimulationError, type SimulationErrorCode } from './errors.ts'
export { FATES, type Fate } from './event-log.ts'
export type * from './harness.ts'
export type {
  Attachment,
  Host,
  HostOptions,
  SimSocket,
  SocketOptions,
} from './host.ts'
export { LIFE_RANGES, type LifeOptions, lifeScenario } from './life.ts'
export { DEFAULT_LINK_PARAMS, type JitterShape, type Link, type LinkParams } from './link.ts'
export { machinePort } from './machine-port.ts'
export type { Nat, NatOptions, NatScope } from './nat.ts'
export { Probe, type ProbedDatagram } from './probe.ts'
export { SeededRandom } from './random.ts'
export { type RunnerOptions, simulate } from './runner.ts'
export {
  check,
  drawLinkParams,
  drawMagnitude,
  type LinkRanges,
  type Range,
  replayCommand,
  resultOf,
  type Scenario,
  type ScenarioOptions,
  type ScenarioResult,
  SWARM_RANGES,
} from './scenario.ts'
export { type SwarmOptions, swarmScenario } from './swarm.ts'
export { type TransportHarnessOptions, transportHarness } from './transport-harness.ts'
export {
  LinkPair,
  type RunEnd,
  type RunLimit,
  World,
  type WorldOptions,
} from './world.ts'
