/** The module's own members, and constructors without a connection. */
import builtin from 'node:net'
import { Duplex } from 'node:stream'
import { scenario, type World } from './harness.ts'

const socketMembers = (w: World) => new Set([...prototypeKeys(new w.net.Socket())])

export const moduleScenarios = [
  scenario('every member of the built-in is there and of the same kind', async (w) => {
    for (const name of Object.keys(builtin).sort()) {
      w.note('m', name, typeof Reflect.get(w.net, name))
    }
  }),

  scenario('identities and names', async (w) => {
    for (const name of ['Socket', 'Server', 'Stream', 'createServer', 'isIP'] as const) {
      w.note('m', name, (w.net[name] as { name: string }).name)
    }
    w.note('m', w.net.Stream === w.net.Socket, w.net.createConnection === w.net.connect)
    w.note('m', w.net.Socket.prototype.constructor === w.net.Socket)
    w.note('m', w.net.Server.prototype.constructor === w.net.Server)
    w.note('m', w.net.BlockList === builtin.BlockList, w.net.isIPv6 === builtin.isIPv6)
  }),

  scenario('sockets and servers have every member that the built-in ones have', async (w) => {
    const members = socketMembers(w)
    for (const name of prototypeKeys(new builtin.Socket()))
      w.note('socket', name, members.has(name))
    const server = prototypeKeys(w.net.createServer())
    for (const name of prototypeKeys(builtin.createServer())) {
      w.note('server', name, server.includes(name))
    }
  }),

  scenario('constructors work without new', async (w) => {
    const make = w.net as unknown as Record<'Socket' | 'Stream' | 'Server', (o?: object) => object>
    for (const name of ['Socket', 'Stream', 'Server'] as const) {
      const made = make[name]({ allowHalfOpen: true })
      w.note('m', name, made instanceof (w.net[name] as never), Reflect.get(made, 'allowHalfOpen'))
    }
    w.note('m', make.Socket() instanceof Duplex, make.Socket() instanceof builtin.Socket)
    w.note('m', make.Server() instanceof builtin.Server)
  }),

  scenario('constructors can be subclassed, as classes and as functions', async (w) => {
    class Modern extends w.net.Socket {
      readonly mark = 7
    }
    class ModernServer extends w.net.Server {
      readonly mark = 8
    }
    function Old(this: object): void {
      Reflect.apply(w.net.Socket, this, [])
    }
    Object.setPrototypeOf(Old.prototype, w.net.Socket.prototype)
    const modern = new Modern()
    w.note('m', modern.mark, modern instanceof w.net.Socket, modern.constructor.name)
    w.note('m', new ModernServer().mark, new ModernServer() instanceof w.net.Server)
    const old = Reflect.construct(Old, []) as builtin.Socket
    w.note('m', old instanceof w.net.Socket, old.readyState, old.bytesRead)
  }),

  scenario('the constructor refuses what it does not support', async (w) => {
    const cases: object[] = [
      { objectMode: true },
      { readableObjectMode: true },
      { writableObjectMode: true },
      { keepAliveInitialDelay: 'soon' },
      { signal: 'INVALID' },
      { fd: -1 },
      { fd: 'zero' },
    ]
    for (const options of cases) {
      const [name = ''] = Object.keys(options)
      w.try('m', name, () => new w.net.Socket(options as never).destroyed)
    }
    w.try('m', 'server 1', () => new w.net.Server(1 as never))
    w.try('m', 'server highWaterMark', () => new w.net.Server({ highWaterMark: 'x' } as never))
    w.try('m', 'server delay', () => new w.net.Server({ keepAliveInitialDelay: 'x' } as never))
  }),

  scenario('a new socket', async (w) => {
    const socket = new w.net.Socket({ highWaterMark: 123 } as never)
    const { connecting, pending, destroyed, readyState, bytesRead, bytesWritten } = socket
    w.note('m', connecting, pending, destroyed, readyState, bytesRead, bytesWritten)
    const { readableHighWaterMark, writableHighWaterMark, allowHalfOpen, timeout } = socket
    w.note('m', readableHighWaterMark, writableHighWaterMark, allowHalfOpen, timeout)
    const { localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily } = socket
    w.note('m', localAddress, localPort, localFamily, remoteAddress, remotePort, remoteFamily)
    w.note('m', socket.address(), socket.bufferSize, Reflect.get(socket, '_handle'))
    w.note('m', socket.listenerCount('end'), Reflect.get(socket, 'server'))
    w.note('m', Reflect.get(w.net.Socket.prototype, 'bytesWritten'))
    w.note('m', socket === socket.setNoDelay(), socket === socket.setKeepAlive(true, 1000))
    w.note('m', socket === socket.ref(), socket === socket.unref(), socket === socket.setTimeout(0))
  }),

  scenario('a new server', async (w) => {
    const server = w.net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true })
    for (const name of ['listening', 'allowHalfOpen', 'pauseOnConnect', 'noDelay', 'keepAlive']) {
      w.note('m', name, Reflect.get(server, name))
    }
    for (const name of [
      '_connections',
      'highWaterMark',
      'keepAliveInitialDelay',
      'maxConnections',
    ]) {
      w.note('m', name, Reflect.get(server, name))
    }
    w.note('m', server.address(), server === server.ref(), server === server.unref())
  }),

  scenario('addresses, block lists and socket addresses', async (w) => {
    for (const text of ['127.0.0.1', '::1', 'fe80::1%eth0', 'localhost', '1.2.3', '', 7]) {
      const { isIP, isIPv4, isIPv6 } = w.net
      w.note('m', text, isIP(text as string), isIPv4(text as string), isIPv6(text as string))
    }
    const list = new w.net.BlockList()
    list.addSubnet('10.0.0.0', 8)
    list.addAddress('::1', 'ipv6')
    list.addRange('1.1.1.1', '1.1.1.9')
    w.note('m', list.check('10.1.2.3'), list.check('::1', 'ipv6'), list.check('1.1.1.10'))
    w.note('m', list.rules)
    const address = new w.net.SocketAddress({ address: '127.0.0.1', port: 80 })
    w.note('m', address.address, address.family, address.port, address.flowlabel)
  }),

  scenario('defaults of the family selection are shared with the built-in', async (w) => {
    const { net } = w
    const before = [
      net.getDefaultAutoSelectFamily(),
      net.getDefaultAutoSelectFamilyAttemptTimeout(),
    ] as const
    net.setDefaultAutoSelectFamily(!before[0])
    net.setDefaultAutoSelectFamilyAttemptTimeout(1)
    w.note('m', builtin.getDefaultAutoSelectFamily() !== before[0])
    w.note('m', builtin.getDefaultAutoSelectFamilyAttemptTimeout())
    net.setDefaultAutoSelectFamily(before[0])
    net.setDefaultAutoSelectFamilyAttemptTimeout(before[1])
    w.try('m', 'family', () => net.setDefaultAutoSelectFamily('yes' as never))
    w.try('m', 'timeout', () => net.setDefaultAutoSelectFamilyAttemptTimeout(0))
  }),
]

function prototypeKeys(object: object): string[] {
  const keys = new Set<string>()
  for (let one: object | null = object; one !== null; one = Object.getPrototypeOf(one)) {
    for (const key of Object.getOwnPropertyNames(one)) keys.add(key)
    if (one === Duplex.prototype) break
  }
  return [...keys].sort()
}
