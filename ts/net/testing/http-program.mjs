// An ordinary program: 1,000 requests on 10 kept-alive connections.
import http from 'node:http'

const REQUESTS = 1_000
const CONNECTIONS = 10

const sockets = new Set()
const server = http.createServer((request, response) => {
  sockets.add(request.socket)
  response.end(`you asked for ${request.url}`)
})
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const { port } = server.address()
const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS })

function get(path) {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path, agent }, (response) => {
      let body = ''
      response.setEncoding('utf8')
      response.on('data', (text) => {
        body += text
      })
      response.on('end', () => resolve(body))
      response.on('error', reject)
    })
    request.on('error', reject)
  })
}

const paths = Array.from({ length: REQUESTS }, (_, index) => `/${index}`)
const bodies = await Promise.all(paths.map(get))
agent.destroy()
await new Promise((resolve) => server.close(resolve))
const right = bodies.filter((body, index) => body === `you asked for /${index}`).length
console.log(JSON.stringify({ right, connections: sockets.size }))
