/**
 * Everything the host and the core agree on: memory map, descriptors, events, codes, counters.
 * Only constants; `bindings/` imports this very file.
 */
export * from './wire-fields'

// ── Memory map ───────────────────────────────────────────────────────────────────────────────────
// Below 128 KiB: statics and the small heap of the control plane. CRC32C tables follow (crc32c.ts).
// Staging (what the kernel touches) is small and hot; all pages above it are retention.

/** Results of calls that give more than one number: 64 × f64. */
export const PARAMS: i32 = 0x25000
export const PARAMS_COUNT: i32 = 64
/** An address inside PARAMS: DESC_ADDRESS … DESC_SCOPE of a descriptor, ADDRESS_SIZE bytes. */
export const PARAMS_ADDRESS: i32 = 0x25200
/** Behind it: the number of the socket that leads there. */
export const PARAMS_SOCKET: i32 = 0x25218
/** Bytes that cross with a call: handshake messages. */
export const SCRATCH: i32 = 0x27000
export const SCRATCH_SIZE: i32 = 0x1000
/** Per-instance state. */
export const INSTANCE: i32 = 0x26000
/** Event records. */
export const EVENTS: i32 = 0x28000
export const EVENT_SIZE: i32 = 32
export const EVENT_COUNT: i32 = 1024
/** Receive descriptors. */
export const RX_DESC: i32 = 0x30000
/** Send descriptors. */
export const TX_DESC: i32 = 0x40000
export const DESC_SIZE: i32 = 64
export const DESC_COUNT: i32 = 1024
/** Received datagrams, wherever a descriptor points. */
export const RX_ARENA: i32 = 0x50000
export const RX_ARENA_SIZE: i32 = 0x100000
/** Datagrams to send, laid contiguously: a train. */
export const TX_ARENA: i32 = 0x150000
export const TX_ARENA_SIZE: i32 = 0x100000
/** Work on packets that is done in one go, here or by the native tier: a job list. */
export const JOBS: i32 = 0x250000
export const JOBS_MAX: i32 = 2048
/** One verdict byte per job. */
export const VERDICTS: i32 = 0x270000
/** What streams have received and not copied yet (borrowed.ts). */
export const BORROWED: i32 = 0x270800
export const BORROWED_COUNT: i32 = 64
/** Page table, then pages. Between these and it the checksum works (crc32c.ts, CRC_WORK). */
export const PAGE_TABLE: i32 = 0x280000
/** Smallest memory an instance works with, and the largest that fits 31-bit pointers: bytes. */
export const MEMORY_BYTES_MIN: i32 = 0x400000
export const MEMORY_BYTES_MAX: i32 = 0x40000000

// ── Descriptors ──────────────────────────────────────────────────────────────────────────────────
// 64 bytes each, the same for both directions and all tiers. Addresses are 16 bytes, IPv4 in its
// mapped form (RFC 4291 §2.5.5.2), so that the core can hash and compare them without a table.

export const DESC_POINTER: i32 = 0
/** Bytes of the whole run of datagrams. */
export const DESC_LENGTH: i32 = 4
/** Size of each datagram but the last (GSO, GRO); 0: one datagram. */
export const DESC_SEGMENT: i32 = 8
export const DESC_SOCKET: i32 = 12
export const DESC_ADDRESS: i32 = 16
/** Low 16 bits: port. Bits 16–17: ECN. */
export const DESC_PORT: i32 = 32
/** IPv6 zone, 0 when none. */
export const DESC_SCOPE: i32 = 36
/** Address that the datagram was sent to, when the tier knows it. */
export const DESC_LOCAL_ADDRESS: i32 = 40
/** Pointer to one verdict byte per datagram from a job list, or 0. */
export const DESC_VERDICTS: i32 = 56
/** Address part of a descriptor: DESC_ADDRESS … DESC_SCOPE. */
export const ADDRESS_SIZE: i32 = 24

// ── Jobs ─────────────────────────────────────────────────────────────────────────────────────────
// 64 bytes each. The first half is what has to be done, the rest is the core's own.

export const JOB_SIZE: i32 = 64
export const JOB_OPERATION: i32 = 0
/** Address of a key slot, 0: none. */
export const JOB_KEY: i32 = 4
/** Packet number: low and high half. */
export const JOB_NUMBER: i32 = 8
/** Authenticated only. Its second byte is the path number. */
export const JOB_HEADER: i32 = 16
export const JOB_HEADER_SIZE: i32 = 20
/** Authenticated and, with a cipher, enciphered in place; checksum or tag follow it. */
export const JOB_PAYLOAD: i32 = 24
export const JOB_PAYLOAD_SIZE: i32 = 28

export const OPERATION_SEAL_CRC: i32 = 1
export const OPERATION_CHECK_CRC: i32 = 2
/** AES-128-GCM, by the native tier only. */
export const OPERATION_SEAL_AES: i32 = 3
export const OPERATION_OPEN_AES: i32 = 4
/** ChaCha20-Poly1305 (RFC 8439). */
export const OPERATION_SEAL_CHACHA: i32 = 5
export const OPERATION_OPEN_CHACHA: i32 = 6

/** Nobody has done the job yet. */
export const VERDICT_NONE: i32 = 0
/** Sealed; or opened, and what was sent. */
export const VERDICT_INTACT: i32 = 1
export const VERDICT_BROKEN: i32 = 2

// A key slot: 64 bytes. The nonce is the first 12 bytes' worth of (path, 4 bytes · packet number,
// 8 bytes), little-endian, XOR the slot's initialisation vector (RFC 9001 §5.3).

/** Differs for every content that a slot of this instance ever had; 0: empty. */
export const SLOT_GENERATION: i32 = 0
export const SLOT_CIPHER: i32 = 4
export const SLOT_KEY: i32 = 8
export const SLOT_IV: i32 = 40
export const SLOT_SIZE: i32 = 64

// ── Handshake ────────────────────────────────────────────────────────────────────────────────────

/** 'PL' and the draft number: the version in every first packet. */
export const VERSION: i32 = 0x504c0001
/** Proof that a RESET comes from who had the connection. */
export const RESET_TOKEN_SIZE: i32 = 16

// ── Ciphers ──────────────────────────────────────────────────────────────────────────────────────

/** No cipher: CRC32C guards packets against accidents. */
export const CIPHER_NONE: i32 = 0
export const CIPHER_CHACHA: i32 = 1
export const CIPHER_AES: i32 = 2

// ── Events ───────────────────────────────────────────────────────────────────────────────────────

export const EVENT_KIND: i32 = 0
export const EVENT_BITS: i32 = 4
/** Handle of the stream or connection. */
export const EVENT_HANDLE: i32 = 8
/** What the host stored with `setTag`; −1: a newcomer the host has not seen. */
export const EVENT_TAG: i32 = 12
/** Stream: code of refusal or reset. Connection: code of its end. */
export const EVENT_CODE: i32 = 16
/** Stream: tag of its connection. */
export const EVENT_PARENT: i32 = 20

export const KIND_CONNECTION: i32 = 1
export const KIND_STREAM: i32 = 2

/** A handshake message waits in the connection: `handshakeMessage`. */
export const CONNECTION_HANDSHAKE: i32 = 1
/** The peer proved that it has our handshake answer: it sent a protected packet. */
export const CONNECTION_CONFIRMED: i32 = 2
/** The connection is over; EVENT_CODE says why. What its streams had received can still be read. */
export const CONNECTION_CLOSED: i32 = 4
/** Two probes in a row were not answered: the peer may be gone. */
export const CONNECTION_SILENT: i32 = 8
/** The peer is somewhere else now: `connectionAddress`. */
export const CONNECTION_MOVED: i32 = 16

/** The peer opened this stream and waits for `streamAccept` or `streamRefuse`. */
export const STREAM_OPENED: i32 = 1
export const STREAM_ACCEPTED: i32 = 2
export const STREAM_REFUSED: i32 = 4
export const STREAM_READABLE: i32 = 8
export const STREAM_WRITABLE: i32 = 16
/** FIN and every byte before it were acknowledged. */
export const STREAM_FINISHED: i32 = 32
/** The peer reset its sending side; unread bytes are gone. */
export const STREAM_RESET: i32 = 64
/** The peer asks us to stop sending; what is not acknowledged is dropped. */
export const STREAM_STOPPED: i32 = 128

// ── Codes: how connections and streams end ───────────────────────────────────────────────────────

/** Not over; the codes themselves are made from `wire.json`. */
export const CODE_NONE: i32 = 0

// ── Configuration of an endpoint: f64 in PARAMS, in this order ───────────────────────────────────

export const CONFIG_MEMORY_BYTES: i32 = 0
export const CONFIG_CONNECTIONS_MAX: i32 = 1
export const CONFIG_HALF_OPEN_MAX: i32 = 2
export const CONFIG_STREAMS_MAX: i32 = 3
export const CONFIG_PACKET_BYTES_MAX: i32 = 4
export const CONFIG_STREAM_WINDOW: i32 = 5
export const CONFIG_CONNECTION_WINDOW: i32 = 6
export const CONFIG_CONNECT_TIMEOUT: i32 = 7
export const CONFIG_IDLE_TIMEOUT: i32 = 8
export const CONFIG_KEEP_ALIVE: i32 = 9
export const CONFIG_ACK_DELAY: i32 = 10
export const CONFIG_BURST_BYTES: i32 = 11
export const CONFIG_LISTENING: i32 = 12
export const CONFIG_SEED_LOW: i32 = 13
export const CONFIG_SEED_HIGH: i32 = 14
export const CONFIG_EMPTY_TIMEOUT: i32 = 15
/** CONTROLLER_… of congestion.ts. */
export const CONFIG_CONGESTION: i32 = 16
export const CONFIG_COUNT: i32 = 17

// ── What a handshake tells the core about the peer: f64 in PARAMS, in this order ─────────────────

export const PEER_STREAM_WINDOW: i32 = 0
export const PEER_CONNECTION_WINDOW: i32 = 1
export const PEER_STREAMS_MAX: i32 = 2
export const PEER_PACKET_BYTES_MAX: i32 = 3
export const PEER_ACK_DELAY: i32 = 4
export const PEER_BURST_BYTES: i32 = 5
export const PEER_IDLE_TIMEOUT: i32 = 6
export const PEER_COUNT: i32 = 7

// ── Counters of an endpoint, f64 each ────────────────────────────────────────────────────────────

export const COUNT_DATAGRAMS_RECEIVED: i32 = 0
export const COUNT_BYTES_RECEIVED: i32 = 1
export const COUNT_DATAGRAMS_SENT: i32 = 2
export const COUNT_BYTES_SENT: i32 = 3
export const COUNT_PACKETS_RECEIVED: i32 = 4
export const COUNT_PACKETS_DUPLICATE: i32 = 5
export const COUNT_PACKETS_LOST: i32 = 6
export const COUNT_PACKETS_RETRANSMITTED: i32 = 7
export const COUNT_PACKETS_SPURIOUS: i32 = 8
export const COUNT_PROBES: i32 = 9
export const COUNT_STREAM_BYTES_SENT: i32 = 10
export const COUNT_STREAM_BYTES_RETRANSMITTED: i32 = 11
export const COUNT_STREAM_BYTES_RECEIVED: i32 = 12
export const COUNT_ACKS_SENT: i32 = 13
export const COUNT_ACKS_RECEIVED: i32 = 14
export const COUNT_CONNECTIONS_OPENED: i32 = 15
export const COUNT_CONNECTIONS_ACCEPTED: i32 = 16
export const COUNT_CONNECTIONS_CLOSED: i32 = 17
export const COUNT_STREAMS_OPENED: i32 = 18
export const COUNT_STREAMS_ACCEPTED: i32 = 19
/** Drops, by reason. */
export const COUNT_DROPPED_FOREIGN: i32 = 20
export const COUNT_DROPPED_MALFORMED: i32 = 21
export const COUNT_DROPPED_CORRUPT: i32 = 22
export const COUNT_DROPPED_VERSION: i32 = 23
export const COUNT_DROPPED_UNKNOWN: i32 = 24
export const COUNT_DROPPED_LIMIT: i32 = 25
export const COUNT_DROPPED_MEMORY: i32 = 26
export const COUNT_DROPPED_DESCRIPTOR: i32 = 27
export const COUNT_RESETS_SENT: i32 = 28
export const COUNT_REFUSALS_SENT: i32 = 29
export const COUNT_RESETS_RECEIVED: i32 = 30
export const COUNT_RETRIES_SENT: i32 = 31
/** First packets that came too fast from one network while there were too many. */
export const COUNT_DROPPED_RATE: i32 = 32
/** Packets that no key opens. */
export const COUNT_DROPPED_FORGED: i32 = 33
/** Probes for the packet size, and paths found to carry less than before. */
export const COUNT_MTU_PROBES: i32 = 34
export const COUNT_MTU_SHRUNK: i32 = 35
/** Places asked whether the peer is there, and moves to one. */
export const COUNT_CHALLENGES: i32 = 36
export const COUNT_MOVES: i32 = 37
export const COUNTERS: i32 = 38

// ── Gauges of an endpoint, f64 in PARAMS ─────────────────────────────────────────────────────────

export const GAUGE_CONNECTIONS: i32 = 0
export const GAUGE_HALF_OPEN: i32 = 1
export const GAUGE_STREAMS: i32 = 2
export const GAUGE_MEMORY_USED: i32 = 3
export const GAUGE_MEMORY_MAX: i32 = 4
export const GAUGES: i32 = 5

// ── Figures of a connection, f64 in PARAMS ───────────────────────────────────────────────────────

export const FIGURE_RTT_SMOOTHED: i32 = 0
export const FIGURE_RTT_VARIANCE: i32 = 1
export const FIGURE_RTT_MIN: i32 = 2
export const FIGURE_CONGESTION_WINDOW: i32 = 3
export const FIGURE_BYTES_IN_FLIGHT: i32 = 4
export const FIGURE_PACKETS_SENT: i32 = 5
export const FIGURE_PACKETS_RECEIVED: i32 = 6
export const FIGURE_PACKETS_LOST: i32 = 7
export const FIGURE_PACKETS_RETRANSMITTED: i32 = 8
export const FIGURE_BYTES_SENT: i32 = 9
export const FIGURE_BYTES_RECEIVED: i32 = 10
export const FIGURE_PROBES: i32 = 11
export const FIGURE_PROBE_TIMEOUT: i32 = 12
export const FIGURE_PACKET_BYTES: i32 = 13
export const FIGURE_MEMORY_USED: i32 = 14
export const FIGURE_STREAMS: i32 = 15
export const FIGURE_PROBES_UNANSWERED: i32 = 16
export const FIGURES: i32 = 16
