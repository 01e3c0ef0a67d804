/** The accessors of a socket that read the handle, and over UDP need to read the link instead. */
import net from 'node:net'
import { type InternalSocket, kLink } from './internals.ts'

/** Describes them for a prototype. */
export const socketAccessors: PropertyDescriptorMap & ThisType<InternalSocket> = {
  bytesRead: {
    get() {
      return this[kLink]?.bytesRead ?? builtinGet('bytesRead', this)
    },
    enumerable: true,
    configurable: true,
  },
  _bytesDispatched: {
    get() {
      return this[kLink]?.bytesDispatched ?? builtinGet('_bytesDispatched', this)
    },
    enumerable: true,
    configurable: true,
  },
  bufferSize: {
    get() {
      const link = this[kLink]
      if (!link) return builtinGet('bufferSize', this)
      return link.isClosed ? undefined : this.writableLength
    },
    enumerable: false,
    configurable: true,
  },
  pending: {
    get() {
      const link = this[kLink]
      if (!link) return builtinGet('pending', this)
      return link.isClosed || this.connecting
    },
    enumerable: false,
    configurable: true,
  },
}

function builtinGet(name: string, socket: InternalSocket): unknown {
  return Reflect.get(net.Socket.prototype, name, socket)
}
