/**
 * Names addresses of the core's memory after the constants in `assembly/`, so that a test that finds
 * a wrong byte can say whose it is.
 */
import { readdirSync, readFileSync } from 'node:fs'

const SOURCE = new URL('../../assembly/', import.meta.url)
const CONSTANT = /^(?:export )?const ([A-Z][A-Z0-9_]*): i32 =\s+([^\n]+)$/gm

/** Constants of all modules, also those that are not exported: by `file:NAME`. */
function readConstants(): ReadonlyMap<string, number> {
  const constants = new Map<string, number>()
  const files = readdirSync(SOURCE).filter((name) => /^[\w-]+\.ts$/.test(name))
  const found = files.flatMap((file) =>
    [...readFileSync(new URL(file, SOURCE), 'utf8').matchAll(CONSTANT)].map(
      ([, name = '', value = '']) => ({ file, name, value }),
    ),
  )
  const anywhere = new Map<string, number>()
  const term = (file: string, text: string) =>
    constants.get(`${file}:${text}`) ?? anywhere.get(text) ?? Number(text)
  // Some are sums of others, which may stand in a file that is read later.
  for (let round = 0; round < 4; round += 1) {
    for (const { file, name, value } of found) {
      const sum = value.split(' + ').reduce((total, part) => total + term(file, part.trim()), 0)
      if (!Number.isNaN(sum)) {
        constants.set(`${file}:${name}`, sum)
        anywhere.set(name, sum)
      }
    }
  }
  return constants
}

const constants = readConstants()

/**
 * Value of a constant of `assembly/FILE`, which need not be exported.
 * @throws Error when there is none: the source has changed.
 */
export function constant(file: string, name: string): number {
  const value = constants.get(`${file}:${name}`)
  if (value === undefined) throw new Error(`assembly/${file} has no constant ${name}`)
  return value
}

/** Names of the constants of `assembly/FILE` that match, by value. */
export function constantNames(file: string, pattern: RegExp): ReadonlyMap<number, string> {
  return new Map(
    [...constants]
      .map(([key, value]) => [value, key.slice(file.length + 1), key] as const)
      .filter(([, name, key]) => key.startsWith(`${file}:`) && pattern.test(name))
      .map(([value, name]) => [value, name]),
  )
}

const layout = (name: string) => constant('layout.ts', name)
const pages = (name: string) => constant('pages.ts', name)

interface Field {
  readonly name: string
  readonly offset: number
}

/** Fields of a struct: constants of one file whose names begin alike, ascending. */
function fieldsOf(sources: readonly (readonly [file: string, prefix: RegExp])[]): readonly Field[] {
  return sources
    .flatMap(([file, prefix]) =>
      [...constants]
        .filter(([key]) => key.startsWith(`${file}:`) && prefix.test(key.slice(file.length + 1)))
        .map(([key, offset]) => ({ name: key.slice(file.length + 1), offset })),
    )
    .sort((a, b) => a.offset - b.offset)
}

const HEADER = [
  ['endpoint.ts', /^(TAG|ENDPOINT|PENDING|PENDING_NEXT|PENDING_PREVIOUS|HOST_TAG|CODE)$/],
] as const
const ENDPOINT_FIELDS = fieldsOf([...HEADER, ['endpoint.ts', /^EP_(?!LISTENING$|SIZE$)/]])
const CONNECTION_FIELDS = fieldsOf([
  ...HEADER,
  [
    'connection.ts',
    /^CN_(?!SIZE$|IS_CLIENT$|SENDING$|CONFIRMED$|RELEASED$|TOLD$|SAY_CLOSE$|SAY_HANDSHAKE$)/,
  ],
])
const STREAM_FIELDS = fieldsOf([
  ...HEADER,
  [
    'stream.ts',
    /^ST_(CONNECTION|NUMBER|FLAGS|CONTROL|\w*NEXT|\w*PREVIOUS|PORT|CODE_OUT|WRITTEN|SENT|ACKED|LIMIT_OUT|\w+_RANGES|\w+_BUFFER|TAKEN|CONTIGUOUS|HIGHEST|FINAL|LIMIT_IN|WINDOW|WINDOW_AT)$/,
  ],
])
const PATH_FIELDS = fieldsOf([['path.ts', /^PATH_(?!SIZE$)/]])
const SENT_FIELDS = fieldsOf([['path.ts', /^SENT_(?!SIZE$)/]])
const EVENT_FIELDS = fieldsOf([['layout.ts', /^EVENT_(?!SIZE$|COUNT$)/]])
const DESC_FIELDS = fieldsOf([['layout.ts', /^DESC_(?!SIZE$|COUNT$)/]])
const ENTRY_FIELDS = fieldsOf([['pages.ts', /^ENTRY_(?!SIZE$)/]])

function fieldAt(fields: readonly Field[], offset: number): string {
  const field = fields.filter((candidate) => candidate.offset <= offset).at(-1)
  if (field === undefined) return `+${offset}`
  const beyond = offset - field.offset
  return beyond === 0 ? field.name : `${field.name}+${beyond}`
}

/** Areas below the pages, by their first byte. */
const AREAS: readonly (readonly [start: number, name: string])[] = (
  [
    [layout('PARAMS'), 'PARAMS'],
    [layout('INSTANCE'), 'INSTANCE'],
    [layout('SCRATCH'), 'SCRATCH'],
    [layout('EVENTS'), 'EVENTS'],
    [layout('RX_DESC'), 'RX_DESC'],
    [layout('TX_DESC'), 'TX_DESC'],
    [layout('RX_ARENA'), 'RX_ARENA'],
    [layout('TX_ARENA'), 'TX_ARENA'],
    [layout('PAGE_TABLE'), 'PAGE_TABLE'],
  ] as const
).toSorted((a, b) => a[0] - b[0])

const TABLES: Record<string, { readonly size: number; readonly fields: readonly Field[] }> = {
  EVENTS: { size: layout('EVENT_SIZE'), fields: EVENT_FIELDS },
  RX_DESC: { size: layout('DESC_SIZE'), fields: DESC_FIELDS },
  TX_DESC: { size: layout('DESC_SIZE'), fields: DESC_FIELDS },
  PAGE_TABLE: { size: pages('ENTRY_SIZE'), fields: ENTRY_FIELDS },
}

/** Says what lies at `address`: area or struct, index or handle, field. */
export function describeAddress(memory: ArrayBuffer, address: number): string {
  return `0x${address.toString(16)} (${describe(new Int32Array(memory), address)})`
}

function describe(words: Int32Array, address: number): string {
  const first = words[pages('PAGES_FIRST') >> 2] as number
  if (first !== 0 && address >= first) return describeRetained(words, first, address)
  const [start, name] = AREAS.filter(([begin]) => begin <= address).at(-1) ?? [0, 'below PARAMS']
  const table = TABLES[name]
  const offset = address - start
  if (table === undefined) return `${name}+${offset}`
  return `${name}[${Math.floor(offset / table.size)}].${fieldAt(table.fields, offset % table.size)}`
}

function describeRetained(words: Int32Array, first: number, address: number): string {
  const index = (address - first) >> pages('PAGE_SHIFT')
  const entry = (layout('PAGE_TABLE') + index * pages('ENTRY_SIZE') + pages('ENTRY_STATE')) >> 2
  const state = words[entry] as number
  const pageStart = first + index * pages('PAGE_SIZE')
  if ((state & pages('STATE_BLOCKS')) === 0) {
    const ring = ringAt(words, first, address)
    return ring ?? `page ${index}${(state & pages('STATE_FREE')) !== 0 ? ', free' : ''}`
  }
  const size = 32 << ((state >> 8) & 0xff)
  const block = address - ((address - pageStart) % size)
  return describeBlock(words, first, block, size, address)
}

function describeBlock(
  words: Int32Array,
  first: number,
  block: number,
  size: number,
  address: number,
): string {
  const offset = address - block
  const where = `0x${block.toString(16)}`
  const tag = words[block >> 2]
  const endpoint = (name: string) => constant('endpoint.ts', name)
  if (tag === endpoint('TAG_ENDPOINT')) {
    return `endpoint ${where}.${fieldAt(ENDPOINT_FIELDS, offset)}`
  }
  if (tag === endpoint('TAG_CONNECTION')) {
    return `connection ${where}.${fieldAt(CONNECTION_FIELDS, offset)}`
  }
  if (tag === endpoint('TAG_STREAM')) {
    return `stream ${where} (number ${words[(block + constant('stream.ts', 'ST_NUMBER')) >> 2]}).${fieldAt(STREAM_FIELDS, offset)}`
  }
  for (const connection of connections(words, first)) {
    if (pathOf(words, connection) === block) return `path ${where}.${fieldAt(PATH_FIELDS, offset)}`
  }
  return ringAt(words, first, address) ?? `block ${where} of ${size} bytes, +${offset}`
}

const pathOf = (words: Int32Array, connection: number) =>
  words[(connection + constant('connection.ts', 'CN_PATHS')) >> 2] as number

/** All connections, found by walking the pages that hold blocks. */
export function connections(words: Int32Array, first: number): number[] {
  return blocks(words, first).filter(
    (block) => words[block >> 2] === constant('endpoint.ts', 'TAG_CONNECTION'),
  )
}

/** Every block of every page that is cut into blocks, free or not. */
function blocks(words: Int32Array, first: number): number[] {
  const found: number[] = []
  const count = words[pages('PAGES_COUNT') >> 2] as number
  for (let index = 0; index < count; index += 1) {
    const state = words[
      (layout('PAGE_TABLE') + index * pages('ENTRY_SIZE') + pages('ENTRY_STATE')) >> 2
    ] as number
    if ((state & pages('STATE_BLOCKS')) === 0) continue
    const size = 32 << ((state >> 8) & 0xff)
    const start = first + index * pages('PAGE_SIZE')
    for (let at = start; at < start + pages('PAGE_SIZE'); at += size) found.push(at)
  }
  return found
}

function ringAt(words: Int32Array, first: number, address: number): string | undefined {
  for (const connection of connections(words, first)) {
    const path = pathOf(words, connection)
    if (path === 0) continue
    const ring = words[(path + constant('path.ts', 'PATH_RING')) >> 2] as number
    const capacity = words[(path + constant('path.ts', 'PATH_RING_CAPACITY')) >> 2] as number
    const size = constant('path.ts', 'SENT_SIZE')
    if (ring === 0 || address < ring || address >= ring + capacity * size) continue
    const offset = address - ring
    return `sent packet ${Math.floor(offset / size)} of path 0x${path.toString(16)}.${fieldAt(SENT_FIELDS, offset % size)}`
  }
  return undefined
}
