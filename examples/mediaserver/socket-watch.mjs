import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

const SAMPLE_MS = 50

/** The column of /proc/net/{tcp,udp} that holds the socket's inode. */
const INODE_COLUMN = 9

/**
 * Watches from outside which kernel sockets processes hold: their descriptors, looked up in the
 * kernel's TCP and UDP tables, again and again while they run. Linux only.
 */
export class SocketWatch {
  static isSupported = process.platform === 'linux'

  /** @type {{ pid: number, name: string }[]} */ #processes = []
  /** @type {NodeJS.Timeout | undefined} */ #timer
  #seen = { samples: 0, tcp: new Set(), udp: new Set() }

  /**
   * Begins to watch a process, from its first sample now.
   *
   * @param {string} name
   * @param {number} pid
   */
  add(name, pid) {
    if (!SocketWatch.isSupported) return
    this.#processes.push({ name, pid })
    this.#timer ??= setInterval(() => this.sample(), SAMPLE_MS).unref()
    this.sample()
  }

  /** Looks once; also called at moments of interest, so that short runs are seen too. */
  sample() {
    if (!SocketWatch.isSupported) return
    for (const { name, pid } of this.#processes) {
      const found = listSockets(pid)
      if (found === undefined) continue
      this.#seen.samples += 1
      if (found.tcp > 0) this.#seen.tcp.add(name)
      if (found.udp > 0) this.#seen.udp.add(name)
    }
  }

  /** Ends the watch and tells in how many samples which processes had which kind of socket. */
  finish() {
    clearInterval(this.#timer)
    const { samples, tcp, udp } = this.#seen
    return { samples, tcp: [...tcp], udp: [...udp] }
  }
}

/**
 * Counts a process's TCP and UDP sockets; undefined when it is gone.
 *
 * @param {number} pid
 * @returns {{ tcp: number, udp: number } | undefined}
 */
function listSockets(pid) {
  const inodes = new Set()
  try {
    for (const descriptor of readdirSync(`/proc/${pid}/fd`)) {
      const inode = readDescriptor(`/proc/${pid}/fd/${descriptor}`)
      if (inode !== undefined) inodes.add(inode)
    }
    // The tables of the process's own network namespace.
    return {
      tcp: countIn(`/proc/${pid}/net/tcp`, inodes) + countIn(`/proc/${pid}/net/tcp6`, inodes),
      udp: countIn(`/proc/${pid}/net/udp`, inodes) + countIn(`/proc/${pid}/net/udp6`, inodes),
    }
  } catch (error) {
    const { code } = /** @type {NodeJS.ErrnoException} */ (error)
    // ESRCH and EINVAL: it ended while its files were read.
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EINVAL') return undefined
    throw error
  }
}

/** @param {string} path */
function readDescriptor(path) {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(path))?.[1]
  } catch {
    // Closed since the folder was read.
    return undefined
  }
}

/**
 * @param {string} path
 * @param {Set<string>} inodes
 */
function countIn(path, inodes) {
  let table = ''
  try {
    table = readFileSync(path, 'latin1')
  } catch (error) {
    // Without IPv6 the kernel has no tcp6.
    const { code } = /** @type {NodeJS.ErrnoException} */ (error)
    if (code === 'ENOENT' && path.endsWith('6')) return 0
    throw error
  }
  let count = 0
  for (const line of table.split('\n').slice(1)) {
    if (inodes.has(line.trim().split(/\s+/)[INODE_COLUMN] ?? '')) count += 1
  }
  return count
}
