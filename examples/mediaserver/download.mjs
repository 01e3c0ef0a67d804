/**
 * Ways to fetch one file over HTTP: whole, in parallel ranges, and on after a broken connection.
 * Every byte goes to a sink (`sinks.mjs`) with its offset.
 */
import { randomInt } from 'node:crypto'
import { Agent, request as httpRequest } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'

/** Attempts that bring nothing, one after the other, until the fetch is given up. */
const FRUITLESS_ATTEMPTS_MAX = 5
const RETRY_DELAY_MS = 100

/** A parallel fetch asks for pieces no larger than this, so that a broken one costs little. */
const PIECE_SIZE_MAX_BYTES = 4 * 1024 * 1024

/**
 * @typedef {import('./sinks.mjs').Sink} Sink
 * @typedef {import('node:http').IncomingMessage} Answer
 * @typedef {{ sizeBytes: number, validator: string | undefined }} Identity What must not change
 *   between two requests for one file. Without a validator no answer can be continued.
 * @typedef {{ requests: number, resumedAt: number[], cuts: number }} Tally
 * @typedef {(totalBytes: number, sizeBytes: number) => void} ProgressListener
 */

/** An answer that repeating the request would not change. */
export class DownloadError extends Error {}

/** One file on one server, and the connections to it. */
export class Remote {
  /** @type {URL} */ url
  /** @type {Agent} */ #agent
  /** @type {number} */ #idleTimeoutMs
  /** @type {Tally} */ tally = { requests: 0, resumedAt: [], cuts: 0 }

  /**
   * @param {URL} url
   * @param {{ connectionsMax: number, idleTimeoutMs: number }} options
   */
  constructor(url, options) {
    this.url = url
    this.#agent = new Agent({ keepAlive: true, maxSockets: options.connectionsMax })
    this.#idleTimeoutMs = options.idleTimeoutMs
  }

  /**
   * Sends one request and answers when the head of its response is there.
   *
   * @param {'GET' | 'HEAD'} method
   * @param {Record<string, string>} [headers]
   * @returns {Promise<Answer>}
   */
  send(method, headers = {}) {
    this.tally.requests += 1
    return new Promise((resolve, reject) => {
      const request = httpRequest(this.url, { method, headers, agent: this.#agent })
      request.setTimeout(this.#idleTimeoutMs, () => {
        request.destroy(new Error(`nothing heard for ${this.#idleTimeoutMs} ms`))
      })
      request.on('response', resolve)
      request.on('error', reject)
      request.end()
    })
  }

  close() {
    this.#agent.destroy()
  }
}

/**
 * Fetches the file with one request; goes on where a broken connection left off.
 *
 * @param {Remote} remote
 * @param {Sink} sink
 * @param {ProgressListener} onProgress
 */
export async function fetchWhole(remote, sink, onProgress) {
  return fetchFromStart(remote, sink, onProgress, () => [])
}

/**
 * Fetches the file and cuts the connection itself, in the middle of the body, at each offset given
 * (or at one random offset), then goes on with Range and If-Range.
 *
 * @param {Remote} remote
 * @param {Sink} sink
 * @param {ProgressListener} onProgress
 * @param {{ cutOffsets: number[] | 'random' }} options
 */
export async function fetchResumed(remote, sink, onProgress, { cutOffsets }) {
  const sizeBytes = await fetchFromStart(remote, sink, onProgress, (size) => {
    if (size < 2) throw new DownloadError(`${size} bytes have no middle to be cut in`)
    const offsets = cutOffsets === 'random' ? [randomInt(1, size)] : cutOffsets
    for (const offset of offsets) {
      if (offset < 1 || offset >= size) {
        throw new DownloadError(`cannot cut at ${offset}: the file has ${size} bytes`)
      }
    }
    return offsets.toSorted((a, b) => a - b)
  })
  if (remote.tally.cuts === 0 || remote.tally.resumedAt.length === 0) {
    throw new DownloadError('the file arrived without having been resumed')
  }
  return sizeBytes
}

/**
 * Fetches the file as many ranges, `connections` of them at a time.
 *
 * @param {Remote} remote
 * @param {Sink} sink
 * @param {ProgressListener} onProgress
 * @param {{ connections: number }} options
 */
export async function fetchParallel(remote, sink, onProgress, { connections }) {
  const head = await remote.send('HEAD')
  head.resume()
  if (head.statusCode !== 200) throw unexpected(head)
  const identity = identify(head)
  if (identity.validator === undefined || head.headers['accept-ranges'] !== 'bytes') {
    throw new DownloadError('the server offers no ranges of this file')
  }
  const { sizeBytes } = identity
  const pieceBytes = Math.max(1, Math.min(PIECE_SIZE_MAX_BYTES, Math.ceil(sizeBytes / connections)))
  let nextOffset = 0
  let totalBytes = 0
  let failed = false

  const fetchPieces = async () => {
    while (nextOffset < sizeBytes && !failed) {
      const first = nextOffset
      nextOffset = Math.min(sizeBytes, first + pieceBytes)
      const span = { first, end: nextOffset }
      await sink.room(span.end)
      await fetchSpan(remote, span, identity, async (chunk, offset) => {
        await sink.write(chunk, offset)
        totalBytes += chunk.length
        onProgress(totalBytes, sizeBytes)
      })
    }
  }
  const guarded = async () => {
    try {
      await fetchPieces()
    } catch (error) {
      // The others may wait for this one's bytes: nothing that they still bring is of use.
      failed = true
      sink.fail(error)
      throw error
    }
  }
  await Promise.all(Array.from({ length: connections }, guarded))
  return sizeBytes
}

/**
 * @param {Remote} remote
 * @param {Sink} sink
 * @param {ProgressListener} onProgress
 * @param {(sizeBytes: number) => number[]} planCuts Where to cut the connection, ascending.
 */
async function fetchFromStart(remote, sink, onProgress, planCuts) {
  const answer = await remote.send('GET')
  if (answer.statusCode !== 200) throw abandon(answer, unexpected(answer))
  const identity = identify(answer)
  const { sizeBytes } = identity
  let cuts
  try {
    cuts = planCuts(sizeBytes)
  } catch (error) {
    throw abandon(answer, error)
  }
  const take = async (/** @type {Buffer} */ chunk, /** @type {number} */ offset) => {
    await sink.write(chunk, offset)
    onProgress(offset + chunk.length, sizeBytes)
  }
  await fetchSpan(remote, { first: 0, end: sizeBytes }, identity, take, { cuts, answer })
  return sizeBytes
}

/**
 * Fetches `span.first` up to (not including) `span.end`, with as many requests as it takes.
 *
 * @param {Remote} remote
 * @param {{ first: number, end: number }} span
 * @param {Identity} identity
 * @param {(chunk: Buffer, offset: number) => Promise<void>} take
 * @param {{ cuts?: number[], answer?: Answer }} [start] The answer to read first, when it is
 *   there already.
 */
async function fetchSpan(remote, span, identity, take, start = {}) {
  const cuts = [...(start.cuts ?? [])]
  let answer = start.answer
  let offset = span.first
  let fruitless = 0
  if (span.first === span.end) answer?.resume()
  while (offset < span.end) {
    const offsetBefore = offset
    try {
      answer ??= await askForRange(remote, { first: offset, end: span.end }, identity)
      if (offset > span.first) remote.tally.resumedAt.push(offset)
      for await (const data of answer) {
        const chunk = /** @type {Buffer} */ (data)
        const cutAt = cuts[0] ?? Number.POSITIVE_INFINITY
        const end = offset + chunk.length
        if (end > span.end) throw new DownloadError('the server sent more than it announced')
        // What arrived behind the cut is thrown away: it could just as well not have arrived.
        const used = end > cutAt ? chunk.subarray(0, cutAt - offset) : chunk
        await take(used, offset)
        offset += used.length
        if (offset >= cutAt) {
          cuts.shift()
          remote.tally.cuts += 1
          answer.socket.destroy()
          break
        }
      }
    } catch (error) {
      answer?.destroy()
      if (error instanceof DownloadError) throw error
      fruitless = offset > offsetBefore ? 0 : fruitless + 1
      if (fruitless > FRUITLESS_ATTEMPTS_MAX) throw error
      await delay(RETRY_DELAY_MS * 2 ** Math.max(0, fruitless - 1))
    }
    answer = undefined
  }
}

/**
 * @param {Remote} remote
 * @param {{ first: number, end: number }} span
 * @param {Identity} identity
 * @returns {Promise<Answer>}
 */
async function askForRange(remote, span, identity) {
  if (identity.validator === undefined) {
    throw new DownloadError('the connection broke, and the server gave no ETag to go on with')
  }
  const answer = await remote.send('GET', {
    Range: `bytes=${span.first}-${span.end - 1}`,
    'If-Range': identity.validator,
  })
  if (answer.statusCode === 200) {
    throw abandon(answer, new DownloadError('the file changed while it was fetched'))
  }
  const expected = `bytes ${span.first}-${span.end - 1}/${identity.sizeBytes}`
  if (answer.statusCode !== 206) throw abandon(answer, unexpected(answer))
  if (answer.headers['content-range'] !== expected) {
    const got = answer.headers['content-range']
    throw abandon(answer, new DownloadError(`asked for ${expected}, got ${got}`))
  }
  return answer
}

/**
 * @param {Answer} answer
 * @returns {Identity}
 */
function identify(answer) {
  const length = answer.headers['content-length']
  if (length === undefined || !/^\d+$/.test(length)) {
    throw abandon(answer, new DownloadError('the server does not say how long the file is'))
  }
  const { etag } = answer.headers
  // RFC 9110 §13.1.5: a weak tag cannot be used with If-Range.
  const isStrong = etag !== undefined && !etag.startsWith('W/')
  return { sizeBytes: Number(length), validator: isStrong ? etag : undefined }
}

/** @param {Answer} answer */
function unexpected(answer) {
  return new DownloadError(`the server answered ${answer.statusCode} ${answer.statusMessage}`)
}

/**
 * Leaves an answer unread, and its connection with it.
 *
 * @template E
 * @param {Answer} answer
 * @param {E} error
 */
function abandon(answer, error) {
  answer.on('error', () => {})
  answer.destroy()
  return error
}
