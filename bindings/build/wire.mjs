/**
 * Writes what follows from `assembly/wire.json`, the one description of the wire format: the constants
 * in `assembly/wire-fields.ts`, which the core and TypeScript both use, and the diagrams and tables of
 * `docs/protocol.md` between their marks. `node bindings/build/wire.mjs` after a change; a test
 * compares.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ROOT } from './step.mjs'

const FIELDS = 'assembly/wire-fields.ts'
const SPECIFICATION = 'docs/protocol.md'

/** What the files have to be, by path. */
export function wireFiles() {
  const schema = JSON.parse(readFileSync(join(ROOT, 'assembly/wire.json'), 'utf8'))
  return {
    [FIELDS]: fieldsOf(schema),
    [SPECIFICATION]: specificationOf(schema, readFileSync(join(ROOT, SPECIFICATION), 'utf8')),
  }
}

// ── Constants ────────────────────────────────────────────────────────────────────────────────────

function fieldsOf({ headers, packets, frames, codes, parameters }) {
  return [
    '/** Made by `bindings/build/wire.mjs` from `wire.json`: not to be edited. */',
    ...headers.flatMap(({ name, section, fields }) => {
      const { offsets, size } = layOut(fields)
      return [
        title(`${name} header (docs/protocol.md ${section})`),
        ...offsets.map((field) => constant(`${name}_${field.name}`, field.offset, field.text)),
        constant(`${name}_SIZE`, size),
      ]
    }),
    title('Packets with a long header'),
    ...packets.map(([value, name, text]) => constant(`TYPE_${name}`, value, text)),
    title('Frames'),
    ...frames.map(([value, name, text]) => constant(`FRAME_${name}`, `0x${first(value)}`, text)),
    title('How connections and streams end'),
    ...codes.map(([value, name, text]) => constant(`CODE_${name}`, value, text)),
    title('Parameters of a handshake'),
    ...parameters.map(([value, name, text]) => constant(`PARAMETER_${name}`, value, text)),
    '',
  ].join('\n')
}

/** Where each field begins, and how large the whole is. */
function layOut(fields) {
  let size = 0
  const offsets = fields.map((field) => {
    const offset = size
    size += field.bytes
    return { ...field, offset }
  })
  return { offsets, size }
}

/** Of a range, where it begins. */
function first(value) {
  return value.split('–')[0]
}

function title(text) {
  return `\n// ── ${text} ${'─'.repeat(Math.max(3, 94 - text.length))}\n`
}

function constant(name, value, text = '') {
  const line = `export const ${name}: i32 = ${value}`
  return text === '' ? line : `/** ${text} */\n${line}`
}

// ── Specification ────────────────────────────────────────────────────────────────────────────────

function specificationOf({ headers, packets, frames, codes, parameters }, text) {
  const parts = {
    packets: table(['type', 'name', 'message'], packets),
    frames: table(['type', 'frame', 'fields'], frames),
    codes: table(['code', 'name', 'meaning'], codes),
    parameters: table(
      ['id', 'parameter', 'unit', 'when absent'],
      parameters.map(([id, , ...rest]) => [id, ...rest]),
    ),
  }
  for (const header of headers) parts[header.name.toLowerCase()] = diagram(header)
  return text.replace(
    /(<!-- wire: (\w+) -->\n)[\s\S]*?(<!-- end -->)/g,
    (_, begin, name, end) => `${begin}\n${parts[name]}\n\n${end}`,
  )
}

function table(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`.replaceAll('|  |', '| |')
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n')
}

const BYTES_PER_ROW = 4
/** Two characters a bit: one for its value, one for the border or space before it. */
const BYTE_WIDTH = 16

/** Draws a header: 32 bits a row, the first byte and its highest bit on the left. */
function diagram({ fields, rest }) {
  const cells = fields.flatMap((field) => Array.from({ length: field.bytes }, () => field))
  const tail = { text: rest }
  while (cells.length % BYTES_PER_ROW !== 0) cells.push(tail)
  cells.push(tail, tail, tail, tail)
  const rows = []
  for (let at = 0; at < cells.length; at += BYTES_PER_ROW) {
    rows.push(cells.slice(at, at + BYTES_PER_ROW))
  }
  return [
    '```',
    ` ${[0, 1, 2, 3]
      .map((ten) => `${ten}                   `)
      .join('')
      .slice(0, 62)}`.trimEnd(),
    ` ${Array.from({ length: 32 }, (_, bit) => bit % 10).join(' ')}`,
    ...rows.flatMap((row, index) => [
      border(rows[index - 1], row),
      drawRow(rows[index - 1], row, rows[index + 1]),
    ]),
    border(rows.at(-1), undefined),
    '```',
  ].join('\n')
}

/** A line between two rows: a field that goes on below is not cut. */
function border(above, below) {
  let line = '+'
  for (let byte = 0; byte < BYTES_PER_ROW; byte++) {
    const goesOn = above !== undefined && below !== undefined && above[byte] === below[byte]
    line += `${(goesOn ? ' ' : '-').repeat(BYTE_WIDTH - 1)}${isJoint(above, below, byte) ? '+' : goesOn ? ' ' : '-'}`
  }
  return line
}

/** Whether lines meet at the right end of a byte. */
function isJoint(above, below, byte) {
  if (byte === BYTES_PER_ROW - 1) return true
  const ends = (row) => row !== undefined && row[byte] !== row[byte + 1]
  return ends(above) || ends(below)
}

/** A field is named where it has most room; both of its parts are when they do not touch. */
function drawRow(above = [], row, below = []) {
  let line = '|'
  for (let byte = 0; byte < BYTES_PER_ROW; ) {
    const field = row[byte]
    let end = byte
    while (row[end] === field) end++
    const here = end - byte
    const count = (cells) => cells.filter((cell) => cell === field).length
    const touches = row.some((cell, index) => cell === field && above[index] === field)
    const isNamed = count(below) <= here && !(touches && count(above) >= here)
    line += `${centre(isNamed ? field.text : '', here * BYTE_WIDTH - 1)}|`
    byte = end
  }
  return line
}

function centre(text, width) {
  const left = Math.floor((width - text.length) / 2)
  return text.padStart(left + text.length).padEnd(width)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, text] of Object.entries(wireFiles())) writeFileSync(join(ROOT, path), text)
}
