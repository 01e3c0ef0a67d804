/** Repainting more often costs more than it tells. */
const REPAINT_MS = 100
const BAR_WIDTH = 24

/** A progress bar on a terminal; on anything else it writes nothing. */
export class ProgressBar {
  /** @type {NodeJS.WriteStream} */ #terminal
  /** @type {string} */ #label
  #startedMs = performance.now()
  #paintedMs = Number.NEGATIVE_INFINITY

  /**
   * @param {NodeJS.WriteStream} terminal
   * @param {string} label
   */
  constructor(terminal, label) {
    this.#terminal = terminal
    this.#label = label
  }

  /**
   * @param {number} totalBytes
   * @param {number} sizeBytes
   */
  update(totalBytes, sizeBytes) {
    if (!this.#terminal.isTTY) return
    const nowMs = performance.now()
    if (nowMs - this.#paintedMs < REPAINT_MS && totalBytes < sizeBytes) return
    this.#paintedMs = nowMs
    const seconds = (nowMs - this.#startedMs) / 1_000
    const line = renderProgress(this.#label, totalBytes, sizeBytes, seconds)
    this.#terminal.write(`\r${line.slice(0, this.#terminal.columns - 1)}\x1b[K`)
  }

  clear() {
    if (this.#terminal.isTTY && this.#paintedMs > 0) this.#terminal.write('\r\x1b[K')
  }
}

/**
 * @param {string} label
 * @param {number} totalBytes
 * @param {number} sizeBytes
 * @param {number} seconds
 */
export function renderProgress(label, totalBytes, sizeBytes, seconds) {
  const share = sizeBytes === 0 ? 1 : totalBytes / sizeBytes
  const filled = Math.floor(share * BAR_WIDTH)
  const bar = '#'.repeat(filled) + '-'.repeat(BAR_WIDTH - filled)
  const percent = String(Math.floor(share * 100)).padStart(3)
  const megabytes = `${(totalBytes / 1e6).toFixed(1)}/${(sizeBytes / 1e6).toFixed(1)} MB`
  const rate = seconds > 0 ? `${(totalBytes / 1e6 / seconds).toFixed(1)} MB/s` : ''
  return `${label.padEnd(8)} [${bar}] ${percent} %  ${megabytes}  ${rate}`
}
