import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readdir, realpath, stat } from 'node:fs/promises'
import { STATUS_CODES } from 'node:http'
import { extname, join, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { chooseRange, evaluatePreconditions, rangeStillValid } from './http-range.mjs'

/**
 * @typedef {import('node:http').IncomingMessage} Request
 * @typedef {import('node:http').ServerResponse} Response
 * @typedef {import('./http-range.mjs').ByteRange} ByteRange
 */

/** Bytes read from disk at a time. */
const READ_SIZE_BYTES = 256 * 1024

/** A listing stops after this many names and says so. */
const LISTING_ENTRIES_MAX = 5_000

const CONTENT_TYPES = new Map([
  ['.aac', 'audio/aac'],
  ['.avi', 'video/x-msvideo'],
  ['.css', 'text/css; charset=utf-8'],
  ['.flac', 'audio/flac'],
  ['.gif', 'image/gif'],
  ['.htm', 'text/html; charset=utf-8'],
  ['.html', 'text/html; charset=utf-8'],
  ['.jpeg', 'image/jpeg'],
  ['.jpg', 'image/jpeg'],
  ['.js', 'text/javascript; charset=utf-8'],
  ['.json', 'application/json'],
  ['.m3u8', 'application/vnd.apple.mpegurl'],
  ['.m4a', 'audio/mp4'],
  ['.m4s', 'video/iso.segment'],
  ['.m4v', 'video/mp4'],
  ['.mkv', 'video/x-matroska'],
  ['.mov', 'video/quicktime'],
  ['.mp3', 'audio/mpeg'],
  ['.mp4', 'video/mp4'],
  ['.mpd', 'application/dash+xml'],
  ['.oga', 'audio/ogg'],
  ['.ogg', 'audio/ogg'],
  ['.ogv', 'video/ogg'],
  ['.opus', 'audio/ogg'],
  ['.pdf', 'application/pdf'],
  ['.png', 'image/png'],
  ['.srt', 'application/x-subrip'],
  ['.svg', 'image/svg+xml'],
  ['.ts', 'video/mp2t'],
  ['.txt', 'text/plain; charset=utf-8'],
  ['.vtt', 'text/vtt; charset=utf-8'],
  ['.wav', 'audio/wav'],
  ['.webm', 'video/webm'],
  ['.webp', 'image/webp'],
  ['.xml', 'application/xml'],
])

/**
 * Makes a request listener that serves the files below `root`, read only: GET and HEAD, byte
 * ranges, conditional requests, directory listings.
 *
 * @param {string} root A real path (links resolved): what lies outside is never served.
 * @returns {(request: Request, response: Response) => void}
 */
export function createFileListener(root) {
  return (request, response) => {
    answer(root, request, response).catch((error) => fail(response, error))
  }
}

/**
 * @param {string} root
 * @param {Request} request
 * @param {Response} response
 */
async function answer(root, request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return refuse(response, 405, { Allow: 'GET, HEAD' })
  }
  const target = parseTarget(request.url ?? '')
  if (typeof target === 'number') return refuse(response, target)

  const path = await resolveInside(root, join(root, ...target.segments))
  if (path === undefined) return refuse(response, 404)
  const found = await stat(path)
  if (found.isDirectory()) return answerDirectory(path, target, request, response)
  if (!found.isFile() || target.isDirectory) return refuse(response, 404)
  return answerFile(path, request, response)
}

/**
 * Splits a request target into decoded path segments, or says with which status it is refused.
 *
 * @param {string} url
 * @returns {{ segments: string[], isDirectory: boolean, query: string } | number}
 */
function parseTarget(url) {
  const parts = /^(?:https?:\/\/[^/?#]*)?(\/[^?#]*)(\?[^#]*)?/i.exec(url)
  if (parts === null) return 400
  let path = ''
  try {
    path = decodeURIComponent(parts[1] ?? '')
  } catch {
    return 400
  }
  if (path.includes('\0')) return 400
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.')
  // Decoding comes first, so that %2e%2e%2f is seen for what it is.
  if (segments.includes('..')) return 403
  // There a backslash separates directories, and a colon names a drive or a stream.
  if (sep === '\\' && segments.some((segment) => /[\\:]/.test(segment))) return 403
  return { segments, isDirectory: path.endsWith('/'), query: parts[2] ?? '' }
}

/**
 * Follows links; undefined when there is nothing, or when it lies outside the root.
 *
 * @param {string} root
 * @param {string} path
 */
async function resolveInside(root, path) {
  const real = await realpath(path)
  const prefix = root.endsWith(sep) ? root : root + sep
  return real === root || real.startsWith(prefix) ? real : undefined
}

/**
 * @param {string} path
 * @param {Request} request
 * @param {Response} response
 */
async function answerFile(path, request, response) {
  // Should a pipe have taken the file's place since `stat`, opening must not wait for its writer.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  try {
    const file = await handle.stat({ bigint: true })
    if (!file.isFile()) return refuse(response, 404)
    const sizeBytes = Number(file.size)
    const validators = {
      // Size, nanosecond of the last change and inode: a strong tag, needed for If-Range.
      etag: `"${file.size.toString(36)}-${file.mtimeNs.toString(36)}-${file.ino.toString(36)}"`,
      modifiedMs: Number(file.mtimeMs),
    }
    response.setHeader('ETag', validators.etag)
    response.setHeader('Last-Modified', new Date(validators.modifiedMs).toUTCString())
    response.setHeader('Accept-Ranges', 'bytes')

    const precondition = evaluatePreconditions(request.headers, validators)
    if (precondition === 'failed') return refuse(response, 412)
    if (precondition === 'not-modified') {
      response.writeHead(304).end()
      return
    }

    const type = CONTENT_TYPES.get(extname(path).toLowerCase()) ?? 'application/octet-stream'
    response.setHeader('Content-Type', type)
    response.setHeader('X-Content-Type-Options', 'nosniff')
    // RFC 9110 §14.2: Range counts for GET only.
    const isRangeAsked =
      request.method === 'GET' &&
      rangeStillValid(request.headers['if-range'], validators, Date.now())
    const choice = chooseRange(isRangeAsked ? request.headers.range : undefined, sizeBytes)
    if (choice.kind === 'unsatisfiable') {
      return refuse(response, 416, { 'Content-Range': `bytes */${sizeBytes}` })
    }
    const pieces =
      choice.kind === 'whole'
        ? describeWhole(response, sizeBytes)
        : describeRanges(response, choice.ranges, sizeBytes, type)
    if (request.method === 'HEAD') response.end()
    else await sendPieces(handle, pieces, response)
  } finally {
    await handle.close()
  }
}

/**
 * @param {Response} response
 * @param {number} sizeBytes
 * @returns {(string | ByteRange)[]} What the body is made of, in order.
 */
function describeWhole(response, sizeBytes) {
  response.writeHead(200, { 'Content-Length': sizeBytes })
  return sizeBytes === 0 ? [] : [{ first: 0, last: sizeBytes - 1 }]
}

/**
 * @param {Response} response
 * @param {ByteRange[]} ranges
 * @param {number} sizeBytes
 * @param {string} type
 * @returns {(string | ByteRange)[]}
 */
function describeRanges(response, ranges, sizeBytes, type) {
  const [only] = ranges
  if (ranges.length === 1 && only !== undefined) {
    response.writeHead(206, {
      'Content-Length': rangeSize(only),
      'Content-Range': `bytes ${only.first}-${only.last}/${sizeBytes}`,
    })
    return [only]
  }
  const boundary = randomBytes(12).toString('hex')
  const pieces = []
  for (const range of ranges) {
    pieces.push(
      `\r\n--${boundary}\r\nContent-Type: ${type}\r\n` +
        `Content-Range: bytes ${range.first}-${range.last}/${sizeBytes}\r\n\r\n`,
      range,
    )
  }
  pieces.push(`\r\n--${boundary}--\r\n`)
  response.writeHead(206, {
    'Content-Type': `multipart/byteranges; boundary=${boundary}`,
    'Content-Length': pieces.reduce((sum, piece) => sum + pieceSize(piece), 0),
  })
  return pieces
}

/** @param {ByteRange} range */
function rangeSize(range) {
  return range.last - range.first + 1
}

/** @param {string | ByteRange} piece */
function pieceSize(piece) {
  return typeof piece === 'string' ? Buffer.byteLength(piece) : rangeSize(piece)
}

/**
 * @param {import('node:fs/promises').FileHandle} handle
 * @param {(string | ByteRange)[]} pieces
 * @param {Response} response
 */
async function sendPieces(handle, pieces, response) {
  for (const piece of pieces) {
    if (typeof piece === 'string') {
      response.write(piece)
      continue
    }
    const source = handle.createReadStream({
      start: piece.first,
      end: piece.last,
      autoClose: false,
      highWaterMark: READ_SIZE_BYTES,
    })
    await pipeline(source, response, { end: false })
    // The file was cut while it was sent. Only a broken connection tells the client, for whom
    // Content-Length was a promise.
    if (source.bytesRead !== rangeSize(piece)) {
      response.destroy()
      return
    }
  }
  response.end()
}

/**
 * @param {string} path
 * @param {{ segments: string[], isDirectory: boolean, query: string }} target
 * @param {Request} request
 * @param {Response} response
 */
async function answerDirectory(path, target, request, response) {
  if (!target.isDirectory) {
    // Built from the segments: repeating the client's own path could send it to another host (//).
    const location = `/${target.segments.map(encodeURIComponent).join('/')}/${target.query}`
    return refuse(response, 301, { Location: location })
  }
  const body = Buffer.from(await renderListing(path, target.segments))
  response.writeHead(200, {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Length': body.length,
    'Cache-Control': 'no-cache',
    'X-Content-Type-Options': 'nosniff',
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/**
 * @param {string} path
 * @param {string[]} segments
 */
async function renderListing(path, segments) {
  const names = (await readdir(path)).sort()
  const rows = segments.length === 0 ? [] : ['<tr><td><a href="../">../</a></td></tr>']
  for (const name of names.slice(0, LISTING_ENTRIES_MAX)) {
    const entry = await stat(join(path, name)).catch(() => undefined)
    // A broken link, or a file removed since `readdir`.
    if (entry === undefined || !(entry.isFile() || entry.isDirectory())) continue
    const slash = entry.isDirectory() ? '/' : ''
    rows.push(
      `<tr><td><a href="./${encodeURIComponent(name)}${slash}">${escapeHtml(name)}${slash}</a></td>` +
        `<td align="right">${entry.isFile() ? entry.size : ''}</td>` +
        `<td>${entry.mtime.toISOString()}</td></tr>`,
    )
  }
  if (names.length > LISTING_ENTRIES_MAX) {
    rows.push(`<tr><td>… and ${names.length - LISTING_ENTRIES_MAX} more</td></tr>`)
  }
  const title = escapeHtml(`/${segments.map((segment) => `${segment}/`).join('')}`)
  return (
    `<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>${title}</title></head>\n` +
    `<body><h1>${title}</h1>\n<table>\n${rows.join('\n')}\n</table></body></html>\n`
  )
}

const HTML_ESCAPES = new Map([
  ['&', '&amp;'],
  ['<', '&lt;'],
  ['>', '&gt;'],
  ['"', '&quot;'],
  ["'", '&#39;'],
])

/** @param {string} text */
function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (character) => HTML_ESCAPES.get(character) ?? character)
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {Record<string, string>} [headers]
 */
function refuse(response, status, headers = {}) {
  const body = `${status} ${STATUS_CODES[status]}\n`
  response.writeHead(status, {
    ...headers,
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
  })
  response.end(body)
}

/**
 * Turns what went wrong into a status, or into a broken connection once the head is out.
 *
 * @param {Response} response
 * @param {NodeJS.ErrnoException} error
 */
function fail(response, error) {
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG', 'ELOOP'].includes(error.code ?? '')) {
    refuse(response, 404)
  } else if (error.code === 'EACCES' || error.code === 'EPERM') {
    refuse(response, 403)
  } else {
    refuse(response, 500)
  }
}
