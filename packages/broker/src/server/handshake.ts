/**
 * The handshake of one connection, from the protocol header to connection.open-ok (AMQP 0-9-1 section 2.2.4):
 *
 *     client   header            start-ok          tune-ok  open
 *     server           start               tune                   open-ok
 *     state    header  starting            tuning  opening        done
 */
import { createRequire } from 'node:module'
import {
  AmqpError,
  CONNECTION_OPEN,
  CONNECTION_START,
  CONNECTION_START_OK,
  CONNECTION_TUNE,
  CONNECTION_TUNE_OK,
  type ConnectionStartOk,
  type FieldTable,
  type FieldValue,
  type Method,
  methodNames,
  type Tuning,
  tuneViolation,
} from '@chasqui/amqp'
import { logIn, mechanismsFor, type Peer } from './access.ts'

/** What this server proposes: RabbitMQ's own figures. Channels, bytes, seconds. */
export const offered: Tuning = { channelMax: 2047, frameMax: 131_072, heartbeat: 60 }

const { version }: { version: string } = createRequire(import.meta.url)('../../package.json')

/** Read by clients as RabbitMQ's are: what is true here changes how they behave. */
const serverProperties: FieldTable = {
  capabilities: {
    publisher_confirms: true,
    exchange_exchange_bindings: true,
    'basic.nack': true,
    consumer_cancel_notify: true,
    'connection.blocked': true,
    consumer_priorities: true,
    authentication_failure_close: true,
    per_consumer_qos: true,
    direct_reply_to: true,
  },
  product: 'Chasqui',
  version,
  platform: `Node.js ${process.versions.node}`,
  information: 'Licensed under the Apache License 2.0',
}

export class Handshake {
  /** Known after start-ok. */
  user = ''
  /** The client's own properties, as it gave them. */
  clientProperties: FieldTable = {}
  /** Agreed on after tune-ok. */
  tuning: Tuning = offered
  readonly #vhost: string
  readonly #peer: Peer
  #state: 'starting' | 'tuning' | 'opening' = 'starting'

  constructor(vhost: string, peer: Peer) {
    this.#vhost = vhost
    this.#peer = peer
  }

  /** What the server begins with. */
  get start(): Method {
    return {
      id: CONNECTION_START,
      versionMajor: 0,
      versionMinor: 9,
      serverProperties,
      mechanisms: mechanismsFor(this.#peer).join(' '),
      locales: 'en_US',
    }
  }

  /** True when the client has announced this capability. */
  can(capability: string): boolean {
    return isTable(this.clientProperties.capabilities) && this.clientProperties.capabilities[capability] === true
  }

  /**
   * Takes the client's next method. The answer to send, or `tuned` after tune-ok (none is sent), or `open`: send
   * open-ok. Throws AmqpError.
   */
  next(method: Method): Method | 'tuned' | 'open' {
    switch (method.id) {
      case CONNECTION_START_OK:
        if (this.#state !== 'starting') break
        return this.#onStartOk(method)
      case CONNECTION_TUNE_OK:
        if (this.#state !== 'tuning') break
        return this.#onTuneOk(method)
      case CONNECTION_OPEN:
        if (this.#state !== 'opening') break
        if (method.virtualHost !== this.#vhost) {
          throw AmqpError.of('not-allowed', `vhost ${method.virtualHost} not found`)
        }
        return 'open'
    }
    throw AmqpError.of(
      'channel-error',
      `unexpected method ${methodNames.get(method.id)} in connection state ${this.#state}`,
    )
  }

  #onStartOk(method: ConnectionStartOk): Method {
    this.clientProperties = method.clientProperties
    this.user = logIn(method.mechanism, method.response, this.#peer)
    this.#state = 'tuning'
    return { id: CONNECTION_TUNE, ...offered }
  }

  #onTuneOk(answer: Tuning): 'tuned' {
    const violation = tuneViolation(offered, answer)
    if (violation !== undefined) throw AmqpError.of('not-allowed', violation)
    this.tuning = answer
    this.#state = 'opening'
    return 'tuned'
  }
}

function isTable(value: FieldValue | undefined): value is FieldTable {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}
