/** Real sockets, clock and chance. */
export { BACKEND_CHANNEL, type BackendChoice, chooseBackend } from './backend.ts'
export { systemRandom } from './chance.ts'
export { nowMicros } from './clock.ts'
export type {
  Backend,
  DatagramRefusal,
  DatagramSocket,
  DatagramSocketFigures,
  UdpBinding,
} from './datagram-socket.ts'
export { DgramSocket } from './dgram-socket.ts'
export { Driver, type DriverSetup } from './driver.ts'
export { type Fate, FaultDrawer, type Faults, parseFaults } from './faults.ts'
export { type LoadedNodeKey, loadOrCreateNodeKey } from './identity-file.ts'
export { Loop, type LoopOptions } from './loop.ts'
export { inspectMachine, type MachineReport } from './machine-report.ts'
export { Route, type RouteOwner } from './route.ts'
