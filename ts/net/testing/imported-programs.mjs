// Programs that are given sockets of `punchline/net`, one by name: by an option that they have for it
// or, where there is none, by what they find in `node:net`. They print what came out: connecting,
// bulk both ways, half-close, an abrupt end.
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import builtin from 'node:net'
import tls from 'node:tls'
import net from '../index.ts'
import { makeCertificate } from './certificate.ts'
import { bulk, closed, codeOf, collect, report } from './programs/kit.mjs'

const { key, cert } = makeCertificate()
const host = '127.0.0.1'
const ways = new Set()
const open = new Set()

/** A server of ours; what it accepts goes to `take`. Servers of Node's need sockets that stay half open. */
async function serve(take) {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket)
    take(socket)
  })
  server.listen(0, host)
  await once(server, 'listening')
  const { port } = server.address()
  const dial = (options) => watched(net.connect({ port, host, ...options }))
  return { port, dial, close: () => server.close() }
}

function watched(socket) {
  return socket.on('connect', () => ways.add(socket.path.transport))
}

/** For packages without such an option: what they call of `node:net` is ours from now on. */
function redirect(name) {
  builtin[name] = (...args) => watched(net[name](...args))
}

const echo = async (request, response) => {
  if (request.url === '/cut') request.socket.destroy()
  else response.end(await collect(request))
}
const upgrade = (_request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
  socket.pipe(socket)
}

/** The same for http and https: `makeSocket` is the option `createConnection`. */
async function overHttp(module, server, way, makeSocket) {
  server.on('upgrade', upgrade)
  const options = { port: way.port, host, createConnection: makeSocket }
  const ask = async (path) => {
    const request = module.request({ ...options, path, method: 'POST' })
    request.end(bulk)
    const [response] = await once(request, 'response')
    return collect(response)
  }
  const body = await ask('/echo')
  const cut = await codeOf(ask('/cut'))
  const headers = { Connection: 'Upgrade', Upgrade: 'echo' }
  const [, raw] = await once(module.get({ ...options, headers }), 'upgrade')
  raw.end(bulk)
  const halfClosed = await collect(raw)
  way.close()
  return { right: body.equals(bulk), halfClosed: halfClosed.equals(bulk), cut }
}

const programs = {
  async http() {
    const server = http.createServer(echo)
    const way = await serve((socket) => server.emit('connection', socket))
    return overHttp(http, server, way, () => way.dial())
  },

  async express() {
    const { default: express } = await import('express')
    const app = express()
    app.use(express.raw({ limit: '10mb', type: () => true }))
    app.post('/echo', (request, response) => response.send(request.body))
    app.post('/cut', (request) => request.socket.destroy())
    const server = http.createServer(app)
    const way = await serve((socket) => server.emit('connection', socket))
    return overHttp(http, server, way, () => way.dial())
  },

  async https() {
    const server = https.createServer({ key, cert, allowHalfOpen: true }, echo)
    const way = await serve((socket) => server.emit('connection', socket))
    const secure = () =>
      tls.connect({ socket: way.dial({ allowHalfOpen: true }), ca: cert, servername: 'localhost' })
    return overHttp(https, server, way, secure)
  },

  async tls() {
    const server = tls.createServer({ key, cert, allowHalfOpen: true }, async (socket) => {
      socket.on('error', () => {})
      const bytes = await collect(socket).catch(() => undefined)
      if (bytes?.length === 3) socket.destroy()
      else socket.end(bytes)
    })
    const way = await serve((socket) => server.emit('connection', socket))
    const connect = () => {
      const socket = way.dial({ allowHalfOpen: true })
      return tls.connect({ socket, ca: cert, servername: 'localhost', allowHalfOpen: true })
    }
    const client = connect()
    client.end(bulk)
    const right = (await collect(client)).equals(bulk)
    const other = connect()
    other.end('cut')
    const rest = await collect(other).then((bytes) => bytes.length, codeOf)
    way.close()
    return { right, rest }
  },

  async http2() {
    const server = http2.createServer()
    server.on('session', (session) => session.on('error', () => {}))
    server.on('stream', async (stream, headers) => {
      stream.on('error', () => {})
      if (headers[':path'] === '/cut') {
        stream.session.destroy()
        return
      }
      stream.respond({ ':status': 200 })
      stream.end(await collect(stream))
    })
    const way = await serve((socket) => server.emit('connection', socket))
    const client = http2.connect(`http://${host}:${way.port}`, {
      createConnection: () => way.dial(),
    })
    client.on('error', () => {})
    const post = (path) => {
      const stream = client.request({ ':path': path, ':method': 'POST' })
      stream.end(bulk)
      return collect(stream)
    }
    const right = (await post('/echo')).equals(bulk)
    const isClosed = closed(client)
    const cut = await codeOf(post('/cut').then((body) => (body.length === 0 ? 'ended' : 'whole')))
    client.destroy()
    await isClosed
    way.close()
    return { right, isCut: cut !== 'whole' }
  },

  async undici() {
    const { Client: UndiciClient } = await import('undici')
    const server = http.createServer(echo)
    server.on('upgrade', upgrade)
    const way = await serve((socket) => server.emit('connection', socket))
    const connect = (_options, callback) => {
      const socket = way.dial()
      socket.on('connect', () => callback(null, socket)).on('error', (error) => callback(error))
    }
    const client = new UndiciClient(`http://${host}:${way.port}`, { connect })
    const post = async (path) => {
      const { body } = await client.request({ path, method: 'POST', body: bulk })
      return Buffer.from(await body.arrayBuffer())
    }
    const right = (await post('/echo')).equals(bulk)
    const cut = await codeOf(post('/cut'))
    const { socket } = await client.upgrade({ path: '/', method: 'GET', protocol: 'echo' })
    socket.end(bulk)
    const halfClosed = (await collect(socket)).equals(bulk)
    await client.close()
    way.close()
    // A reset or a FIN, whichever is first.
    return { right, halfClosed, isCut: cut !== 'no error' }
  },

  async ws() {
    const { WebSocket, WebSocketServer } = await import('ws')
    const server = http.createServer()
    const echoing = new WebSocketServer({ server })
    echoing.on('connection', (peer) => {
      peer.on('error', () => {})
      peer.on('message', (data, isBinary) => {
        if (String(data) === 'cut') peer.terminate()
        else peer.send(data, { binary: isBinary })
      })
    })
    const way = await serve((socket) => server.emit('connection', socket))
    const connect = async () => {
      const client = new WebSocket(`ws://${host}:${way.port}/`, {
        createConnection: () => way.dial(),
      })
      client.on('error', () => {})
      await once(client, 'open')
      return client
    }
    const client = await connect()
    client.send(bulk)
    const [first] = await once(client, 'message')
    client.send(bulk)
    client.close(4321, 'enough')
    const [late] = await once(client, 'message')
    const [code] = await once(client, 'close')
    const other = await connect()
    other.send('cut')
    const [cut] = await closed(other)
    echoing.close()
    way.close()
    return { right: first.equals(bulk), halfClosed: late.equals(bulk), code, cut }
  },

  async mqtt() {
    const { Aedes } = await import('aedes')
    const { MqttClient } = await import('mqtt')
    const broker = await Aedes.createBroker()
    const sockets = []
    const way = await serve((socket) => {
      sockets.push(socket)
      broker.handle(socket)
    })
    const connect = async () => {
      const client = new MqttClient(() => way.dial(), { reconnectPeriod: 0 })
      client.on('error', () => {})
      await once(client, 'connect')
      return client
    }
    const reader = await connect()
    await reader.subscribeAsync('big', { qos: 1 })
    const writer = await connect()
    const arrived = once(reader, 'message')
    await writer.publishAsync('big', bulk, { qos: 1 })
    const [, first] = await arrived
    const last = once(reader, 'message')
    writer.publish('big', bulk)
    writer.stream.end()
    const [, halfClosed] = await last
    await writer.endAsync(true)
    const isCut = closed(reader)
    sockets[0].resetAndDestroy()
    await isCut
    await reader.endAsync(true)
    await new Promise((resolve) => broker.close(resolve))
    way.close()
    return { right: first.equals(bulk), halfClosed: halfClosed.equals(bulk) }
  },

  async ssh2() {
    const { default: ssh } = await import('ssh2')
    const { privateKey } = generateKeyPairSync('rsa', {
      modulusLength: 2048,
      publicKeyEncoding: { type: 'pkcs1', format: 'pem' },
      privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
    })
    const server = new ssh.Server({ hostKeys: [privateKey] }, (peer) => {
      peer.on('error', () => {})
      peer.on('authentication', (attempt) => attempt.accept())
      peer.on('session', (accept) => {
        accept().on('exec', async (acceptCommand, _reject, { command }) => {
          const channel = acceptCommand()
          if (command === 'cut') {
            peer._sock.destroy()
            return
          }
          channel.write(await collect(channel))
          channel.exit(0)
          channel.end()
        })
      })
    })
    const way = await serve((socket) => server.injectSocket(socket))
    const connect = async () => {
      const client = new ssh.Client()
      client.on('error', () => {})
      client.connect({ sock: way.dial(), username: 'u', password: 'p' })
      await once(client, 'ready')
      return client
    }
    const run = (client, command) =>
      new Promise((resolve, reject) =>
        client.exec(command, (error, channel) => (error ? reject(error) : resolve(channel))),
      )
    const client = await connect()
    const channel = await run(client, 'echo')
    channel.end(bulk)
    const right = (await collect(channel)).equals(bulk)
    const isClosed = closed(client)
    client.end()
    await isClosed
    const other = await connect()
    const isCut = closed(other)
    run(other, 'cut').catch(() => {})
    await isCut
    way.close()
    return { right }
  },

  async mysql2() {
    const { default: mysql } = await import('mysql2')
    const text = bulk.toString('hex')
    const column = {
      ...{ catalog: 'def', schema: '', table: '', orgTable: '', name: 'answer', orgName: 'answer' },
      ...{ characterSet: 33, columnLength: 1 << 24, columnType: 253, flags: 129, decimals: 0 },
    }
    const way = await serve((stream) => {
      const connection = mysql.createConnection({ stream, isServer: true })
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
          connection.writeTextResult(
            [{ answer: query.length > 100 ? query.length : text }],
            [column],
          )
      })
    })
    const connect = () => {
      const connection = mysql.createConnection({ stream: way.dial(), user: 'u', password: '' })
      connection.on('error', () => {})
      return connection.promise()
    }
    const client = connect()
    const [[{ answer }]] = await client.query('SELECT')
    const [[{ answer: length }]] = await client.query(`SELECT '${text}'`)
    const last = client.query('SELECT')
    client.connection.stream.end()
    const [[{ answer: late }]] = await last
    const other = connect()
    const cut = await codeOf(other.query('CUT'))
    way.close()
    const right = answer === text && Number(length) > text.length
    return { right, halfClosed: late === text, cut }
  },

  async grpc() {
    const grpc = await import('@grpc/grpc-js')
    const same = (bytes) => bytes
    const definition = {
      pipe: {
        ...{ path: '/test/pipe', requestStream: true, responseStream: true },
        ...{ requestSerialize: same, requestDeserialize: same },
        ...{ responseSerialize: same, responseDeserialize: same },
      },
    }
    const server = new grpc.Server()
    server.addService(definition, {
      pipe: (call) => {
        call.on('error', () => {})
        call.on('data', (bytes) => call.write(bytes))
        call.on('end', () => {
          call.write(bulk)
          call.end()
        })
      },
    })
    const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
    const way = await serve((socket) => injector.injectConnection(socket))
    redirect('connect')
    const Client = grpc.makeGenericClientConstructor(definition)
    const client = new Client(`${host}:${way.port}`, grpc.credentials.createInsecure())
    const call = client.pipe()
    call.end(bulk)
    const answer = []
    for await (const bytes of call) answer.push(bytes)
    const cut = client.pipe()
    const failed = once(cut, 'error').then(([error]) => error.code)
    cut.write(bulk)
    await once(cut, 'data')
    for (const socket of open) socket.destroy()
    const code = await failed
    client.close()
    server.forceShutdown()
    way.close()
    // The echo, and what the server says when the client has ended its half.
    const [first, late] = answer.map((bytes) => bytes.equals(bulk))
    return { right: first, halfClosed: late, isCut: code === grpc.status.UNAVAILABLE }
  },

  async ioredis() {
    const { default: Redis } = await import('ioredis')
    const way = await relay()
    class Connector {
      connect() {
        this.socket = way.dial()
        return Promise.resolve(this.socket)
      }
      disconnect() {
        this.socket?.end()
      }
      check() {
        return true
      }
    }
    const connect = () => new Redis({ Connector, retryStrategy: () => null }).on('error', () => {})
    const client = connect()
    await client.set('imported', bulk)
    const late = client.getBuffer('imported')
    await client.quit()
    const other = connect()
    await other.del('imported')
    const waiting = codeOf(other.blpop('never', 0))
    return { right: (await late).equals(bulk), isCut: await way.cut(waiting) }
  },

  async redis() {
    const { createClient } = await import('redis')
    const way = await relay()
    redirect('createConnection')
    const connect = async () => {
      const socket = { host, port: way.port, reconnectStrategy: false }
      const client = createClient({ socket }).on('error', () => {})
      await client.connect()
      return client
    }
    const text = bulk.toString('hex')
    const client = await connect()
    await client.set('redirected', text)
    const value = await client.get('redirected')
    await client.del('redirected')
    const last = client.echo(text)
    await client.close()
    const other = await connect()
    const isCut = await way.cut(codeOf(other.blPop('never', 0)))
    return { right: value === text && (await last) === text, isCut }
  },

  async pg() {
    const { default: pg } = await import('pg')
    const way = await relay()
    const stream = () => {
      const socket = new net.Socket()
      socket.on('connect', () => ways.add(socket.path.transport))
      return socket
    }
    const options = { host, port: way.port, user: 'postgres', database: 'postgres', stream }
    const client = new pg.Client(options)
    client.on('error', () => {})
    await client.connect()
    const { rows } = await client.query('SELECT $1::bytea AS value', [bulk])
    await client.end()
    const other = new pg.Client(options)
    other.on('error', () => {})
    await other.connect()
    const isCut = await way.cut(codeOf(other.query('SELECT pg_sleep(60)')))
    return { right: rows[0].value.equals(bulk), isCut }
  },
}

/** Real servers listen on the kernel's TCP: what comes to us goes on to it. */
async function relay() {
  const port = Number(process.env.SERVER_PORT)
  const way = await serve((socket) => {
    const inner = net.connect({ port, host, transport: 'tcp' })
    socket.pipe(inner).pipe(socket)
    for (const each of [socket, inner]) each.on('error', () => {})
    socket.on('close', () => inner.destroy())
    inner.on('close', () => socket.destroy())
  })
  const cut = async (waiting) => {
    await new Promise((resolve) => setImmediate(resolve))
    for (const socket of open) socket.destroy()
    const code = await waiting
    way.close()
    return code !== 'no error'
  }
  return { ...way, cut }
}

const program = programs[process.argv[2]]
report({ ...(await program()), ways: [...ways] })
// Some servers leave their half of a half-closed connection open.
for (const socket of open) socket.destroy()
