/** Made by `bindings/build/wire.mjs` from `wire.json`: not to be edited. */

// ── LONG header (docs/protocol.md 2.1) ────────────────────────────────────────────────────────────

/** 1 1 1 0  type */
export const LONG_FIRST: i32 = 0
/** cookie size */
export const LONG_COOKIE_SIZE: i32 = 1
/** destination identifier */
export const LONG_CID: i32 = 2
/** version */
export const LONG_VERSION: i32 = 10
/** source identifier */
export const LONG_SOURCE_CID: i32 = 14
/** message length */
export const LONG_LENGTH: i32 = 22
export const LONG_SIZE: i32 = 24

// ── SHORT header (docs/protocol.md 2.2) ───────────────────────────────────────────────────────────

/** 1 1 0 0 0 0 0 E */
export const SHORT_FIRST: i32 = 0
/** path */
export const SHORT_PATH: i32 = 1
/** destination identifier */
export const SHORT_CID: i32 = 2
/** packet number, low 32 bits */
export const SHORT_NUMBER: i32 = 10
export const SHORT_SIZE: i32 = 14

// ── Packets with a long header ────────────────────────────────────────────────────────────────────

/** the initiator's first handshake message; the datagram is padded (section 4) */
export const TYPE_INITIAL: i32 = 0
/** the responder's handshake message; or the initiator's last one */
export const TYPE_HANDSHAKE: i32 = 1
/** a cookie of 8 bytes: send the INITIAL again with it */
export const TYPE_RETRY: i32 = 2
/** the versions that the sender speaks, 4 bytes each */
export const TYPE_VERSION: i32 = 3
/** one byte: why not (section 6) */
export const TYPE_REFUSE: i32 = 4
/** 16 bytes: the reset token. The source identifier field repeats an identifier that the sender does not know */
export const TYPE_RESET: i32 = 5

// ── Frames ────────────────────────────────────────────────────────────────────────────────────────

export const FRAME_PADDING: i32 = 0x00
export const FRAME_PING: i32 = 0x01
/** largest number · delay (µs) · count of further ranges · length of the first range − 1 · (gap − 1 · length − 1)* */
export const FRAME_ACK: i32 = 0x02
/** path · as ACK */
export const FRAME_ACK_PATH: i32 = 0x03
/** stream · code · final size */
export const FRAME_RESET: i32 = 0x04
/** stream · code */
export const FRAME_STOP: i32 = 0x05
/** packets of this path that came marked so far: with ECT(0) · with CE */
export const FRAME_ECN: i32 = 0x06
/** stream · offset · [length] · bytes. Bit 0: FIN. Bit 1: a length is there, else the bytes reach to the end of the packet */
export const FRAME_STREAM: i32 = 0x08
/** bytes the peer may send on all streams together */
export const FRAME_MAX_DATA: i32 = 0x10
/** stream · bytes the peer may send on it */
export const FRAME_MAX_STREAM_DATA: i32 = 0x11
/** streams the peer may have opened in all */
export const FRAME_MAX_STREAMS: i32 = 0x12
/** limit of the connection at which there is more to send */
export const FRAME_DATA_BLOCKED: i32 = 0x14
/** stream · its limit at which there is more to send */
export const FRAME_STREAM_DATA_BLOCKED: i32 = 0x15
/** stream · port that the opener calls its own */
export const FRAME_OPEN: i32 = 0x18
/** stream */
export const FRAME_ACCEPT: i32 = 0x19
/** stream · code */
export const FRAME_REFUSE: i32 = 0x1a
/** code */
export const FRAME_CLOSE: i32 = 0x1c
/** 8 bytes that cannot be guessed */
export const FRAME_PATH_CHALLENGE: i32 = 0x1d
/** the same 8 bytes */
export const FRAME_PATH_RESPONSE: i32 = 0x1e

// ── How connections and streams end ───────────────────────────────────────────────────────────────

/** closed by the application */
export const CODE_CLOSED: i32 = 1
/** refused: nobody listens */
export const CODE_REFUSED: i32 = 2
/** no answer within the time for connecting */
export const CODE_CONNECT_TIMEOUT: i32 = 3
/** nothing heard within the idle limit */
export const CODE_IDLE_TIMEOUT: i32 = 4
/** the other side does not know the connection */
export const CODE_RESET: i32 = 5
/** protocol error */
export const CODE_PROTOCOL: i32 = 6
/** flow control error */
export const CODE_FLOW_CONTROL: i32 = 7
/** no common version */
export const CODE_VERSION: i32 = 8
/** a limit is reached */
export const CODE_LIMIT: i32 = 9
/** handshake failed */
export const CODE_HANDSHAKE: i32 = 10
/** the endpoint was closed */
export const CODE_ENDPOINT_CLOSED: i32 = 11
/** reset by the application, as TCP's RST */
export const CODE_ABORTED: i32 = 12
/** the two sides' demands on security do not meet */
export const CODE_SECURITY: i32 = 13
/** a side is not who it has to be */
export const CODE_IDENTITY: i32 = 14
/** not let in */
export const CODE_DENIED: i32 = 15

// ── Parameters of a handshake ─────────────────────────────────────────────────────────────────────

/** first receive window of a stream */
export const PARAMETER_STREAM_WINDOW: i32 = 1
/** first receive window of the connection */
export const PARAMETER_CONNECTION_WINDOW: i32 = 2
/** streams the peer may have open */
export const PARAMETER_STREAMS_MAX: i32 = 3
/** largest packet accepted */
export const PARAMETER_PACKET_BYTES_MAX: i32 = 4
/** longest delay of an acknowledgement */
export const PARAMETER_ACK_DELAY: i32 = 5
/** what the sender's socket buffers hold */
export const PARAMETER_BURST_BYTES: i32 = 6
/** idle limit, 0: never; the smaller of both sides' counts */
export const PARAMETER_IDLE_TIMEOUT: i32 = 7
/** reset token for the sender's identifier */
export const PARAMETER_RESET_TOKEN: i32 = 64
/** the sender's record */
export const PARAMETER_RECORD: i32 = 65
/** the cipher chosen by the responder: 1 ChaCha20-Poly1305, 2 AES-128-GCM */
export const PARAMETER_CIPHER: i32 = 67
/** the identifier that the responder's HANDSHAKE names as its source */
export const PARAMETER_CONNECTION_ID: i32 = 68
