/**
 * Where a download goes: into a hash only, or into a file. Both end in the SHA-256 of the whole.
 *
 * @typedef {object} Sink
 * @property {(chunk: Buffer, offset: number) => Promise<void>} write
 * @property {(end: number) => Promise<void>} room Waits until bytes up to `end` may be fetched.
 * @property {(reason: unknown) => void} fail Ends every wait: what is missing will not come.
 * @property {(sizeBytes: number) => Promise<string>} finish Answers the SHA-256 in hexadecimal.
 * @property {() => Promise<void>} keep Accepts what was finished: only now the file gets its name.
 * @property {() => Promise<void>} discard Cleans up after a failure.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'

/** Bytes that may be in memory because bytes before them are still missing. */
const REORDER_MAX_BYTES = 32 * 1024 * 1024

/**
 * Hashes a file that arrives in pieces without storing it: early pieces wait in memory.
 *
 * @implements {Sink}
 */
export class HashSink {
  #hash = createHash('sha256')
  #nextOffset = 0
  /** @type {Map<number, Buffer>} */ #early = new Map()
  /** @type {{ end: number, resolve: () => void, reject: (reason: unknown) => void }[]} */
  #waiting = []

  /**
   * @param {Buffer} chunk
   * @param {number} offset
   */
  async write(chunk, offset) {
    if (chunk.length === 0) return
    if (offset !== this.#nextOffset) {
      this.#early.set(offset, chunk)
      return
    }
    this.#append(chunk)
    for (let next = this.#early.get(this.#nextOffset); next !== undefined; ) {
      this.#early.delete(this.#nextOffset)
      this.#append(next)
      next = this.#early.get(this.#nextOffset)
    }
    this.#waiting = this.#waiting.filter((waiter) => {
      if (!this.#hasRoom(waiter.end)) return true
      waiter.resolve()
      return false
    })
  }

  /** @param {number} end */
  async room(end) {
    if (this.#hasRoom(end)) return
    await new Promise((resolve, reject) => {
      this.#waiting.push({ end, resolve: () => resolve(undefined), reject })
    })
  }

  /** @param {unknown} reason */
  fail(reason) {
    for (const waiter of this.#waiting.splice(0)) waiter.reject(reason)
  }

  /** @param {number} sizeBytes */
  async finish(sizeBytes) {
    if (this.#nextOffset !== sizeBytes) {
      throw new Error(`${this.#nextOffset} of ${sizeBytes} bytes arrived`)
    }
    return this.#hash.digest('hex')
  }

  async keep() {}

  async discard() {
    this.#early.clear()
  }

  /** @param {number} end */
  #hasRoom(end) {
    return end <= this.#nextOffset + REORDER_MAX_BYTES
  }

  /** @param {Buffer} chunk */
  #append(chunk) {
    this.#hash.update(chunk)
    this.#nextOffset += chunk.length
  }
}

/**
 * Writes a file. The hash is taken from what is on disk.
 *
 * @implements {Sink}
 */
export class FileSink {
  /** @type {string} */ #path
  /** @type {import('node:fs/promises').FileHandle} */ #handle

  /**
   * @param {string} path
   * @param {import('node:fs/promises').FileHandle} handle
   */
  constructor(path, handle) {
    this.#path = path
    this.#handle = handle
  }

  /** @param {string} path */
  static async create(path) {
    return new FileSink(path, await open(partPath(path), 'w'))
  }

  /**
   * @param {Buffer} chunk
   * @param {number} offset
   */
  async write(chunk, offset) {
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await this.#handle.write(
        chunk,
        done,
        chunk.length - done,
        offset + done,
      )
      done += bytesWritten
    }
  }

  async room() {}

  fail() {}

  /** @param {number} sizeBytes */
  async finish(sizeBytes) {
    const { size } = await this.#handle.stat()
    await this.#handle.close()
    if (size !== sizeBytes) throw new Error(`the file has ${size} bytes instead of ${sizeBytes}`)
    return hashFile(partPath(this.#path))
  }

  async keep() {
    await rename(partPath(this.#path), this.#path)
  }

  async discard() {
    await this.#handle.close()
    await rm(partPath(this.#path), { force: true })
  }
}

/** @param {string} path */
function partPath(path) {
  return `${path}.part`
}

/**
 * Answers the SHA-256 of a file in hexadecimal.
 *
 * @param {string} path
 */
export async function hashFile(path) {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) {
    hash.update(chunk)
  }
  return hash.digest('hex')
}
