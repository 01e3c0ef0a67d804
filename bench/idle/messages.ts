/** What `idle.ts` and its two processes tell each other. */

export interface IdleOrder {
  /** The server's port; undefined: be the server. */
  readonly port?: number
  readonly connections: number
}

/** What a process has done since it began. */
export interface IdleWork {
  readonly cpuMs: number
  readonly atMs: number
  readonly datagramsSent: number
  /** The most JavaScript timers that were pending at once since this was asked last. */
  readonly timersMax: number
}

/** What it holds, after a garbage collection. */
export interface IdleMemory {
  readonly open: number
  /** Connections that came to nothing, or ended, by their code. */
  readonly ended: Readonly<Record<number, number>>
  readonly residentBytes: number
  readonly heapBytes: number
  /** Of the core's fixed memory. */
  readonly coreBytes: number
  readonly backend: string
}
