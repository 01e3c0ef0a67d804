/** How connections and streams end: the codes of the core, for the layers above. */
export {
  CODE_ABORTED,
  CODE_CLOSED,
  CODE_CONNECT_TIMEOUT,
  CODE_DENIED,
  CODE_ENDPOINT_CLOSED,
  CODE_FLOW_CONTROL,
  CODE_HANDSHAKE,
  CODE_IDENTITY,
  CODE_IDLE_TIMEOUT,
  CODE_LIMIT,
  CODE_NONE,
  CODE_PROTOCOL,
  CODE_REFUSED,
  CODE_RESET,
  CODE_SECURITY,
  CODE_VERSION,
} from '../../bindings/core.ts'
