/** Punchline: sockets that get through. The sockets are also `punchline/net`, shaped as `node:net`. */
export {
  IoError,
  PunchlineError,
  type PunchlineErrorCode,
  punchlineErrorCodes,
  SocketError,
  TransportError,
} from './errors.ts'
export {
  type Configuration,
  type ConnectOptions,
  configure,
  connect,
  createConnection,
  createServer,
  type SecurityOptions,
  Server,
  type ServerOptions,
  Socket,
  type SocketOptions,
  type SocketPath,
  type SocketStats,
  type TransportChoice,
  type TransportOptions,
} from './net/index.ts'
export {
  type AuthorizeRequest,
  formatNodeId,
  NodeKey,
  type PeerKey,
  parseNodeId,
  parseRecord,
  type SecurityInfo,
  type SecurityMode,
  sameNodeId,
  type Ticket,
} from './transport/index.ts'
