/** The transport: what the layers above may use of it. */
export { AddressBook, formatAddress, parseAddress } from './address.ts'
export { Connection, type ConnectionFigures, type ConnectionOwner } from './connection.ts'
export { COUNTER_NAMES, type CounterName, type EndpointCounters } from './counters.ts'
export {
  type AuthorizeRequest,
  Endpoint,
  type EndpointGauges,
  type EndpointOwner,
  type EndpointSecurity,
  type EndpointSetup,
  type HandshakeReport,
} from './endpoint.ts'
export {
  formatNodeId,
  isValidAt,
  type KeyValidity,
  NodeKey,
  type NodeKeySecrets,
  type PeerKey,
  parseNodeId,
  parseRecord,
  sameNodeId,
} from './identity.ts'
export {
  type CongestionController,
  ENDPOINT_DEFAULTS,
  type EndpointOptions,
  type EndpointOptionsGiven,
  type NamedEndpointOptions,
  resolveEndpointOptions,
} from './options.ts'
export { Pin, type PinOwner } from './pin.ts'
export type { OpenTrace, TraceName, TraceSink } from './qlog.ts'
export type { InitiatorDemands, SecurityInfo, SecurityMode, Ticket } from './security.ts'
export { Stream, type StreamOwner, type StreamPriority } from './stream.ts'
