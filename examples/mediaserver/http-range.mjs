/**
 * The parts of RFC 9110 that decide which bytes of a file an answer carries: byte ranges
 * (section 14) and conditional requests (section 13).
 */

/** More ranges than this in one request are ignored: each costs a header and a seek. */
export const RANGES_MAX = 16

/**
 * @typedef {{ first: number, last: number }} ByteRange Both ends are inside the file.
 * @typedef {{ kind: 'whole' } | { kind: 'unsatisfiable' } | { kind: 'ranges', ranges: ByteRange[] }} RangeChoice
 * @typedef {{ etag: string, modifiedMs: number }} Validators
 */

/**
 * Chooses what a Range header asks for. What is not understood is ignored, as section 14.2 demands
 * for units and allows for malformed lists.
 *
 * @param {string | undefined} header
 * @param {number} sizeBytes
 * @returns {RangeChoice}
 */
export function chooseRange(header, sizeBytes) {
  const list = header === undefined ? null : /^bytes[ \t]*=(.*)$/i.exec(header.trim())
  if (list === null) return { kind: 'whole' }
  const specs = (list[1] ?? '')
    .split(',')
    .map((spec) => spec.trim())
    .filter((spec) => spec !== '')
  if (specs.length === 0 || specs.length > RANGES_MAX) return { kind: 'whole' }

  const ranges = []
  let totalBytes = 0
  for (const spec of specs) {
    const range = parseSpec(spec, sizeBytes)
    if (range === 'malformed') return { kind: 'whole' }
    if (range === 'unsatisfiable') continue
    // The last bytes of an empty file are the empty file, and no Content-Range can say that.
    if (sizeBytes === 0) return { kind: 'whole' }
    ranges.push(range)
    totalBytes += range.last - range.first + 1
  }
  if (ranges.length === 0) return { kind: 'unsatisfiable' }
  // Overlapping ranges that ask for more than the file are an attack or a mistake.
  if (totalBytes > sizeBytes) return { kind: 'whole' }
  return { kind: 'ranges', ranges }
}

/**
 * @param {string} spec
 * @param {number} sizeBytes
 * @returns {ByteRange | 'malformed' | 'unsatisfiable'}
 */
function parseSpec(spec, sizeBytes) {
  const parts = /^(\d*)[ \t]*-[ \t]*(\d*)$/.exec(spec)
  if (parts === null) return 'malformed'
  const [, firstText = '', lastText = ''] = parts
  if (firstText === '') {
    if (lastText === '') return 'malformed'
    const suffixBytes = Number(lastText)
    if (suffixBytes === 0) return 'unsatisfiable'
    return { first: Math.max(0, sizeBytes - suffixBytes), last: sizeBytes - 1 }
  }
  const first = Number(firstText)
  const last = lastText === '' ? Number.POSITIVE_INFINITY : Number(lastText)
  if (last < first) return 'malformed'
  if (first >= sizeBytes) return 'unsatisfiable'
  return { first, last: Math.min(last, sizeBytes - 1) }
}

/**
 * Evaluates the preconditions of a GET or HEAD in the order of RFC 9110 section 13.2.2.
 *
 * @param {import('node:http').IncomingHttpHeaders} headers
 * @param {Validators} validators
 * @returns {'proceed' | 'not-modified' | 'failed'}
 */
export function evaluatePreconditions(headers, validators) {
  const ifMatch = headers['if-match']
  if (ifMatch !== undefined) {
    if (!listsEtag(ifMatch, validators.etag, 'strong')) return 'failed'
  } else {
    const unmodifiedSinceMs = parseDate(headers['if-unmodified-since'])
    if (wholeSeconds(validators.modifiedMs) > unmodifiedSinceMs) return 'failed'
  }
  const ifNoneMatch = headers['if-none-match']
  if (ifNoneMatch !== undefined) {
    return listsEtag(ifNoneMatch, validators.etag, 'weak') ? 'not-modified' : 'proceed'
  }
  const modifiedSinceMs = parseDate(headers['if-modified-since'])
  return wholeSeconds(validators.modifiedMs) <= modifiedSinceMs ? 'not-modified' : 'proceed'
}

/**
 * Says whether If-Range lets the Range header count: only when the client's copy is this one.
 *
 * @param {string | string[] | undefined} ifRange
 * @param {Validators} validators
 * @param {number} nowMs
 */
export function rangeStillValid(ifRange, validators, nowMs) {
  if (ifRange === undefined) return true
  if (typeof ifRange !== 'string') return false
  // A weak tag never matches: this server sends strong ones.
  if (ifRange.includes('"')) return ifRange.trim() === validators.etag
  const modifiedMs = wholeSeconds(validators.modifiedMs)
  // RFC 9110 §8.8.2.2: a date proves equality only when the second it names is over.
  return parseDate(ifRange) === modifiedMs && nowMs - modifiedMs >= 1_000
}

/**
 * @param {string} header
 * @param {string} etag
 * @param {'strong' | 'weak'} comparison
 */
function listsEtag(header, etag, comparison) {
  if (header.trim() === '*') return true
  const tags = header.match(/(?:W\/)?"[^"]*"/g) ?? []
  return tags.some((tag) => tag === etag || (comparison === 'weak' && tag === `W/${etag}`))
}

/**
 * Answers NaN for a missing or unreadable date, which makes every comparison false: the header is
 * ignored.
 *
 * @param {string | undefined} header
 */
function parseDate(header) {
  return header === undefined ? Number.NaN : Date.parse(header)
}

/** @param {number} timeMs */
function wholeSeconds(timeMs) {
  return Math.floor(timeMs / 1_000) * 1_000
}
