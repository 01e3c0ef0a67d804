/**
 * `http2` expects that what the runtime has queued (ticks, promises) runs between two frames, which is
 * so when a chunk comes from a kernel handle. The wrapper of a JavaScript stream hands chunks over
 * from JavaScript: nothing runs before all frames of the chunk are through, and a request that is
 * answered and reset in one chunk never learns of its end. So frames that end something begin a
 * chunk of their own. So does what follows the first SETTINGS: while their answer is on its way,
 * the answer to a request would wait, and be dropped if the program is done with the request.
 * The others stay together: their answers leave together, too.
 */

// RFC 9113 §4.1: a length of 24 bits and the type begin the header of 9 bytes.
const headerSize = 9
const lengthSize = 3
const RST_STREAM = 3
const GOAWAY = 7
// RFC 9113 §3.4: what a client sends before its first frame begins with 'P', which as the length of
// the first frame would mean 5 MiB.
const prefaceSize = 24
const prefaceStart = 0x50

export class FrameCutter {
  private isAtStart = true
  private frameCount = 0
  /** Bytes of the current frame's header that have come. */
  private headerTaken = 0
  private payloadSize = 0
  private payloadLeft = 0

  /** How many bytes of `chunk` to hand over now; the next call begins with the byte after them. */
  cut(chunk: Uint8Array): number {
    if (this.isAtStart && chunk[0] === prefaceStart) this.payloadLeft = prefaceSize
    this.isAtStart = false
    let offset = 0
    while (offset < chunk.length) {
      if (this.payloadLeft > 0) {
        const size = Math.min(this.payloadLeft, chunk.length - offset)
        this.payloadLeft -= size
        offset += size
        continue
      }
      const isBegun = this.headerTaken > 0 || offset === 0
      const isDue = this.frameCount === 1 || endsSomething(chunk[offset + lengthSize])
      if (!isBegun && isDue) return offset
      this.takeHeaderByte(chunk[offset] as number)
      offset += 1
    }
    return offset
  }

  private takeHeaderByte(byte: number): void {
    if (this.headerTaken === 0) this.frameCount += 1
    if (this.headerTaken < lengthSize) this.payloadSize = this.payloadSize * 256 + byte
    this.headerTaken += 1
    if (this.headerTaken < headerSize) return
    this.payloadLeft = this.payloadSize
    this.payloadSize = 0
    this.headerTaken = 0
  }
}

function endsSomething(type: number | undefined): boolean {
  return type === RST_STREAM || type === GOAWAY
}
