/**
 * `tls` and what is above it (`http2` again) see ticks run between two records, as between two reads
 * from a kernel handle. See `frame-cutter.ts` for why the wrapper of a stream has to be helped.
 */

// RFC 8446 §5.1: type, version and a length of 16 bits.
const headerSize = 5

export class RecordCutter {
  private headerTaken = 0
  private payloadLeft = 0

  /** How many bytes of `chunk` to hand over now: to the end of the record, if it has come. */
  cut(chunk: Uint8Array): number {
    for (let offset = 0; offset < chunk.length; ) {
      if (this.headerTaken < headerSize) {
        this.payloadLeft = ((this.payloadLeft << 8) | (chunk[offset] as number)) & 0xffff
        this.headerTaken += 1
        offset += 1
      }
      if (this.headerTaken < headerSize) continue
      const size = Math.min(this.payloadLeft, chunk.length - offset)
      this.payloadLeft -= size
      offset += size
      if (this.payloadLeft > 0) continue
      this.headerTaken = 0
      return offset
    }
    return chunk.length
  }
}
