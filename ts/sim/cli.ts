import { simulate } from './runner.ts'
import { scenarios } from './scenarios.ts'

// `npm run sim … | head` closes the pipe early: that is no failure of the simulation.
process.stdout.on('error', () => process.exit(0))

simulate(scenarios, process.argv.slice(2)).then((code) => {
  process.exitCode = code
})
