/** Parsers of the core, and its whole boundary. */

import { VERSION } from '../../../assembly/layout.ts'
import {
  CRC_SIZE,
  FIRST_LONG,
  FIRST_OURS,
  INITIAL_SIZE,
  LONG_LENGTH,
  LONG_SIZE,
  LONG_VERSION,
  MESSAGE_SIZE_MAX,
  PACKET_CID,
  ROUTE_PROBE,
  SHORT_SIZE,
  TYPE_HANDSHAKE,
  TYPE_INITIAL,
  TYPE_REFUSE,
  TYPE_RESET,
  TYPE_RETRY,
} from '../../../assembly/wire.ts'
import { testCore } from '../../../bindings/testing/cores.ts'
import { Lockstep, TRAPPED } from '../../../bindings/testing/lockstep.ts'
import {
  encodeFrame,
  type Frame,
  mutateFrames,
  parseFrames,
} from '../../../bindings/testing/mutate.ts'
import { RandomCalls } from '../../../bindings/testing/random-calls.ts'
import {
  FEED_CLIENT,
  FEED_IPV6,
  FEED_MANY,
  FEED_NUMBER,
  FEED_SEAL,
  MANY,
  type PlainCore,
  Station,
} from '../../../bindings/testing/station.ts'
import { SeededRandom } from '../../sim/random.ts'
import type { FuzzTarget } from './engine.ts'

/** In front of a datagram: flags and ids that are made to fit, see `Station.feed`. */
const HEAD_SIZE = 3
const FLAGS = 128

/** Datagrams of all types, to endpoints with connections in all states. */
export async function packetTarget(plain: PlainCore): Promise<FuzzTarget> {
  const station = await Station.create(plain)
  const fitted = (bytes: Uint8Array) => Uint8Array.of(FEED_SEAL | FEED_NUMBER, 0, 0, ...bytes)
  return {
    name: 'packet',
    kind: 'binary',
    longCount: 1e7,
    shortCount: 30_000,
    parser: {
      'assembly/ingest.ts': ['datagram', 'prepare', 'isReady'],
      'assembly/strangers.ts': [
        'longPacket',
        'unknownPacket',
        'initialPacket',
        'isZero',
        'isCookie',
        'waiting',
        'handshakePacket',
        'isFromRemote',
        'retryPacket',
        'refusalPacket',
        'resetPacket',
        'mayReset',
        'answer',
        'reply',
      ],
      'assembly/wire.ts': ['expandNumber'],
    },
    tokens: station.knownIds(),
    examples: [
      Uint8Array.of(0, 0, 0, ROUTE_PROBE),
      ...[...station.recorded, ...station.proven, ...longPackets()].map(fitted),
      ...addressed(station.idCount),
      ...station.proven
        .slice(0, 2)
        .map((bytes) => Uint8Array.of(FEED_IPV6 | FEED_MANY | FEED_SEAL, 0, 0, ...bytes)),
    ],
    // Ids, numbers and checksums that fit lead further in than any change of a byte.
    mutate: (random, input) => {
      if (input.length < HEAD_SIZE) return undefined
      const changed = input.slice()
      changed[0] = random.below(FLAGS) | (random.chance(0.8) ? FEED_SEAL | FEED_NUMBER : 0)
      // Its time is that of hundreds.
      if (random.chance(0.997)) changed[0] &= ~FEED_MANY
      changed[1] = random.chance(0.8) ? random.below(station.idCount + 1) : 0
      changed[2] = random.chance(0.8) ? random.below(station.idCount + 1) : 0
      return changed
    },
    parts: ([flags = 0]) => ((flags & FEED_MANY) === 0 ? 1 : MANY),
    run: (input) => {
      const [flags = 0, destination = 0, source = 0] = input
      station.feed(input.subarray(HEAD_SIZE), { flags, destination, source })
    },
  }
}

/** Answers of every type to every connection there is, and some of them again and again. */
function addressed(idCount: number): Uint8Array[] {
  const sizes = new Map([
    [TYPE_HANDSHAKE, 100],
    [TYPE_RETRY, 8],
    [TYPE_REFUSE, 1],
    [TYPE_RESET, 16],
  ])
  return longPackets().flatMap((bytes) => {
    const type = (bytes[0] ?? 0) & 0x1f
    const isLong = type === TYPE_HANDSHAKE && bytes.length > MESSAGE_SIZE_MAX
    if (sizes.get(type) !== bytes[LONG_LENGTH] && !isLong) return []
    return Array.from({ length: idCount }, (_, index) => index + 1).flatMap((id) =>
      [0, FEED_CLIENT, ...(type === TYPE_RETRY ? [FEED_CLIENT | FEED_MANY] : [])].flatMap((flags) =>
        [0, id].map((source) => Uint8Array.of(flags | FEED_SEAL, id, source, ...bytes)),
      ),
    )
  })
}

/** Packets with a long header of every type, with messages of the sizes that some of them want. */
function longPackets(): Uint8Array[] {
  return [0, 1, 2, 3, 4, 5, 6, 31].flatMap((type) =>
    [0, 1, 4, 8, 16, 100, MESSAGE_SIZE_MAX + 1].map((size) => {
      const isFirst = type === TYPE_INITIAL
      const bytes = new Uint8Array(isFirst ? INITIAL_SIZE : LONG_SIZE + size + CRC_SIZE)
      const view = new DataView(bytes.buffer)
      bytes[0] = FIRST_OURS | FIRST_LONG | type
      bytes.fill(0x50 + size, PACKET_CID, PACKET_CID + 8)
      view.setInt32(LONG_VERSION, VERSION, true)
      view.setUint16(LONG_LENGTH, size, true)
      return bytes
    }),
  )
}

/** What is inside the packets of a connection: acknowledgements with their ranges, and all frames. */
export async function frameTarget(plain: PlainCore): Promise<FuzzTarget> {
  const station = await Station.create(plain)
  const examples = station.recorded
    .filter((bytes) => ((bytes[0] ?? 0) & 0x20) === 0)
    .map((bytes) => Uint8Array.of(0, ...bytes.subarray(SHORT_SIZE, bytes.length - CRC_SIZE)))
  return {
    name: 'frame',
    kind: 'binary',
    longCount: 1e7,
    shortCount: 30_000,
    parser: {
      'assembly/frames.ts': ['integer', 'ackFrame', 'readFrames', 'closed'],
      'assembly/wire.ts': ['readVarint'],
    },
    examples,
    mutate: (random, input) => {
      const packet = new Uint8Array(SHORT_SIZE + input.length - 1 + CRC_SIZE)
      packet.set(input.subarray(1), SHORT_SIZE)
      const frames: Frame[] | undefined = input.length > 0 ? parseFrames(packet) : undefined
      if (frames === undefined) return undefined
      const body = mutateFrames(random, frames).flatMap(encodeFrame).slice(0, 2_000)
      return Uint8Array.of(random.below(2), ...body)
    },
    run: (input) => station.feedFrames(input.subarray(1), ((input[0] ?? 0) & 1) === 0),
  }
}

/** Steps of a host that hands every export whatever it likes, in any order. */
const STEPS_PER_RUN = 2_000

/**
 * The boundary: a run is a seed of `RandomCalls`. Only the checksum takes addresses, so it alone may
 * be led out of bounds; the core's tables below PARAMS must stay as they are.
 */
export async function fuzzBoundary(seed: number, steps: number): Promise<Map<string, number>> {
  const counts = new Map<string, number>()
  for (let done = 0, run = 0; done < steps; done += STEPS_PER_RUN, run++) {
    const core = await testCore('typescript-debug')
    const tables = Buffer.from(core.u8.slice(0x20000, 0x25000))
    const lockstep = new Lockstep([core])
    const host = new RandomCalls(lockstep, new SeededRandom(seed + run))
    const replay = `npm run fuzz -- --target boundary --seed ${seed + run} --count ${STEPS_PER_RUN}`
    try {
      for (let step = 0; step < Math.min(STEPS_PER_RUN, steps - done); step++) host.step()
      host.finish()
      for (const [name, { count, trapped }] of lockstep.calls) {
        counts.set(name, (counts.get(name) ?? 0) + count)
        if (trapped > 0 && !name.startsWith('crc32c')) throw new Error(`${name} ${TRAPPED}`)
      }
      if (!tables.equals(core.bytes.subarray(0x20000, 0x25000))) throw new Error('tables changed')
    } catch (error) {
      throw new Error(`boundary: ${(error as Error).message}\n  replay: ${replay}`, {
        cause: error,
      })
    }
  }
  return counts
}
