/** Codes of `SimulationError`. People match on the code; messages may change. */
export const SIMULATION_ERROR_CODES = {
  ERR_PUNCHLINE_SIM_LIMIT: 'a bound of the world was reached: events, or datagrams in flight',
  ERR_PUNCHLINE_SIM_ENGINE: 'an engine broke the contract: it takes nothing, or never settles',
  ERR_PUNCHLINE_SIM_ADDRESS: 'an address is malformed or taken, or a port is taken',
  ERR_PUNCHLINE_SIM_CHECK: 'a scenario saw something that must not happen',
} as const

export type SimulationErrorCode = keyof typeof SIMULATION_ERROR_CODES

/** Thrown by worlds and scenarios. A seed that ends in one is repeated by its replay command. */
export class SimulationError extends Error {
  readonly code: SimulationErrorCode

  constructor(code: SimulationErrorCode, message: string) {
    super(message)
    this.name = 'SimulationError'
    this.code = code
  }
}
