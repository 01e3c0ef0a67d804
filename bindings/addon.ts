/**
 * Finds and loads the optional native addon. Never throws: without it everything works, and
 * `addonStatus()` says which files were tried and why each was not taken.
 */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { PACKAGE_ROOT } from './package-root.cjs'

/** The addon's exports mean what `native/addon.cc` says under this number. */
const ADDON_ABI = 3

/** Whether something was granted when it was tried, and the system's words when it was not. */
export interface Attempt {
  readonly available: boolean
  /** `ok`, the text of the errno, or `not probed`. */
  readonly reason: string
}

/** What the machine offers to the native tiers. */
export interface MachineReport {
  /** Kernel release, as `uname -r` prints it. */
  readonly kernel: string
  /** A real ring was set up, with these IORING_SETUP_* flags and IORING_FEAT_* bits. */
  readonly ioUring: Attempt & { readonly setupFlags?: number; readonly features?: number }
  /** UDP_SEGMENT: many datagrams in one send call. */
  readonly udpSegmentation: Attempt
  /** UDP_GRO: many datagrams in one receive call. */
  readonly udpReceiveOffload: Attempt
  readonly cpu: {
    readonly sse42: boolean
    readonly pclmul: boolean
    readonly aes: boolean
    readonly avx2: boolean
    readonly avx512f: boolean
    readonly avx512bw: boolean
    readonly vaes: boolean
    readonly vpclmulqdq: boolean
    readonly armCrc: boolean
    readonly armAes: boolean
  }
  /** How CRC32C is computed: `avx512+vpclmulqdq`, `sse4.2+pclmul`, `armv8-crc`, `slicing-8`. */
  readonly crc32c: string
  /** AES-128-GCM in job lists, and how: `avx512+vaes`, or `openssl`, that of this Node. */
  readonly aes128Gcm: Attempt & { readonly way?: string }
}

/** A way to AES-128-GCM, in place: `bytes` are a payload and 16 bytes for its tag. For tests. */
export interface AesWay {
  /** @throws TypeError for a key that has not 16 bytes, a nonce that has not 12 */
  seal(key: Uint8Array, nonce: Uint8Array, header: Uint8Array, bytes: Uint8Array): boolean
  /** False when it is not what was sealed; the payload is worthless then. */
  open(key: Uint8Array, nonce: Uint8Array, header: Uint8Array, bytes: Uint8Array): boolean
}

/** The exports of the addon. */
export interface NativeAddon {
  readonly abi: number
  /** Asks processor and kernel. A profile that kills at io_uring calls needs `false`. */
  describe(probeIoUring?: boolean): MachineReport
  /** Gives the CRC32C (0 … 2^32 − 1) of `bytes`, continuing from `seed`. */
  crc32c(bytes: Uint8Array, seed?: number): number
  /** The same by every way that this processor can go, by name. */
  readonly crc32cWays: Readonly<Record<string, NativeAddon['crc32c']>>

  /** Every way to AES-128-GCM that this process can go, by name, the fastest first. */
  aesWays(): Readonly<Record<string, AesWay>>
  /** For tests: how many ways with a fault pass the self-test that all ways must pass. */
  aesFaultsMissed(): number

  // What follows is `native/README.md`'s subject. Ids are numbers; a call with an id that is not
  // (any more) in use does nothing, and hot ones answer −1.

  /** Sizes and places that both sides must agree on; absent when libuv is not the known one. */
  readonly shared?: {
    readonly descriptorBytes: number
    readonly slotBytes: number
    readonly slots: number
    readonly jobBytes: number
    /** Words to share, and where refusals lie in them. */
    readonly words: number
    readonly refusalsAt: number
    readonly refusalWords: number
  }
  /** Does once what the io_uring tier does all the time; may take a millisecond. */
  probeRing(): Attempt
  /**
   * Opens what belongs to one core memory. The hub lives until `closeHub`, or until `anchor` is
   * collected while no socket is open.
   * @throws TypeError when the layout does not fit the memory
   */
  openHub(
    anchor: object,
    memory: Uint8Array,
    layout: Int32Array,
    words: Int32Array,
    callback: (event: number, socket: number, count: number) => void,
  ): { readonly id: number; readonly packedBytes: number }
  closeHub(hub: number): void
  openRing(hub: number): Attempt
  hubFigures(hub: number): NativeHubFigures | undefined
  setBusyPoll(hub: number, micros: number): void
  openSocket(hub: number, address: Int32Array, options: NativeSocketOptions): NativeSocketOpened
  closeSocket(socket: number): void
  setSocketRef(socket: number, isRef: boolean): void
  /** For tests: the next `times` send calls fail with this errno without reaching the kernel. */
  failSends(socket: number, errno: number, times: number): void
  socketFigures(socket: number): NativeSocketFigures | undefined
  /** Sends the first `count` send descriptors. Bit 0: blocked, the rest waits. Bit 1: refusals. */
  flush(socket: number, count: number): number
  /** Sends one datagram from any memory; the same answer. */
  send(socket: number, bytes: Uint8Array, address: Int32Array): number
  /** Moves the socket's refusals to the shared words; gives how many. */
  takeRefusals(socket: number): number
  setDeadline(hub: number, micros: number): void
  /** Runs jobs that lie at an address of the memory; gives how many were done. */
  runJobs(hub: number, jobs: number, count: number, verdicts: number): number
  /** errno of the refusal, or 0 and the address in `out`. */
  localAddressTo(address: Int32Array, family: number, out: Int32Array): number
  /** What this thread has open. */
  liveObjects(): { readonly hubs: number; readonly sockets: number }
}

export interface NativeSocketOptions {
  readonly family: 4 | 6
  readonly ipv6Only?: boolean
  readonly reusePort?: boolean
  readonly dontFragment?: boolean
  readonly ecn?: boolean
  readonly segmentation?: boolean
  readonly receiveOffload?: boolean
  readonly verifyCrc32c?: boolean
  readonly receiveBufferBytes?: number
  readonly sendBufferBytes?: number
  readonly index?: number
  readonly ring?: boolean
}

/** `error` is 0, or the errno of `syscall`, and then the rest is absent. */
export interface NativeSocketOpened {
  readonly error: number
  readonly syscall: string
  readonly id?: number
  readonly address?: Int32Array
  readonly isOnRing?: boolean
  readonly receiveBufferBytes?: number
  readonly sendBufferBytes?: number
}

/** What a native socket has counted since it was opened. */
export interface NativeSocketFigures {
  readonly sendCalls: number
  readonly receiveCalls: number
  readonly datagramsSent: number
  readonly datagramsReceived: number
  /** Send descriptors that pointed out of bounds. */
  readonly descriptorsRefused: number
  /** Datagrams that the system would not take. */
  readonly sendsFailed: number
  readonly receivesTruncated: number
  /** How often segmentation offload failed and was given up. */
  readonly segmentationFailures: number
  /** How often the send buffer was full. */
  readonly blocked: number
  /** Datagrams that the kernel dropped because the receive buffer was full. */
  readonly drops: number
  readonly hasSegmentation: boolean
  readonly segmentationReason: string
  readonly hasReceiveOffload: boolean
  /** DF is set: what is too large for the way is dropped, never cut. */
  readonly neverFragments: boolean
}

export interface NativeHubFigures {
  /** Calls into JavaScript. */
  readonly callbacks: number
  readonly hasRing: boolean
  /** System calls of the ring. */
  readonly ringCalls: number
  /** IORING_SETUP_* flags. */
  readonly ringFlags: number
  /** Expanded AES keys. */
  readonly heldKeys: number
}

/** What became of the search for the addon. */
export interface AddonStatus {
  /** The file that was loaded; absent when none was. */
  readonly path?: string
  /** Files that were not taken, in the order of trying, and why. */
  readonly refused: readonly { readonly path: string; readonly reason: string }[]
}

interface Search {
  readonly addon?: NativeAddon
  readonly status: AddonStatus
}

let search: Search | undefined

/** Gives the addon, or undefined. The first call searches; later ones give the same answer. */
export function loadAddon(): NativeAddon | undefined {
  search ??= searchAddon(process.env['PUNCHLINE_NATIVE'], PACKAGE_ROOT)
  return search.addon
}

/** Says which file was loaded and why others were not. */
export function addonStatus(): AddonStatus {
  loadAddon()
  return search?.status ?? { refused: [] }
}

/**
 * Tries the files in order: the one that `choice` (PUNCHLINE_NATIVE) names and no other, or else
 * the local build, then the prebuilt one. Choice `0` tries nothing.
 */
export function searchAddon(choice: string | undefined, root: string): Search {
  if (choice === '0') return { status: { refused: [{ path: '', reason: 'PUNCHLINE_NATIVE=0' }] } }
  const candidates = choice ? [resolve(choice)] : [localBuild(root), prebuilt(root)]
  const refused: { path: string; reason: string }[] = []
  for (const path of candidates) {
    const loaded = tryLoad(path)
    if (typeof loaded !== 'string') return { addon: loaded, status: { path, refused } }
    refused.push({ path, reason: loaded })
  }
  return { status: { refused } }
}

const localBuild = (root: string) => join(root, 'build/native/Release/punchline.node')

const prebuilt = (root: string) => {
  const suffix = process.platform === 'linux' && isMusl(root) ? '-musl' : ''
  return join(root, 'prebuilds', `${process.platform}-${process.arch}${suffix}`, 'punchline.node')
}

/** The report takes milliseconds, so it is asked only where a prebuilt file could depend on it. */
function isMusl(root: string): boolean {
  if (!existsSync(join(root, 'prebuilds'))) return false
  const { header } = process.report.getReport() as unknown as { header: Record<string, unknown> }
  return header['glibcVersionRuntime'] === undefined
}

/** Gives the addon, or the reason why not. */
function tryLoad(path: string): NativeAddon | string {
  if (!existsSync(path)) return 'no such file'
  try {
    // `require` would do, but exists under one of the two module formats only.
    const loaded = { exports: {} as Partial<NativeAddon> }
    process.dlopen(loaded, path)
    const { abi } = loaded.exports
    if (abi !== ADDON_ABI) return `ABI ${abi}, needed is ${ADDON_ABI}`
    return loaded.exports as NativeAddon
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
