/**
 * Addresses as text and as the six words that the core keeps: 16 bytes of IPv6 (IPv4 mapped, RFC
 * 4291 §2.5.5.2), port, zone. Both directions go through small tables, because a busy endpoint
 * translates the same few addresses a hundred thousand times a second.
 */

/** Words of a packed address. */
export const PACKED_WORDS = 6
const PORT_WORD = 4
const SCOPE_WORD = 5
const MAPPED_WORD = 0xffff0000 | 0

/** Entries of each table: a power of two. */
const TABLE_SIZE = 4096

/** Bytes of an IPv4 or IPv6 literal, in network order; undefined when it is none. */
export function parseAddress(text: string): Uint8Array | undefined {
  return text.includes(':') ? parseIPv6(text) : parseIPv4(text)
}

function parseIPv4(text: string): Uint8Array | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  const bytes = new Uint8Array(16)
  bytes[10] = 0xff
  bytes[11] = 0xff
  for (const [index, part] of parts.entries()) {
    const value = Number(part)
    if (!/^\d{1,3}$/.test(part) || value > 255) return undefined
    bytes[12 + index] = value
  }
  return bytes
}

function parseIPv6(text: string): Uint8Array | undefined {
  const [head, tail, more] = text.split('::')
  if (head === undefined || more !== undefined) return undefined
  const left = groups(head)
  const right = tail === undefined ? [] : groups(tail)
  if (left === undefined || right === undefined) return undefined
  const count = left.length + right.length
  if (tail === undefined ? count !== 8 : count > 7) return undefined
  const bytes = new Uint8Array(16)
  const words = [...left, ...new Array<number>(8 - count).fill(0), ...right]
  for (const [index, word] of words.entries()) {
    bytes[index * 2] = word >> 8
    bytes[index * 2 + 1] = word & 0xff
  }
  return bytes
}

/** 16-bit groups of one side of `::`; a trailing IPv4 literal counts as two. */
function groups(text: string): number[] | undefined {
  if (text === '') return []
  const words: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (index === parts.length - 1 && part.includes('.')) {
      const bytes = parseIPv4(part)
      if (bytes === undefined) return undefined
      const view = new DataView(bytes.buffer)
      words.push(view.getUint16(12), view.getUint16(14))
    } else if (/^[\da-f]{1,4}$/i.test(part)) words.push(Number.parseInt(part, 16))
    else return undefined
  }
  return words
}

/** Writes 16 address bytes as text: IPv4 for mapped ones, else RFC 5952. */
export function formatAddress(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16)
  const words = Array.from({ length: 8 }, (_, index) => view.getUint16(index * 2))
  if (words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff) {
    return bytes.subarray(12, 16).join('.')
  }
  // RFC 5952 §4.2: the longest run of two or more zero groups is shortened, the first of equals.
  let bestStart = -1
  let bestLength = 1
  for (let start = 0; start < 8; start++) {
    let length = 0
    while (start + length < 8 && words[start + length] === 0) length += 1
    if (length > bestLength) {
      bestStart = start
      bestLength = length
    }
  }
  const hex = (part: number[]) => part.map((word) => word.toString(16)).join(':')
  if (bestStart < 0) return hex(words)
  return `${hex(words.slice(0, bestStart))}::${hex(words.slice(bestStart + bestLength))}`
}

interface Entry {
  readonly address: string
  readonly port: number
  readonly words: Int32Array
}

export interface AddressBookOptions {
  /** Numbers of zones (`fe80::1%eth0`) by name: the driver knows the machine's interfaces. */
  readonly zones?: ReadonlyMap<string, number>
  /** Write IPv4 in its mapped form, as IPv6 sockets want it. Default false. */
  readonly isMapped?: boolean
}

/** Translates addresses both ways. */
export class AddressBook {
  private readonly byText: (Entry | undefined)[] = new Array(TABLE_SIZE)
  private readonly byWords: (Entry | undefined)[] = new Array(TABLE_SIZE)
  /** Found by its text last: many datagrams in a row come from one peer. */
  private last: Entry | undefined
  private readonly zones: ReadonlyMap<string, number>
  private readonly isMapped: boolean

  constructor(options: AddressBookOptions = {}) {
    this.zones = options.zones ?? new Map()
    this.isMapped = options.isMapped ?? false
  }

  /** Packs an address; undefined when `address` is no IP literal. The words are shared: read only. */
  pack(address: string, port: number): Int32Array | undefined {
    const { last } = this
    if (last !== undefined && last.port === port && last.address === address) return last.words
    const slot = hashText(address, port)
    const known = this.byText[slot]
    if (known !== undefined && known.port === port && known.address === address) {
      this.last = known
      return known.words
    }
    const [literal, zone] = address.split('%')
    const bytes = parseAddress(literal ?? '')
    if (bytes === undefined) return undefined
    const words = new Int32Array(PACKED_WORDS)
    words.set(new Int32Array(bytes.buffer))
    words[PORT_WORD] = port
    words[SCOPE_WORD] = zone === undefined ? 0 : (this.zones.get(zone) ?? Number(zone)) | 0
    const entry = { address, port, words }
    this.byText[slot] = entry
    return words
  }

  /** The address that stands in `words` from `at` on. */
  unpack(words: Int32Array, at: number): { readonly address: string; readonly port: number } {
    const slot = hashWords(words, at)
    const known = this.byWords[slot]
    if (known !== undefined && isSame(known.words, words, at)) return known
    const copy = words.slice(at, at + PACKED_WORDS)
    const entry = {
      address: this.format(copy),
      port: (copy[PORT_WORD] as number) & 0xffff,
      words: copy,
    }
    this.byWords[slot] = entry
    return entry
  }

  private format(words: Int32Array): string {
    const literal = formatAddress(new Uint8Array(words.buffer, 0, 16))
    if (isMappedIPv4(words)) return this.isMapped ? `::ffff:${literal}` : literal
    const zone = words[SCOPE_WORD] as number
    return zone === 0 ? literal : `${literal}%${this.zoneName(zone)}`
  }

  private zoneName(index: number): string {
    for (const [name, zone] of this.zones) if (zone === index) return name
    return String(index)
  }
}

function isMappedIPv4(words: Int32Array): boolean {
  return words[0] === 0 && words[1] === 0 && words[2] === MAPPED_WORD
}

function isSame(known: Int32Array, words: Int32Array, at: number): boolean {
  return (
    known[3] === words[at + 3] &&
    known[PORT_WORD] === ((words[at + PORT_WORD] as number) & 0xffff) &&
    known[0] === words[at] &&
    known[1] === words[at + 1] &&
    known[2] === words[at + 2] &&
    known[SCOPE_WORD] === words[at + SCOPE_WORD]
  )
}

function hashText(address: string, port: number): number {
  let hash = port
  for (let index = 0; index < address.length; index++) {
    hash = Math.imul(hash, 31) + address.charCodeAt(index)
  }
  return (hash ^ (hash >>> 12)) & (TABLE_SIZE - 1)
}

function hashWords(words: Int32Array, at: number): number {
  let hash = Math.imul(
    (words[at + 3] as number) ^ ((words[at + PORT_WORD] as number) & 0xffff),
    0x9e3779b1,
  )
  hash ^= Math.imul((words[at] as number) ^ (words[at + 1] as number), 0x85ebca6b)
  return (hash ^ (hash >>> 15)) & (TABLE_SIZE - 1)
}
