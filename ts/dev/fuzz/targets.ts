/** All parsers, over the core as it is or with a defect in it. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { PlainCore } from '../../../bindings/testing/station.ts'
import { frameTarget, packetTarget } from './core-targets.ts'
import type { FuzzTarget } from './engine.ts'
import { textTargets } from './text-targets.ts'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

/** Checks that are taken out of the core to see whether the fuzzer finds that they are missing. */
export const DEFECTS: Readonly<
  Record<
    string,
    { readonly file: string; readonly from: string; readonly to: string; readonly target: string }
  >
> = {
  'long-stream-frame': {
    file: 'frames.ts',
    from: 'if (length > f64(end - p)) return -CODE_PROTOCOL',
    to: '',
    target: 'frame',
  },
  'integer-past-the-end': {
    file: 'frames.ts',
    from: 'if (p >= end || p + varintSizeAt(p) > end) return TRUNCATED',
    to: '',
    target: 'frame',
  },
  'short-short-header': {
    file: 'ingest.ts',
    from: 'if (size < SHORT_SIZE) {',
    to: 'if (size < 2) {',
    target: 'packet',
  },
  'short-long-header': {
    file: 'strangers.ts',
    from: 'if (size < LONG_SIZE + CRC_SIZE) {',
    to: 'if (size < 2) {',
    target: 'packet',
  },
}

export async function makeTargets(defect?: string): Promise<FuzzTarget[]> {
  const plain = await loadPlain(defect)
  return [await packetTarget(plain), await frameTarget(plain), ...textTargets()]
}

/** The plain core; with a defect, from a copy of its source that has it. */
async function loadPlain(name: string | undefined): Promise<PlainCore> {
  if (name === undefined) return import('../../../bindings/plain.ts')
  const defect = DEFECTS[name]
  if (defect === undefined) throw new RangeError(`there is no defect ${name}`)
  const folder = mkdtempSync(join(ROOT, 'build/defect-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  for (const part of ['assembly', 'bindings']) {
    cpSync(join(ROOT, part), join(folder, part), { recursive: true })
  }
  const path = join(folder, 'assembly', defect.file)
  const source = readFileSync(path, 'utf8')
  if (!source.includes(defect.from)) throw new Error(`${defect.file} has no "${defect.from}"`)
  writeFileSync(path, source.replace(defect.from, defect.to))
  return import(pathToFileURL(join(folder, 'bindings/plain.ts')).href)
}
