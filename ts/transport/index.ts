/** The transport: what the layers above may use of it. */
export { AddressBook, formatAddress, parseAddress } from './address.ts'
export { Connection, type ConnectionFigures, type ConnectionOwner } from './connection.ts'
export { COUNTER_NAMES, type CounterName, type EndpointCounters } from './counters.ts'
export {
  Endpoint,
  type EndpointGauges,
  type EndpointOwner,
  type EndpointSetup,
} from './endpoint.ts'
export {
  type CongestionController,
  ENDPOINT_DEFAULTS,
  type EndpointOptions,
  resolveEndpointOptions,
} from './options.ts'
export { Stream, type StreamOwner } from './stream.ts'
