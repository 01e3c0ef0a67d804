import { type ChildProcess, fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { EventHash, FATES } from './event-log.ts'
import {
  replayCommand,
  type Scenario,
  type ScenarioOptions,
  type ScenarioResult,
} from './scenario.ts'

const USAGE = `usage: sim [--scenario NAME] [--seeds COUNT] [--first SEED] [--workers COUNT]
       sim [--scenario NAME] --seed SEED [--verbose] [--flip GENERATOR:DRAW]
       sim --list

  --scenario NAME   default: the first of the list
  --seeds COUNT     how many seeds, spread over worker processes (default 50)
  --first SEED      where they begin (default 0)
  --workers COUNT   worker processes (default: one per core)
  --seconds COUNT   real time that one seed may take (default 600)
  --seed SEED       repeats one seed in this process
  --verbose         prints everything that happens to every datagram
  --flip NAME:DRAW  inverts one draw of one generator, such as "link client>server:17"
`

/** One of so many seeds is run a second time, in whichever process: the hashes must be equal. */
const REPEAT_EVERY = 100
/** Loading the script, compiling included, on a machine that is busy with other things. */
const WORKER_START_LIMIT_MS = 120_000
/** A fault or a limit must show in this share of the seeds, when there are enough of them. */
const MARK_SHARE_MIN = 0.05
const MARKED_SEEDS_MIN = 200
const LOG_CHUNK_CHARS = 64 * 1024

export interface RunnerOptions {
  /** The script that worker processes run; it calls `simulate`, too. Default: this process's own. */
  readonly script?: string
  readonly print?: (text: string) => void
}

interface Job {
  readonly scenario: string
  readonly seed: number
  readonly isRepeat: boolean
}

type Answer = { readonly result: ScenarioResult } | { readonly failure: string } | 'ready'

/**
 * The command line of a simulator: runs seeds of a scenario over worker processes, or repeats one.
 * `args` are those after the script's name. Answers the exit code: 0, or 1 when a seed failed, or 2
 * for arguments that make no sense.
 */
export async function simulate(
  scenarios: readonly Scenario[],
  args: readonly string[],
  options: RunnerOptions = {},
): Promise<number> {
  const print = options.print ?? ((text: string) => void process.stdout.write(text))
  let command: Command
  try {
    command = parseCommand(scenarios, args)
  } catch (error) {
    print(`${messageOf(error)}\n\n${USAGE}`)
    return 2
  }
  switch (command.kind) {
    case 'list':
      for (const { name } of scenarios) print(`${name}\n`)
      return 0
    case 'work':
      await work(scenarios)
      return 0
    case 'replay':
      return replay(command, print)
    case 'swarm':
      return new Swarm(command, options.script ?? (process.argv[1] as string), print).run()
  }
}

type Command =
  | { readonly kind: 'list' }
  | { readonly kind: 'work' }
  | ({ readonly kind: 'replay'; readonly scenario: Scenario } & Replay)
  | ({ readonly kind: 'swarm'; readonly scenario: Scenario } & SwarmPlan)

interface Replay {
  readonly seed: number
  readonly isVerbose: boolean
  readonly flip: ScenarioOptions['flip']
}

interface SwarmPlan {
  readonly first: number
  readonly count: number
  readonly workerCount: number
  readonly seedLimitMs: number
}

function parseCommand(scenarios: readonly Scenario[], args: readonly string[]): Command {
  const { values } = parseArgs({
    args: [...args],
    options: {
      scenario: { type: 'string' },
      seeds: { type: 'string' },
      first: { type: 'string' },
      workers: { type: 'string' },
      seconds: { type: 'string' },
      seed: { type: 'string' },
      verbose: { type: 'boolean' },
      flip: { type: 'string' },
      list: { type: 'boolean' },
      worker: { type: 'boolean' },
    },
  })
  if (values.list) return { kind: 'list' }
  if (values.worker) return { kind: 'work' }
  const name = values.scenario ?? scenarios[0]?.name
  const scenario = scenarios.find((candidate) => candidate.name === name)
  if (scenario === undefined) throw new RangeError(`there is no scenario "${name}"`)
  if (values.seed !== undefined) {
    return {
      kind: 'replay',
      scenario,
      seed: parseInteger('--seed', values.seed, 0),
      isVerbose: values.verbose ?? false,
      flip: values.flip === undefined ? undefined : parseFlip(values.flip),
    }
  }
  return {
    kind: 'swarm',
    scenario,
    first: parseInteger('--first', values.first ?? '0', 0),
    count: parseInteger('--seeds', values.seeds ?? '50', 1),
    workerCount: parseInteger('--workers', values.workers ?? `${availableParallelism()}`, 1),
    seedLimitMs: parseInteger('--seconds', values.seconds ?? '600', 1) * 1_000,
  }
}

function parseInteger(name: string, text: string, min: number): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < min) {
    throw new RangeError(`${name} wants an integer, ${min} or more, not "${text}"`)
  }
  return value
}

function parseFlip(text: string): { label: string; draw: number } {
  const [, label, draw] = /^(.+):(\d+)$/.exec(text) ?? []
  if (label === undefined) throw new RangeError(`--flip wants GENERATOR:DRAW, not "${text}"`)
  return { label, draw: Number(draw) }
}

function replay(
  { scenario, seed, isVerbose, flip }: Replay & { scenario: Scenario },
  print: (text: string) => void,
): number {
  let pending = ''
  const log = (line: string) => {
    pending += `${line}\n`
    if (pending.length < LOG_CHUNK_CHARS) return
    print(pending)
    pending = ''
  }
  const options = { ...(isVerbose ? { log } : {}), ...(flip === undefined ? {} : { flip }) }
  let code = 0
  try {
    const result = scenario.run(seed, options)
    log(`${scenario.name}, seed ${seed}: passed`)
    log(`hash ${result.hash}, ${result.virtualMicros / 1e6} simulated s, ${result.events} events`)
    for (const [name, value] of Object.entries({
      ...result.counts,
      ...result.figures,
      ...result.marks,
    })) {
      if (value !== 0) log(`  ${name} ${value}`)
    }
  } catch (error) {
    log(`${scenario.name}, seed ${seed}: FAILED: ${error instanceof Error ? error.stack : error}`)
    code = 1
  }
  print(pending)
  return code
}

/** A worker process: answers jobs until its parent goes away. */
function work(scenarios: readonly Scenario[]): Promise<void> {
  process.on('message', (job: Job) => {
    let answer: Answer
    try {
      const scenario = scenarios.find(({ name }) => name === job.scenario)
      if (scenario === undefined) throw new RangeError(`there is no scenario "${job.scenario}"`)
      answer = { result: scenario.run(job.seed) }
    } catch (error) {
      answer = { failure: messageOf(error) }
    }
    process.send?.(answer)
  })
  process.send?.('ready')
  return new Promise((resolve) => process.once('disconnect', resolve))
}

/** Runs many seeds over worker processes and tells what came of them. */
class Swarm {
  private readonly plan: SwarmPlan & { readonly scenario: Scenario }
  private readonly script: string
  private readonly print: (text: string) => void
  private readonly jobs: Job[] = []
  private nextJob = 0
  private readonly results = new Map<number, ScenarioResult>()
  private readonly repeats = new Map<number, ScenarioResult>()
  private readonly failures = new Map<number, string>()
  /** Faults and limits that too few seeds have met. */
  private readonly unmet: string[] = []

  constructor(
    plan: SwarmPlan & { readonly scenario: Scenario },
    script: string,
    print: (text: string) => void,
  ) {
    this.plan = plan
    this.script = script
    this.print = print
    const scenario = plan.scenario.name
    for (let index = 0; index < plan.count; index++) {
      this.jobs.push({ scenario, seed: plan.first + index, isRepeat: false })
    }
    for (let index = 0; index < plan.count; index += REPEAT_EVERY) {
      this.jobs.push({ scenario, seed: plan.first + index, isRepeat: true })
    }
  }

  async run(): Promise<number> {
    const { count, first, workerCount, scenario } = this.plan
    const beganAt = process.hrtime.bigint()
    this.print(`${scenario.name}: ${count} seeds from ${first}, ${workerCount} workers\n`)
    const workers = Math.min(workerCount, this.jobs.length)
    await Promise.all(Array.from({ length: workers }, () => this.runWorkers()))
    this.compareRepeats()
    this.summarize(Number(process.hrtime.bigint() - beganAt) / 1e9)
    return this.failures.size === 0 && this.unmet.length === 0 ? 0 : 1
  }

  /** Keeps one worker busy, and puts another in its place when it dies. */
  private async runWorkers(): Promise<void> {
    while (this.nextJob < this.jobs.length) {
      const worker = fork(this.script, ['--worker'])
      const start = await this.ask(worker, undefined, WORKER_START_LIMIT_MS)
      if (start !== 'ready') throw new Error(failureOf(start))
      for (
        let job = this.jobs[this.nextJob++];
        job !== undefined;
        job = this.jobs[this.nextJob++]
      ) {
        this.note(job, await this.ask(worker, job, this.plan.seedLimitMs))
        if (!worker.connected) break
      }
      if (worker.connected) worker.disconnect()
      await hasExited(worker)
    }
  }

  /** Waits for the answer to a job, or without one for the worker's first word. */
  private ask(worker: ChildProcess, job: Job | undefined, limitMs: number): Promise<Answer> {
    return new Promise((resolve) => {
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        worker.kill('SIGKILL')
      }, limitMs)
      const settle = (answer: Answer) => {
        clearTimeout(timer)
        worker.off('message', onMessage)
        worker.off('exit', onExit)
        worker.off('error', onError)
        resolve(answer)
      }
      const onMessage = (answer: unknown) => settle(answer as Answer)
      const onExit = (code: number | null, signal: string | null) => {
        const how = isLate ? `no result after ${limitMs / 1_000} s` : `died (${signal ?? code})`
        settle({ failure: `the worker process: ${how}` })
      }
      const onError = (error: Error) => settle({ failure: `the worker process: ${error.message}` })
      worker.on('message', onMessage)
      worker.on('exit', onExit)
      worker.on('error', onError)
      if (job !== undefined) worker.send(job)
    })
  }

  private note(job: Job, answer: Answer): void {
    if (answer === 'ready' || 'failure' in answer) this.fail(job.seed, failureOf(answer))
    else (job.isRepeat ? this.repeats : this.results).set(job.seed, answer.result)
  }

  private fail(seed: number, reason: string): void {
    if (this.failures.has(seed)) return
    this.failures.set(seed, reason)
    const command = replayCommand(this.plan.scenario.name, seed)
    this.print(`FAILED seed ${seed}: ${reason}\n  replay: ${command}\n`)
  }

  private compareRepeats(): void {
    for (const [seed, repeat] of this.repeats) {
      const hash = this.results.get(seed)?.hash
      if (hash !== undefined && hash !== repeat.hash) {
        this.fail(seed, `two runs differ: hash ${hash}, then ${repeat.hash}`)
      }
    }
  }

  private summarize(realSeconds: number): void {
    const results = [...this.results].sort(([a], [b]) => a - b).map(([, result]) => result)
    const sum = (pick: (result: ScenarioResult) => number) =>
      results.reduce((total, result) => total + pick(result), 0)
    const hash = new EventHash()
    for (const result of results) hash.foldText(result.hash)
    const simulatedSeconds = sum(({ virtualMicros }) => virtualMicros) / 1e6
    const share = (value: number) => `${((100 * value) / Math.max(1, results.length)).toFixed(0)} %`
    const lines = [
      `${this.plan.count} seeds, ${this.failures.size} failed; ${this.repeats.size} run twice`,
      `${(simulatedSeconds / 3_600).toFixed(2)} simulated h in ${realSeconds.toFixed(1)} s ` +
        `(${(simulatedSeconds / realSeconds).toFixed(0)} simulated s per s)`,
      `${sum(({ counts }) => counts.sent)} datagrams, ${sum(({ events }) => events)} events`,
      `hash of all ${hash}`,
      '',
      row('fate', 'datagrams', 'of seeds'),
      ...FATES.map((fate) => {
        const seeds = results.filter(({ counts }) => counts[fate] > 0).length
        return row(fate, `${sum(({ counts }) => counts[fate])}`, share(seeds))
      }),
      '',
      row('figure', 'median', 'maximum', 'sum'),
    ]
    for (const name of Object.keys(results[0]?.figures ?? {})) {
      const values = results.map(({ figures }) => figures[name] ?? 0).sort((a, b) => a - b)
      const median = values[values.length >> 1] ?? 0
      const total = values.reduce((a, b) => a + b, 0)
      lines.push(row(name, median.toFixed(3), (values.at(-1) ?? 0).toFixed(3), total.toFixed(1)))
    }
    const marks = Object.keys(results[0]?.marks ?? {})
    if (marks.length > 0) lines.push('', row('what struck', 'times', 'of seeds'))
    for (const name of marks) {
      const met = results.filter(({ marks }) => (marks?.[name] ?? 0) > 0).length
      lines.push(row(name, `${sum(({ marks }) => marks?.[name] ?? 0)}`, share(met)))
      if (results.length >= MARKED_SEEDS_MIN && met < MARK_SHARE_MIN * results.length) {
        this.unmet.push(name)
      }
    }
    if (this.unmet.length > 0) {
      lines.push('', `FAILED: fewer than ${100 * MARK_SHARE_MIN} % of seeds met: ${this.unmet}`)
    }
    this.print(`${lines.join('\n')}\n`)
  }
}

function row(name: string, ...columns: readonly string[]): string {
  const cells = columns.map((column, index) => column.padStart(index === 0 ? 14 : 12))
  return `${name.padEnd(24)}${cells.join('')}`
}

function failureOf(answer: Answer): string {
  return answer !== 'ready' && 'failure' in answer ? answer.failure : 'an answer out of turn'
}

function hasExited(worker: ChildProcess): Promise<void> {
  if (worker.exitCode !== null || worker.signalCode !== null || worker.pid === undefined) {
    return Promise.resolve()
  }
  return new Promise((resolve) => worker.once('exit', () => resolve()))
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = (error as { code?: unknown }).code
  return typeof code === 'string' ? `${code}: ${error.message}` : `${error.name}: ${error.message}`
}
