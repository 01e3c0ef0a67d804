// pg against a real PostgreSQL: a big value both ways, a pool, an error, an orderly end, an abrupt end.
import { once } from 'node:events'
import pg from 'pg'
import { bulk, codeOf, report } from './kit.mjs'
import { relay } from './relay.mjs'

const way = await relay(Number(process.env.SERVER_PORT))
const options = { host: '127.0.0.1', port: way.port, user: 'postgres', database: 'postgres' }
const client = new pg.Client(options)
client.on('error', () => {})
await client.connect()
const { rows } = await client.query('SELECT $1::bytea AS value', [bulk])
const syntax = await codeOf(client.query('SELEKT'))
const pool = new pg.Pool({ ...options, max: 3 })
pool.on('error', () => {})
const sums = await Promise.all(
  [1, 2, 3, 4, 5, 6].map(async (n) => (await pool.query('SELECT $1::int * 2 AS n', [n])).rows[0].n),
)
await pool.end()
// The client ends its half with a word of the protocol; the server closes.
const other = new pg.Client(options)
await other.connect()
const isClosed = once(other.connection.stream, 'end')
await other.query('SELECT 1')
await other.end()
await isClosed
const sleeping = client.query('SELECT pg_sleep(60)')
const cut = codeOf(sleeping)
way.cut()
const isCut = (await cut) !== 'no error'
await client.end().catch(() => {})
way.close()
report({
  value: rows[0].value.equals(bulk),
  syntax,
  sums,
  isCut,
})
