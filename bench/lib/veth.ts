/** Two network namespaces joined by a pair of virtual Ethernet ends: what no loopback shortens. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** For documentation (RFC 5737): nothing else has them. */
const SERVER_HOST = '198.51.100.1'
const CLIENT_HOST = '198.51.100.2'

export class VethPair {
  /** Paths of the namespaces. */
  readonly spaces: { readonly server: string; readonly client: string }
  /** Where the server is reached. */
  readonly host = SERVER_HOST
  private readonly names: readonly [string, string]

  /** @throws Error that says what is missing: Linux, root or the command `ip`. */
  constructor() {
    this.names = [`punchline-${process.pid}-a`, `punchline-${process.pid}-b`]
    const [server, client] = this.names
    this.spaces = { server: `/run/netns/${server}`, client: `/run/netns/${client}` }
    try {
      for (const name of this.names) ip('netns', 'add', name)
      ip('-n', server, 'link', 'add', 'end', 'type', 'veth', 'peer', 'end', 'netns', client)
      for (const [name, host] of [[server, SERVER_HOST] as const, [client, CLIENT_HOST] as const]) {
        ip('-n', name, 'address', 'add', `${host}/30`, 'dev', 'end')
        ip('-n', name, 'link', 'set', 'lo', 'up')
        ip('-n', name, 'link', 'set', 'end', 'up')
      }
    } catch (error) {
      this.close()
      throw error
    }
  }

  close(): void {
    for (const name of this.names) {
      if (existsSync(`/run/netns/${name}`)) ip('netns', 'delete', name)
    }
  }
}

function ip(...words: string[]): void {
  const { status, stderr, error } = spawnSync('ip', words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`ip ${words.join(' ')}: ${error?.message ?? stderr.trim()}`)
}
