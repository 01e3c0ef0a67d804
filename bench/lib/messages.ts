/** What the runner and its peers say to each other over the channel of `child_process.fork`. */
import type { PeerAddress, ScenarioName, Tally, Workload } from './party.ts'

/** The one argument of a peer, as JSON. */
export interface PeerOrder {
  readonly scenario: ScenarioName
  /** A name of `parties.ts`, or the URL of a module whose default export is a party. */
  readonly party: string
  readonly workload: Workload
  /** Where the server is; the peer is the client then, the server otherwise. */
  readonly address?: PeerAddress
}

export type RunnerMessage =
  | { readonly type: 'begin' }
  /** `settled`: collect garbage first, to compare memory. */
  | { readonly type: 'mark'; readonly isSettled: boolean }
  | { readonly type: 'finish' }

export type PeerMessage =
  | { readonly type: 'ready'; readonly address?: PeerAddress; readonly setupMs: number }
  /** The party cannot run here: it is skipped. */
  | { readonly type: 'unavailable'; readonly reason: string }
  | { readonly type: 'failed'; readonly reason: string }
  | { readonly type: 'marked'; readonly snapshot: Snapshot }
  | {
      readonly type: 'finished'
      readonly tally: Tally
      readonly details: Readonly<Record<string, string>>
    }

/** The state of one process at one moment, by its own clock. */
export interface Snapshot {
  readonly atMs: number
  /** User and system time of the process since it started. */
  readonly cpuMicros: number
  readonly done: number
  /** Without V8's young generation. */
  readonly residentBytes: number
  readonly figures: Readonly<Record<string, number>>
  /** Of the round trips since the snapshot before. */
  readonly latency?: {
    readonly count: number
    readonly p50Micros: number
    readonly p99Micros: number
  }
}
