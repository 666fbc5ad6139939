/**
 * Every metric of a bus, once: what is registered is made from this table, and so is its page in the docs. Names and labels are those
 * of OpenTelemetry's messaging conventions in Prometheus' spelling
 * (opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics); what the conventions have no word for begins with `chasqui_`.
 */
export interface MetricInfo {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** Labels beside `messaging_system`, which each has. */
  readonly labels: readonly string[]
  readonly help: string
  /** Upper bounds of a histogram's buckets, in seconds. */
  readonly bounds?: readonly number[]
}

export const label = {
  system: 'messaging_system',
  destination: 'messaging_destination_name',
  operation: 'messaging_operation_name',
  error: 'error_type',
  end: 'chasqui_stream_end',
} as const

/** As the conventions advise for durations. */
const usual = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
/** Our own share of a message's way is counted in microseconds. */
const fine = [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1, 1]

const { destination, operation, error, end } = label

export const metricTable = {
  sent: {
    name: 'messaging_client_sent_messages_total',
    type: 'counter',
    labels: [destination, operation, error],
    help: 'Messages sent, or tried to.',
  },
  operations: {
    name: 'messaging_client_operation_duration_seconds',
    type: 'histogram',
    labels: [destination, operation],
    help: 'From send to confirm (send), and from a settlement to when the engine was told (settle).',
    bounds: usual,
  },
  received: {
    name: 'messaging_client_consumed_messages_total',
    type: 'counter',
    labels: [destination, operation],
    help: 'Messages whose turn came.',
  },
  handling: {
    name: 'messaging_process_duration_seconds',
    type: 'histogram',
    labels: [destination, operation],
    help: 'One attempt, failed ones included.',
    bounds: usual,
  },
  pipeline: {
    name: 'chasqui_pipeline_duration_seconds',
    type: 'histogram',
    labels: [destination],
    help: 'The share of an attempt before its handler: decoding, validation, middleware.',
    bounds: fine,
  },
  redelivered: {
    name: 'chasqui_redelivered_messages_total',
    type: 'counter',
    labels: [destination],
    help: 'Messages whose turn came that the engine had handed out before.',
  },
  failed: {
    name: 'chasqui_failed_attempts_total',
    type: 'counter',
    labels: [destination, error],
    help: 'Attempts of handlers that failed.',
  },
  retried: {
    name: 'chasqui_retried_messages_total',
    type: 'counter',
    labels: [destination],
    help: 'Further attempts, at once or delayed.',
  },
  cutDelays: {
    name: 'chasqui_cut_delays_total',
    type: 'counter',
    labels: [destination],
    help: 'Further attempts that came sooner than asked, for no message is held longer.',
  },
  heldRetries: {
    name: 'chasqui_held_retries_total',
    type: 'counter',
    labels: [destination],
    help: 'Messages held in the process since the engine did not take the copy for their next attempt.',
  },
  deadLettered: {
    name: 'chasqui_dead_lettered_messages_total',
    type: 'counter',
    labels: [destination, error],
    help: 'Messages moved to a dead-letter queue. Those that killed their process bear the error crash-loop.',
  },
  deadLetterFailures: {
    name: 'chasqui_dead_letter_failures_total',
    type: 'counter',
    labels: [destination],
    help: 'Moves to a dead-letter queue that failed and are tried again.',
  },
  redriven: {
    name: 'chasqui_redriven_messages_total',
    type: 'counter',
    labels: [destination],
    help: 'Dead letters of a source that were sent back to it.',
  },
  discarded: {
    name: 'chasqui_discarded_messages_total',
    type: 'counter',
    labels: [destination],
    help: 'Dead letters of a source that were deleted.',
  },
  released: {
    name: 'chasqui_released_messages_total',
    type: 'counter',
    labels: [destination],
    help: 'Messages given back to the engine unhandled.',
  },
  unrouted: {
    name: 'chasqui_unrouted_messages_total',
    type: 'counter',
    labels: [destination],
    help: 'Messages whose type has no route.',
  },
  lateSettlements: {
    name: 'chasqui_late_settlements_total',
    type: 'counter',
    labels: [destination],
    help: 'Messages settled when their connection had gone, which come again.',
  },
  boundReached: {
    name: 'chasqui_bound_reached_total',
    type: 'counter',
    labels: [destination],
    help: 'Times that a source was fetched from no more, since so many messages waited for their next attempt.',
  },
  circuitOpenings: {
    name: 'chasqui_circuit_openings_total',
    type: 'counter',
    labels: [destination],
    help: 'Times that a circuit opened.',
  },
  circuitOpen: {
    name: 'chasqui_circuit_open',
    type: 'gauge',
    labels: [destination],
    help: '1 while the circuit is open or probed, 0 once it has closed.',
  },
  stalls: {
    name: 'chasqui_consumer_rebuilds_total',
    type: 'counter',
    labels: [destination],
    help: 'Consumers rebuilt because messages waited and none was handled.',
  },
  consumerFailures: {
    name: 'chasqui_consumer_failures_total',
    type: 'counter',
    labels: [destination, error],
    help: 'Consumers that ended for good.',
  },
  inFlight: {
    name: 'chasqui_in_flight_messages',
    type: 'gauge',
    labels: [destination],
    help: 'Messages in the hands of a handler.',
  },
  concurrency: {
    name: 'chasqui_concurrency',
    type: 'gauge',
    labels: [destination],
    help: 'How many handlers may run at once.',
  },
  cancelled: {
    name: 'chasqui_cancelled_requests_total',
    type: 'counter',
    labels: [destination],
    help: 'Requests that ended without reply, since their requesters had cancelled them.',
  },
  streams: {
    name: 'chasqui_streams_total',
    type: 'counter',
    labels: [destination, end],
    help: 'Streams of replies that handlers answered by.',
  },
  streamItems: {
    name: 'chasqui_stream_items_total',
    type: 'counter',
    labels: [destination],
    help: 'Items of such streams.',
  },
  lateReplies: {
    name: 'chasqui_late_replies_total',
    type: 'counter',
    labels: [],
    help: 'Replies that nobody waited for any more.',
  },
  hookFailures: {
    name: 'chasqui_hook_failures_total',
    type: 'counter',
    labels: [],
    help: 'Failures of functions of yours that are not handlers: onError, listeners.',
  },
  driverFailures: {
    name: 'chasqui_driver_failures_total',
    type: 'counter',
    labels: [],
    help: 'Failures of the driver that make themselves good.',
  },
  reconnects: {
    name: 'chasqui_reconnects_total',
    type: 'counter',
    labels: [],
    help: 'Lost connections that came back.',
  },
  connected: {
    name: 'chasqui_connection_up',
    type: 'gauge',
    labels: [],
    help: '1 while the engine is connected and takes messages.',
  },
} as const satisfies Record<string, MetricInfo>

/** How many destinations have a label of their own. */
export const maxDestinations = 200
/** Stands for all others. */
export const otherDestinations = '_other'
/** Stands for the queues that replies are sent to: each requester has one of its own. */
export const replyDestination = '_reply'
