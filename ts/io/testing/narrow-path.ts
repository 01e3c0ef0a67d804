/**
 * A way between two network namespaces over two routers whose middle link is narrow, and who say
 * nothing about what does not fit: routes for what they themselves would send are missing.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** For documentation (RFC 5737): nothing else has them. */
const CLIENT = '192.0.2.1'
const SERVER = '203.0.113.1'
const ROUTERS = [
  { edge: '192.0.2.2', middle: '198.51.100.1', beyond: '203.0.113.0/30' },
  { edge: '203.0.113.2', middle: '198.51.100.2', beyond: '192.0.2.0/30' },
] as const

/** Says why there can be no such path here, or an empty text. */
export function missingForPath(): string {
  if (process.platform !== 'linux') return 'network namespaces are for Linux'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  for (const command of ['ip', 'nsenter']) {
    if (spawnSync(command, ['-V']).status !== 0) return `no ${command}`
  }
  const name = `punchline-probe-${process.pid}`
  const { status, stderr } = spawnSync('ip', ['netns', 'add', name], { encoding: 'utf8' })
  if (status !== 0) return stderr.trim()
  ip('netns', 'delete', name)
  return ''
}

export class NarrowPath {
  readonly serverAddress = SERVER
  /** Paths of the namespaces. */
  readonly spaces: { readonly client: string; readonly server: string }
  private readonly names: readonly string[]
  private readonly routers: readonly string[]

  /** @throws Error that says what is missing. */
  constructor(mtuBytes: number) {
    const [client, first, second, server] = ['client', 'first', 'second', 'server'].map(
      (name) => `punchline-${process.pid}-${name}`,
    ) as [string, string, string, string]
    this.names = [client, first, second, server]
    this.routers = [first, second]
    this.spaces = { client: `/run/netns/${client}`, server: `/run/netns/${server}` }
    try {
      for (const name of this.names) ip('netns', 'add', name)
      join(client, 'edge', first, 'edge')
      join(first, 'middle', second, 'middle')
      join(second, 'edge', server, 'edge')
      for (const [index, host] of [
        [0, { name: client, address: CLIENT }],
        [1, { name: server, address: SERVER }],
      ] as const) {
        const { edge, middle, beyond } = ROUTERS[index]
        const router = this.routers[index] as string
        // Tiers are tried over loopback.
        ip('-n', host.name, 'link', 'set', 'lo', 'up')
        give(host.name, 'edge', host.address)
        ip('-n', host.name, 'route', 'add', 'default', 'via', edge)
        give(router, 'edge', edge)
        give(router, 'middle', middle)
        ip('-n', router, 'route', 'add', beyond, 'via', ROUTERS[1 - index]?.middle as string)
        ip('-n', router, 'rule', 'add', 'pref', '1', 'iif', 'lo', 'blackhole')
        forward(router)
      }
      this.narrow(mtuBytes)
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** The middle link carries IP packets of so many bytes from now on. */
  narrow(mtuBytes: number): void {
    for (const name of this.routers) {
      ip('-n', name, 'link', 'set', 'middle', 'mtu', String(mtuBytes))
    }
  }

  close(): void {
    for (const name of this.names) {
      if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name)
    }
  }
}

function join(left: string, leftEnd: string, right: string, rightEnd: string): void {
  const peer = ['peer', rightEnd, 'netns', right]
  ip('-n', left, 'link', 'add', leftEnd, 'type', 'veth', ...peer)
}

function give(name: string, end: string, address: string): void {
  ip('-n', name, 'address', 'add', `${address}/30`, 'dev', end)
  ip('-n', name, 'link', 'set', end, 'up')
}

function forward(name: string): void {
  const set = 'echo 1 > /proc/sys/net/ipv4/ip_forward'
  ip('netns', 'exec', name, 'sh', '-c', set)
}

function ip(...words: string[]): void {
  const { status, stderr, error } = spawnSync('ip', words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${error?.message ?? stderr.trim()}`)
}
