// Prints when it ends by itself and what it saw: which sockets and servers keep a process alive?
// Usage: lifetime-program.mjs CASE. The built-in is used, registered or not.
import net from 'node:net'

const [, , which] = process.argv
const seen = []
process.on('exit', () => console.log(JSON.stringify(seen)))

// What keeps the process alive although it should not is cut off, and told.
setTimeout(() => {
  seen.push('had to be stopped')
  process.exit()
}, 4_000).unref()

const server = net.createServer((socket) => onConnection(socket))
let onConnection = (socket) => socket.resume()
const start = (then) => server.listen(0, '127.0.0.1', () => then(server.address().port))

const cases = {
  'unref server'() {
    start(() => server.unref())
    server.on('listening', () => seen.push('listening'))
  },
  'unref before listen'() {
    server.unref()
    start(() => seen.push('listening'))
  },
  'open paused client'() {
    onConnection = (socket) => socket.unref()
    start((port) => {
      server.unref()
      net.connect(port, '127.0.0.1', function () {
        seen.push('connect')
        this.pause()
      })
    })
  },
  'open reading client, unref'() {
    start((port) => {
      server.unref()
      onConnection = (socket) => socket.resume().unref()
      const client = net.connect(port, '127.0.0.1', () => seen.push('connect'))
      client.resume()
      client.unref()
    })
  },
  'client unref before connect, then ref'() {
    onConnection = (socket) => {
      socket.unref().resume()
      setTimeout(() => socket.end('late'), 50)
    }
    const client = new net.Socket()
    client.unref().ref()
    start((port) => {
      server.unref()
      client.connect(port, '127.0.0.1')
      client.on('data', (data) => seen.push(String(data)))
      client.on('close', () => seen.push('close'))
    })
  },
  'server close lets the process end'() {
    start((port) => {
      const client = net.connect(port, '127.0.0.1')
      client.end('x')
      client.resume()
      client.on('close', () => {
        seen.push('close')
        server.close(() => seen.push('server closed'))
      })
    })
  },
  'accepted socket keeps it alive until it ends'() {
    onConnection = (socket) => {
      server.close()
      socket.resume()
      socket.on('close', () => seen.push('accepted closed'))
    }
    start((port) => {
      const client = net.connect(port, '127.0.0.1')
      client.unref()
      setTimeout(() => client.end(), 50)
    })
  },
  'written bytes go out before the end'() {
    let size = 0
    onConnection = (socket) => {
      socket.on('data', (data) => {
        size += data.length
      })
      socket.on('end', () => {
        seen.push(size)
        server.close()
      })
    }
    start((port) => net.connect(port, '127.0.0.1').end(Buffer.alloc(500_000)))
  },
  'half-closed and waiting'() {
    // The peer has ended, nothing is read or written: nothing is left to wait for.
    onConnection = (socket) => socket.unref().end()
    const open = { host: '127.0.0.1', allowHalfOpen: true }
    start((port) => {
      server.unref()
      const client = net.connect({ port, ...open })
      client.resume()
      client.on('end', () => seen.push('end'))
    })
  },
  'a refused client'() {
    const client = net.connect(1, '127.0.0.1')
    client.on('error', (error) => seen.push(error.code))
  },
}

if (which === undefined) seen.push(...Object.keys(cases))
else cases[which]()
