/** Runs one test file in a process of its own and reads what uvu printed. */
import { spawn } from 'node:child_process'

/** What became of one test file. */
export interface FileResult {
  readonly file: string
  readonly passed: number
  readonly failed: number
  readonly durationMs: number
  /** Everything the file printed, and in the last line why it counts as failed, if for another reason. */
  readonly output: string
}

export interface FileRun {
  readonly file: string
  readonly root: string
  readonly env: NodeJS.ProcessEnv
  /** A program, with arguments, that runs Node. */
  readonly launcher?: readonly string[]
  /** A file that takes longer is killed, with all processes it started. */
  readonly limitMs: number
}

/** Runs the file to its end, or to the limit. Never rejects: what goes wrong is a failure. */
export function runTestFile({
  file,
  root,
  env,
  launcher = [],
  limitMs,
}: FileRun): Promise<FileResult> {
  const startedAt = performance.now()
  // A process group of its own, so that nothing a test starts outlives it.
  const [command = '', ...values] = [...launcher, process.execPath, '--import', 'tsx', file]
  const child = spawn(command, values, {
    cwd: root,
    env: { ...env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  activeGroups.add(child.pid)
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  return new Promise((resolve) => {
    let reason = ''
    const limit = setTimeout(() => {
      reason = `killed after ${limitMs} ms`
      killGroup(child.pid)
    }, limitMs)
    child.on('error', (error) => {
      reason = error.message
    })
    child.on('exit', (code, signal) => {
      reason ||= code === 0 ? '' : `ended with ${signal ?? `exit code ${code}`}`
      // The pipes stay open while a grandchild lives: 'close' comes after the group is gone.
      killGroup(child.pid)
    })
    child.on('close', () => {
      clearTimeout(limit)
      activeGroups.delete(child.pid)
      const durationMs = performance.now() - startedAt
      resolve({ file, durationMs, ...judge(Buffer.concat(chunks).toString(), reason) })
    })
  })
}

const activeGroups = new Set<number | undefined>()

/** Ends every test process that still runs: for a runner that is being interrupted. */
export function killTestProcesses(): void {
  for (const group of activeGroups) killGroup(group)
}

function killGroup(group: number | undefined): void {
  if (group === undefined) return
  try {
    process.kill(process.platform === 'win32' ? group : -group, 'SIGKILL')
  } catch {
    // All of its processes have ended already.
  }
}

/** Counts the cases in uvu's summaries; ending badly or without any summary is a failure too. */
export function judge(
  output: string,
  reason: string,
): Pick<FileResult, 'passed' | 'failed' | 'output'> {
  const sum = (label: string) =>
    [...output.matchAll(new RegExp(`^ {2}${label}: +(\\d+)`, 'gm'))].reduce(
      (total, [, count]) => total + Number(count),
      0,
    )
  const total = sum('Total')
  const passed = sum('Passed')
  // A skipped case is one that nobody ran: it must not look like success.
  const failed = total - passed + sum('Skipped')
  const fault = reason || (total === 0 ? 'no test ran' : '')
  if (failed > 0 || !fault) return { passed, failed, output }
  return { passed, failed: 1, output: `${output}${fault}\n` }
}
