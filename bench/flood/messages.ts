/** What the processes of the flood tell each other. */
export interface ServerReport {
  readonly bytes: number
  readonly memoryBytes: number
  readonly initialsAnswered: number
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
