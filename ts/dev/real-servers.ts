/**
 * Real servers for the tests of real programs: Debian's Redis and PostgreSQL, each started for one
 * test on a port of its own. `node --import tsx ts/dev/real-servers.ts` installs what is missing.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const START_LIMIT_MS = 30_000
const PACKAGES = { redis: 'redis-server', postgres: 'postgresql' } as const
/** Debian keeps the servers of PostgreSQL here, by version. */
const POSTGRES_FOLDER = '/usr/lib/postgresql'

export type ServerName = keyof typeof PACKAGES

export interface RealServer {
  readonly port: number
  close(): Promise<void>
}

/** Starts a server; a string says in a line why it can't be had. */
export async function startServer(name: ServerName): Promise<RealServer | string> {
  if (commandsOf(name) === undefined) install(name)
  const commands = commandsOf(name)
  if (commands === undefined) return `no ${PACKAGES[name]}: install it, or run as root on Debian`
  return name === 'redis' ? startRedis(commands.server) : startPostgres(commands)
}

interface Commands {
  readonly server: string
  /** Makes an empty database. */
  readonly initialize: string
}

function commandsOf(name: ServerName): Commands | undefined {
  if (name === 'redis') {
    const server = onPath('redis-server')
    return server === undefined ? undefined : { server, initialize: '' }
  }
  const versions = existsSync(POSTGRES_FOLDER) ? readdirSync(POSTGRES_FOLDER) : []
  const folders = versions.map((version) => join(POSTGRES_FOLDER, version, 'bin'))
  const folder = folders.find((each) => existsSync(join(each, 'initdb')))
  if (folder === undefined) return undefined
  return { server: join(folder, 'postgres'), initialize: join(folder, 'initdb') }
}

function onPath(command: string): string | undefined {
  const folders = (process.env['PATH'] ?? '').split(':')
  return folders.map((folder) => join(folder, command)).find((path) => existsSync(path))
}

/** A library that is loaded into us for a test, such as a sanitizer's, is not for other programs. */
function environment(): NodeJS.ProcessEnv {
  const { LD_PRELOAD: _, ...others } = process.env
  return others
}

function install(name: ServerName): void {
  if (process.getuid?.() !== 0 || onPath('apt-get') === undefined) return
  const options = { stdio: 'ignore', timeout: 120_000 } as const
  const env = { ...environment(), DEBIAN_FRONTEND: 'noninteractive' }
  const command = ['install', '-y', '--no-install-recommends', PACKAGES[name]]
  if (spawnSync('apt-get', command, { ...options, env }).status === 0) return
  spawnSync('apt-get', ['update'], { ...options, env })
  spawnSync('apt-get', command, { ...options, env })
}

async function startRedis(command: string): Promise<RealServer | string> {
  const port = await freePort()
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '']
  return whenListening(
    spawn(command, options, { stdio: 'ignore', cwd: tmpdir(), env: environment() }),
    port,
  )
}

async function startPostgres({ server, initialize }: Commands): Promise<RealServer | string> {
  const folder = mkdtempSync(join(tmpdir(), 'punchline-pg-'))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  // PostgreSQL refuses to serve as root.
  const user = process.getuid?.() === 0 ? userNamed('postgres') : undefined
  if (user !== undefined) chownSync(folder, user.uid, user.gid)
  const options = { stdio: 'ignore', cwd: folder, env: environment(), ...user } as const
  const data = join(folder, 'data')
  const made = spawnSync(initialize, ['-D', data, '-A', 'trust', '-U', 'postgres', '-N'], options)
  if (made.status !== 0) {
    remove()
    return 'initdb failed'
  }
  const port = await freePort()
  const where = ['-p', String(port), '-h', '127.0.0.1', '-k', folder]
  const child = spawn(server, ['-D', data, ...where, '-F'], options)
  return whenListening(child, port, remove)
}

function userNamed(name: string): { uid: number; gid: number } {
  const id = (flag: string) => Number(execFileSync('id', [flag, name], { encoding: 'utf8' }))
  return { uid: id('-u'), gid: id('-g') }
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function whenListening(
  child: ChildProcess,
  port: number,
  cleanUp = () => {},
): Promise<RealServer | string> {
  const exited = once(child, 'exit')
  const close = async () => {
    // PostgreSQL's word for "at once"; Redis ends with it, too.
    child.kill('SIGQUIT')
    const timer = setTimeout(() => child.kill('SIGKILL'), 5_000)
    await exited
    clearTimeout(timer)
    cleanUp()
  }
  const deadline = Date.now() + START_LIMIT_MS
  while (child.exitCode === null && Date.now() < deadline) {
    if (await accepts(port)) return { port, close }
  }
  await close()
  return 'the server does not start'
}

async function accepts(port: number): Promise<boolean> {
  const socket = net.connect({ port, host: '127.0.0.1' })
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
  })
  socket.destroy()
  return isOpen
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const name of Object.keys(PACKAGES) as ServerName[]) {
    const server = await startServer(name)
    console.log(`${name}: ${typeof server === 'string' ? server : 'ready'}`)
    if (typeof server !== 'string') await server.close()
  }
}
