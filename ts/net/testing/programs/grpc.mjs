// gRPC: unary and streaming calls with big messages, half-close, a deadline, an abrupt end.
import grpc from '@grpc/grpc-js'
import { bulk, report } from './kit.mjs'

const same = (bytes) => bytes
const method = (path, requestStream, responseStream) => ({
  path,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})
const service = {
  echo: method('/test/echo', false, false),
  pipe: method('/test/pipe', true, true),
  never: method('/test/never', false, false),
}
const server = new grpc.Server()
server.addService(service, {
  echo: (call, callback) => callback(null, call.request),
  pipe: (call) => {
    call.on('data', (bytes) => call.write(bytes))
    call.on('end', () => {
      call.write(bulk)
      call.end()
    })
  },
  never: () => {},
})
const port = await new Promise((resolve, reject) =>
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
    error ? reject(error) : resolve(bound),
  ),
)
const Client = grpc.makeGenericClientConstructor(service)
const client = new Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
const unary = (name, bytes, options = {}) =>
  new Promise((resolve) =>
    client[name](bytes, options, (error, answer) => resolve(error ? error.code : answer)),
  )
const echoed = await unary('echo', bulk)
const pipe = client.pipe()
for (let index = 0; index < 10; index += 1) pipe.write(bulk.subarray(0, 100_000))
pipe.end()
let size = 0
for await (const bytes of pipe) size += bytes.length
const late = await unary('never', bulk.subarray(0, 1), { deadline: Date.now() + 100 })
const cut = unary('never', bulk.subarray(0, 1))
await unary('echo', bulk.subarray(0, 1))
server.forceShutdown()
const code = await cut
client.close()
report({ right: echoed.equals(bulk), size, late, isCut: code !== 0 })
