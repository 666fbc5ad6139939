export type { Capabilities, Operations, Properties, Support } from './capabilities.ts'
export type {
  Driver,
  DriverState,
  Inspector,
  OpenDriver,
  OpenOptions,
  Outcome,
  QueueDepth,
  QueueInfo,
  ReceiveOrder,
  Receiver,
  ReceiverOptions,
  SendResult,
  Sink,
  StateChange,
  TlsOptions,
} from './driver.ts'
export type { ChasquiErrorOptions, ErrorCode } from './errors.ts'
export { ChasquiError, errorCodes, isChasquiError } from './errors.ts'
export { laneOf } from './lane.ts'
export type { Batch, Headers, HeaderValue, Incoming, Outgoing, Source, Target, WireMessage } from './message.ts'
export { headerPrefix } from './message.ts'
export type { Change, DeclareOptions, Destination, Topology } from './topology.ts'
