/** Loads or makes the node keys FOLDER/0 … FOLDER/(COUNT − 1) and prints their ids. */
import { join } from 'node:path'
import { formatNodeId } from '../../transport/index.ts'
import { loadOrCreateNodeKey } from '../identity-file.ts'

const [, , folder = '', count = '0'] = process.argv
for (let index = 0; index < Number(count); index += 1) {
  const { key, origin } = loadOrCreateNodeKey(join(folder, String(index)))
  console.log(`${origin} ${formatNodeId(key.nodeId)}`)
}
