/** What this machine offers to datagrams, found by trying. */
import { readdirSync, readFileSync } from 'node:fs'
import { arch, availableParallelism, platform, release } from 'node:os'
import { type AddonStatus, type Attempt, addonStatus, loadAddon } from '../../bindings/addon.ts'
import { preferredBuild } from '../../bindings/wasm-build.ts'
import { AddressBook } from '../transport/index.ts'
import { chooseBackend, whyNot } from './backend.ts'
import { type Backend, BUFFER_BYTES, type DatagramSocket } from './datagram-socket.ts'
import { Loop } from './loop.ts'

/** How long a datagram to ourselves may take. */
const LOOPBACK_MS = 2_000
const CLOCK_SAMPLES = 10_000

export interface MachineReport {
  readonly node: string
  readonly system: string
  readonly cores: number
  /** The tier that sockets get; absent when none works. */
  readonly backend?: Backend
  /** Why it is not a faster one, or why there is none. */
  readonly backendReason: string
  readonly tiers: Readonly<Record<Backend, Attempt>>
  readonly addon: AddonStatus
  /** Many datagrams in one send call, and in one receive call. Needs the addon. */
  readonly segmentation: Attempt
  readonly receiveOffload: Attempt
  /** How checksums are computed over whole batches: by the addon, or `core`. */
  readonly crc32c: string
  /** Whether packets can be protected by AES, and which way. */
  readonly aes128Gcm: Attempt & { readonly way?: string }
  /** The core's build: `simd` or `plain`. */
  readonly core: string
  /** Granted to a socket, of what was asked for; 0: no socket could be opened. */
  readonly receiveBufferBytes: number
  readonly sendBufferBytes: number
  readonly wantedBufferBytes: number
  /** Whether a datagram to ourselves arrives through that tier. */
  readonly loopback: Attempt
  /** Largest IP packet of each interface, where the system says it. */
  readonly mtuBytes: Readonly<Record<string, number>>
  /** Smallest step of the clock that was seen, microseconds. */
  readonly clockStepMicros: number
  /** What keeps it from being faster, and what to do about it. */
  readonly advice: readonly string[]
}

const NO_ADDON: Attempt = { available: false, reason: 'no addon' }
const attempt = (reason: string): Attempt => ({ available: reason === '', reason: reason || 'ok' })

/** Tries everything; takes some milliseconds, and opens and closes one socket. */
export async function inspectMachine(): Promise<MachineReport> {
  const native = loadAddon()?.describe(whyNot('mmsg') === '')
  const socket = await trySocket()
  const tiers = {
    uring: attempt(whyNot('uring')),
    mmsg: attempt(whyNot('mmsg')),
    dgram: attempt(''),
  }
  const facts = {
    node: process.version,
    system: `${platform()} ${release()} ${arch()}`,
    cores: availableParallelism(),
    tiers,
    addon: addonStatus(),
    segmentation: native?.udpSegmentation ?? NO_ADDON,
    receiveOffload: native?.udpReceiveOffload ?? NO_ADDON,
    crc32c: native?.crc32c ?? 'core',
    aes128Gcm: native?.aes128Gcm ?? NO_ADDON,
    core: preferredBuild(),
    wantedBufferBytes: BUFFER_BYTES,
    mtuBytes: readMtus(),
    clockStepMicros: clockStep(),
    ...socket,
  }
  return { ...facts, advice: adviceFor(facts) }
}

type SocketFacts = Pick<
  MachineReport,
  'backend' | 'backendReason' | 'receiveBufferBytes' | 'sendBufferBytes' | 'loopback'
>

async function trySocket(): Promise<SocketFacts> {
  let loop: Loop | undefined
  let socket: DatagramSocket | undefined
  try {
    loop = new Loop({ backend: chooseBackend(), memoryBytes: 4 * 1024 * 1024 })
    const opened = openOn(loop)
    socket = opened.socket
    const arrived = await opened.arrived
    return {
      backend: socket.backend,
      backendReason: loop.backendReason,
      receiveBufferBytes: socket.receiveBufferBytes,
      sendBufferBytes: socket.sendBufferBytes,
      loopback: attempt(arrived ? '' : `nothing within ${LOOPBACK_MS} ms`),
    }
  } catch (error) {
    const reason = (error as Error).message
    return {
      backendReason: reason,
      receiveBufferBytes: 0,
      sendBufferBytes: 0,
      loopback: attempt(reason),
    }
  } finally {
    socket?.close()
    loop?.close()
  }
}

/** Opens a socket that sends one datagram to itself. */
function openOn(loop: Loop): { socket: DatagramSocket; arrived: Promise<boolean> } {
  let tell: (isThere: boolean) => void = () => {}
  const arrived = new Promise<boolean>((resolve) => {
    tell = resolve
  })
  const socket = loop.openSocket({
    index: 0,
    binding: { address: '127.0.0.1', port: 0, family: 4 },
    addresses: new AddressBook(),
    owner: {
      datagram: () => tell(true),
      received: () => tell(true),
      writable() {},
      refused() {},
      failed: () => tell(false),
    },
  })
  const timer = setTimeout(() => tell(false), LOOPBACK_MS)
  socket.send(Buffer.from('?'), '127.0.0.1', socket.port)
  return { socket, arrived: arrived.finally(() => clearTimeout(timer)) }
}

/** Linux only. */
function readMtus(): Record<string, number> {
  try {
    const folder = '/sys/class/net'
    const entries = readdirSync(folder).map((name) => {
      return [name, Number(readFileSync(`${folder}/${name}/mtu`, 'latin1'))] as const
    })
    return Object.fromEntries(entries.filter(([, bytes]) => bytes > 0))
  } catch {
    return {}
  }
}

function clockStep(): number {
  let least = Infinity
  let last = performance.now()
  for (let count = 0; count < CLOCK_SAMPLES; count++) {
    const now = performance.now()
    if (now > last) least = Math.min(least, now - last)
    last = now
  }
  return Math.round(least * 1e6) / 1e3
}

function adviceFor(facts: Omit<MachineReport, 'advice'>): string[] {
  const advice: string[] = []
  const { tiers, wantedBufferBytes, receiveBufferBytes } = facts
  if (!tiers.mmsg.available && platform() === 'linux') {
    advice.push('no native tier: build the addon with `npm run build:native`')
  }
  if (tiers.mmsg.available && !facts.segmentation.available) {
    advice.push('no segmentation offload (UDP_SEGMENT): Linux 4.18 or newer has it')
  }
  if (tiers.mmsg.available && !facts.receiveOffload.available) {
    advice.push('no receive offload (UDP_GRO): Linux 5.0 or newer has it')
  }
  if (receiveBufferBytes > 0 && receiveBufferBytes < wantedBufferBytes) {
    const wanted = `net.core.rmem_max=${wantedBufferBytes}`
    advice.push(`small receive buffers bound bursts: sysctl -w ${wanted} net.core.wmem_max=…`)
  }
  if (facts.core !== 'simd') advice.push('no SIMD: ciphers and checksums of the core are slow')
  if (!facts.loopback.available) advice.push(`UDP does not work here: ${facts.loopback.reason}`)
  return advice
}
