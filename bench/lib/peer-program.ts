/**
 * What a peer's process runs: `peer.ts` as one plain module, as programs of users are. A loader for
 * TypeScript in the process would be measured with it: its heap makes V8 collect at other times.
 */
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import type { PeerOrder } from './messages.ts'

const SOURCE = fileURLToPath(new URL('./peer.ts', import.meta.url))
const PROGRAM = fileURLToPath(new URL('../../build/bench/peer.mjs', import.meta.url))
const LOADER = ['--import', import.meta.resolve('tsx')]

let isBuilt = false

/** Node's arguments. Parties that import the project's sources, or are files, need the loader. */
export function peerArguments({ party }: PeerOrder): { path: string; execArgv: string[] } {
  const common = ['--expose-gc']
  if (party.startsWith('raw@') || party.includes('/')) {
    return { path: SOURCE, execArgv: [...common, ...LOADER] }
  }
  if (!isBuilt) buildPeer()
  isBuilt = true
  return { path: PROGRAM, execArgv: common }
}

function buildPeer(): void {
  buildSync({
    entryPoints: [SOURCE],
    outfile: PROGRAM,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['punchline/*', './raw-party.ts'],
  })
}
