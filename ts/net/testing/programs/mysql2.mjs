// mysql2: its own server part answers its client; a big result, a big parameter, half-close, an abrupt end.
import { once } from 'node:events'
import mysql from 'mysql2'
import { bulk, codeOf, report } from './kit.mjs'

const text = bulk.toString('hex')
const server = mysql.createServer()
const column = {
  catalog: 'def',
  schema: '',
  table: '',
  orgTable: '',
  name: 'answer',
  orgName: 'answer',
  characterSet: 33,
  columnLength: 1 << 24,
  columnType: 253,
  flags: 129,
  decimals: 0,
}
server.on('connection', (connection) => {
  connection.on('error', () => {})
  connection.serverHandshake({
    protocolVersion: 4,
    serverVersion: '8.0.0',
    connectionId: 1,
    statusFlags: 2,
    characterSet: 8,
    capabilityFlags: 0xffffff ^ 2048,
    authCallback: (_parameters, callback) => callback(null),
  })
  connection.on('query', (query) => {
    if (query === 'CUT') connection.stream.destroy()
    else
      connection.writeTextResult([{ answer: query.length > 100 ? query.length : text }], [column])
  })
})
server.listen(0, '127.0.0.1')
const inner = server._server
await once(inner, 'listening')
const options = { host: '127.0.0.1', port: inner.address().port, user: 'u', password: '' }
const client = mysql.createConnection(options).promise()
const [rows] = await client.query('SELECT')
const [lengths] = await client.query(`SELECT '${text}'`)
client.connection.on('error', () => {})
const halfClosed = client.query('SELECT')
client.connection.stream.end()
const [[{ answer }]] = await halfClosed
await once(client.connection.stream, 'close')
const third = mysql.createConnection(options).promise()
await third.query('SELECT')
await third.end()
const other = mysql.createConnection(options)
other.on('error', () => {})
const cut = await codeOf(other.promise().query('CUT'))
await new Promise((resolve) => inner.close(resolve))
report({
  halfClosed: answer === text,
  right: rows[0].answer === text,
  length: Number(lengths[0].answer) > text.length,
  cut,
})
