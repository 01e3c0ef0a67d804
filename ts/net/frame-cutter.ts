/**
 * `http2` expects that what the runtime has queued (ticks, promises) runs between two frames, which is
 * so when a chunk comes from a kernel handle. The wrapper of a JavaScript stream hands chunks over
 * from JavaScript: nothing runs before all frames of the chunk are through, and a request that is
 * answered and reset in one chunk never learns of its end. So such a session gets its bytes cut at
 * the frames, each piece in a tick of its own.
 */

// RFC 9113 §4.1: a length of 24 bits begins the header of 9 bytes.
const headerSize = 9
const lengthSize = 3
// RFC 9113 §3.4: what a client sends before its first frame begins with 'P', which as the length of
// the first frame would mean 5 MiB.
const prefaceSize = 24
const prefaceStart = 0x50

const pieceSizeMax = 65_536

export class FrameCutter {
  private isAtStart = true
  private isPreface = false
  private headerTaken = 0
  private payloadSize = 0
  /** Bytes of the frame begun, its header not counted, that have not come. */
  private payloadLeft = 0

  /** How many bytes to read at most, so that none belongs to the next frame. */
  get sizeMax(): number {
    if (this.payloadLeft > 0) return Math.min(this.payloadLeft, pieceSizeMax)
    return headerSize - this.headerTaken
  }

  /** Follows what was read: never more than `sizeMax`. */
  follow(piece: Uint8Array): void {
    if (this.payloadLeft > 0) {
      this.payloadLeft -= piece.length
      return
    }
    if (this.isAtStart) this.isPreface = piece[0] === prefaceStart
    this.isAtStart = false
    for (const byte of piece) {
      if (this.headerTaken < lengthSize) this.payloadSize = this.payloadSize * 256 + byte
      this.headerTaken += 1
    }
    if (this.headerTaken < headerSize) return
    this.payloadLeft = this.isPreface ? prefaceSize - headerSize : this.payloadSize
    this.isPreface = false
    this.headerTaken = 0
    this.payloadSize = 0
  }
}
