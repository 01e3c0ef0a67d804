/** What the processes of the flood tell each other. */
export interface ServerReport {
  readonly bytes: number
  readonly memoryBytes: number
  /** Of that, objects in the heap: the rest is the core's fixed memory, and buffers in passing. */
  readonly heldBytes: number
  readonly cookiesSent: number
  readonly datagramsReceived: number
}

export interface FloodOrder {
  readonly port: number
  /** Initial packets per second; 0 stops. */
  readonly rate: number
}

export interface FloodReport {
  readonly sent: number
}
