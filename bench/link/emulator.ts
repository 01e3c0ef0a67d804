/** The link between two network namespaces: the process that `emulator.cc` is, and its words. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { LinkProfile } from './profiles.ts'

const PROGRAM = fileURLToPath(new URL('../../build/native/Release/link-emulator', import.meta.url))

/** Where packets are sent from, and where to; the second one is for a rival flow. */
export const RECEIVERS = ['192.0.2.2', '192.0.2.3'] as const

/** Controllers of the kernel's TCP. */
export const KERNEL_CONTROLLERS = ['bbr', 'cubic'] as const
export type KernelController = (typeof KERNEL_CONTROLLERS)[number]

export interface DirectionStats {
  readonly sent: number
  readonly delivered: number
  readonly deliveredBytes: number
  readonly queueDrops: number
  readonly losses: number
  readonly heldBack: number
  readonly queueMicros: { readonly p50: number; readonly p95: number; readonly max: number }
  /** How much later than planned packets were handed over. */
  readonly latenessMicros: { readonly p50: number; readonly p99: number }
}

export interface LinkStats {
  /** From the sender to the receivers. */
  readonly there: DirectionStats
  readonly back: DirectionStats
}

/** Says why no link can be made on this machine, or an empty text. */
export function missingForLink(): string {
  if (process.platform !== 'linux') return 'network namespaces are for Linux'
  if (!existsSync(PROGRAM)) return 'the link is not built: npm run build:native'
  for (const [command, option] of [['ip', '-V'] as const, ['nsenter', '-V'] as const]) {
    if (spawnSync(command, [option]).status !== 0) return `no ${command}`
  }
  // It says itself what it may not do.
  const { status, stderr } = spawnSync(PROGRAM, { input: '', encoding: 'utf8' })
  return status === 0 ? '' : stderr.trim() || `the link ended with ${status}`
}

/** A running link. */
export class LinkEmulator {
  /** Paths of the two network namespaces. */
  readonly spaces: { readonly sender: string; readonly receiver: string }
  private readonly child: ChildProcess
  private readonly answers: AsyncIterator<string>

  private constructor(
    child: ChildProcess,
    answers: AsyncIterator<string>,
    spaces: LinkEmulator['spaces'],
  ) {
    this.child = child
    this.answers = answers
    this.spaces = spaces
  }

  /** `controllers`: of the kernel's TCP towards the receivers. */
  static async start(
    profile: LinkProfile,
    seed: number,
    controllers: readonly KernelController[],
  ): Promise<LinkEmulator> {
    const child = spawn(PROGRAM, words(profile, seed, controllers), {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    const lines: Interface = createInterface({ input: child.stdout })
    const answers = lines[Symbol.asyncIterator]()
    return new LinkEmulator(child, answers, await read(answers))
  }

  /** Begins to count anew. */
  reset(): void {
    this.child.stdin?.write('reset\n')
  }

  async stats(): Promise<LinkStats> {
    this.child.stdin?.write('stats\n')
    return read(this.answers)
  }

  async close(): Promise<void> {
    const exited = this.child.exitCode === null ? once(this.child, 'exit') : undefined
    this.child.stdin?.end()
    await exited
  }
}

async function read<T>(answers: AsyncIterator<string>): Promise<T> {
  const { value, done } = await answers.next()
  if (done === true) throw new Error('the link ended')
  return JSON.parse(value)
}

/** The arguments of the program. */
function words(
  profile: LinkProfile,
  seed: number,
  [congestion = 'cubic', rival = 'cubic']: readonly KernelController[],
): string[] {
  const { jitterMs = 0, loss = 0, bursts, reorder } = profile
  const settings = {
    rate: profile.rateBitsPerSecond,
    delay: profile.rttMs * 500,
    queue: profile.queueBytes,
    jitter: jitterMs * 1_000,
    loss,
    ...(bursts && { enter: bursts.enter, leave: bursts.leave, burst: bursts.loss }),
    ...(reorder && { reorder: reorder.chance, hold: reorder.holdMs * 1_000 }),
    seed,
    congestion,
    rival,
  }
  return Object.entries(settings).map(([name, value]) => `${name}=${value}`)
}
