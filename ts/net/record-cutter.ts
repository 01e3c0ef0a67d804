/**
 * `tls` and what is above it (`http2` again) see ticks run between two records, as between two reads
 * from a kernel handle. See `frame-cutter.ts` for why the wrapper of a stream has to be helped.
 *
 * What ends a handshake and the first request stay together: while the answer to the one is on its
 * way, that to the other would wait, and be dropped by a server that closes as soon as it has answered.
 */

// RFC 8446 §5.1: type, version and a length of 16 bits.
const headerSize = 5
const APPLICATION_DATA = 23
// In TLS 1.3 the end of the handshake is the first record of this type.
const togetherMax = 2

export class RecordCutter {
  private headerTaken = 0
  private payloadLeft = 0
  private applicationRecords = 0

  /** How many bytes of `chunk` to hand over now: to the end of the record, if it has come. */
  cut(chunk: Uint8Array): number {
    let offset = 0
    while (offset < chunk.length) {
      if (this.headerTaken < headerSize) {
        this.takeHeaderByte(chunk[offset] as number)
        offset += 1
      }
      if (this.headerTaken < headerSize) continue
      const size = Math.min(this.payloadLeft, chunk.length - offset)
      this.payloadLeft -= size
      offset += size
      if (this.payloadLeft > 0) continue
      this.headerTaken = 0
      if (this.applicationRecords >= togetherMax) break
    }
    return offset
  }

  private takeHeaderByte(byte: number): void {
    if (this.headerTaken === 0 && byte === APPLICATION_DATA) this.applicationRecords += 1
    this.payloadLeft = ((this.payloadLeft << 8) | byte) & 0xffff
    this.headerTaken += 1
  }
}
