/**
 * `node --import punchline/register app.js` (or `--require`): from here on the program's own `net`
 * sockets, and those of `http`, `https` and `tls`, choose their transport as `punchline/net` does.
 * Without `PUNCHLINE_TRANSPORT` they go where they always went, and servers accept both ways.
 * `PUNCHLINE_PACKAGES` (names with commas between them) leaves all but those packages alone.
 */
import './net/index.ts'
import { patchBuiltin } from './net/patch.ts'
import { writeStatsAtExit } from './net/stats-file.ts'

patchBuiltin()

const statsFile = process.env['PUNCHLINE_STATS']
if (statsFile) writeStatsAtExit(statsFile)
