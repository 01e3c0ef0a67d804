/**
 * One `_write` or `_writev` on its way into a line: gathers small pieces so that the line is asked
 * once per write and not once per piece, and remembers where it stopped when the window was full.
 */
import type { WriteEntries } from './internals.ts'
import type { Line } from './line.ts'

// Small pieces are copied together here. A line copies what it accepts before `write` returns, so
// one buffer serves all sockets of the process.
const gatherSizeBytes = 65_536
let gatherBuffer: Buffer | undefined

interface Piece {
  readonly chunk: Uint8Array | string
  readonly encoding: BufferEncoding
}

export class WriteJob {
  /** All bytes of the job: what `bytesWritten` counts from the moment the job is dispatched. */
  readonly sizeBytes: number
  private readonly pieces: readonly Piece[]
  private index = 0
  private rest: Uint8Array | null = null

  private constructor(pieces: readonly Piece[]) {
    this.pieces = pieces.every(isDirect) ? pieces : pieces.map(toDirect)
    let size = 0
    for (const piece of this.pieces) size += byteLength(piece)
    this.sizeBytes = size
  }

  /** Makes a job of what Writable hands to `_write`. */
  static ofChunk(chunk: Uint8Array | string, encoding: BufferEncoding): WriteJob {
    return new WriteJob([{ chunk, encoding }])
  }

  /** Makes a job of what Writable hands to `_writev`. */
  static ofEntries(entries: WriteEntries): WriteJob {
    return new WriteJob(entries)
  }

  /** Writes as much as the line accepts now; true when that was everything. */
  flush(line: Line): boolean {
    for (;;) {
      if (this.rest !== null) {
        const accepted = line.write(this.rest)
        if (accepted < this.rest.length) {
          this.rest = this.rest.subarray(accepted)
          return false
        }
        this.rest = null
      }
      const piece = this.pieces[this.index]
      if (piece === undefined) return true
      if (this.isGatherable(piece)) {
        if (!this.flushGathered(line)) return false
      } else {
        this.index += 1
        this.rest = typeof piece.chunk === 'string' ? toDirect(piece).chunk : piece.chunk
      }
    }
  }

  // A lone buffer is written as it is: copying it first would cost more than it saves.
  private isGatherable(piece: Piece): boolean {
    const isLast = this.index + 1 === this.pieces.length
    if (isLast && typeof piece.chunk !== 'string') return false
    return byteLength(piece) <= gatherSizeBytes
  }

  private flushGathered(line: Line): boolean {
    gatherBuffer ??= Buffer.allocUnsafeSlow(gatherSizeBytes)
    const target = gatherBuffer
    let used = 0
    for (;;) {
      const piece = this.pieces[this.index]
      if (piece === undefined) break
      const size = byteLength(piece)
      if (used + size > gatherSizeBytes) break
      if (typeof piece.chunk === 'string') target.write(piece.chunk, used, piece.encoding)
      else target.set(piece.chunk, used)
      used += size
      this.index += 1
    }
    if (used === 0) return true
    const accepted = line.write(target.subarray(0, used))
    if (accepted === used) return true
    // The gather buffer belongs to the next socket as soon as this returns.
    this.rest = Buffer.from(target.subarray(accepted, used))
    return false
  }
}

function byteLength(piece: Piece): number {
  const { chunk } = piece
  return typeof chunk === 'string' ? Buffer.byteLength(chunk, piece.encoding) : chunk.byteLength
}

// For the other encodings (hex, base64) `Buffer.byteLength` is an upper bound only, so these are
// converted before anything is counted.
function isDirect(piece: Piece): boolean {
  if (typeof piece.chunk !== 'string') return true
  switch (piece.encoding) {
    case 'utf8':
    case 'utf-8':
    case 'ascii':
    case 'latin1':
    case 'binary':
    case 'utf16le':
    case 'utf-16le':
    case 'ucs2':
    case 'ucs-2':
      return true
    default:
      return false
  }
}

function toDirect(piece: Piece): { chunk: Uint8Array; encoding: BufferEncoding } {
  const { chunk, encoding } = piece
  return { chunk: typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk, encoding }
}
