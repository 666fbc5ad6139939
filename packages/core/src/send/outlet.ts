/**
 * From what a caller gives to a draft on its way: finds the destination, checks the options, and runs the outgoing chain. Holds
 * for each contract and plain name what does not change from message to message.
 */
import { randomUUID } from 'node:crypto'
import type { Capabilities, Headers, Target } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { AnyContract } from '../contract/contract.ts'
import { isContract } from '../contract/contract.ts'
import { checkName, maxNameBytes } from '../contract/names.ts'
import type { Carried } from '../encode/attributes.ts'
import { correlated } from '../encode/attributes.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { Format } from '../format/format.ts'
import { chain } from '../middleware/chain.ts'
import type { EventHub } from '../observe/events.ts'
import { checkOptions } from '../options/option.ts'
import { requestOptions, sendOptions, streamOptions } from '../options/sending.ts'
import type { Destinations, Wanted } from './destinations.ts'
import { checkedHeaders } from './headers.ts'
import { checkedKey, keyOf } from './key.ts'
import type { OutgoingMessage, OutgoingMiddleware, Ready, Receipt } from './outgoing.ts'
import { Draft } from './outgoing.ts'
import type { Sender } from './sender.ts'
import { abortedError } from './sender.ts'
import type { RequestOptions, SendOptions } from './senders.ts'

export interface OutgoingReply {
  readonly replyTo: string
  readonly correlationId: string | undefined
  readonly type: string | undefined
  readonly format: Format | undefined
  readonly body: unknown
  readonly headers: Headers | undefined
  readonly carried: Carried
  readonly ttlMs: number
  /** The queue that takes answers to this reply. */
  readonly answerTo: string | undefined
}

/** What a request tells beside its body. */
interface Asking {
  readonly replyTo: string
  /** Is told the request's id before it leaves, so that no reply comes too early. */
  readonly began: (id: string) => void
  readonly headers?: Headers
}

/** One destination as one contract or plain name uses it. */
interface Outlet {
  readonly to: Target
  readonly type: string
  readonly contract: AnyContract | undefined
  readonly format: Format | undefined
  readonly key: ((body: never) => string) | undefined
  readonly destination: Ready
}

type Kind = 'command' | 'event' | 'request' | 'stream'

/** How many plain names are remembered; a program that makes up names without end must not grow without end. */
const maxRemembered = 10_000
/** How long it is worth delivering what is said to the other side of a stream, in milliseconds. */
const controlTtlMs = 60_000
const durable: Wanted = { durable: true, create: true, lanes: undefined }
const noOptions: SendOptions = Object.freeze({})

export class Outlets {
  readonly #destinations: Destinations
  readonly #formats: PipelineFormats
  readonly #capabilities: Capabilities
  readonly #maxHeaderBytes: number
  readonly #own: Carried
  readonly #events: EventHub
  readonly #run: (message: OutgoingMessage) => Promise<Receipt>
  readonly #contracts = new Map<AnyContract, Outlet>()
  readonly #queues = new Map<string, Outlet>()
  readonly #topics = new Map<string, Outlet>()

  constructor(parts: {
    destinations: Destinations
    formats: PipelineFormats
    capabilities: Capabilities
    maxHeaderBytes: number
    attributes: Carried['attributes']
    middleware: readonly OutgoingMiddleware[]
    sender: Sender
    events: EventHub
  }) {
    this.#destinations = parts.destinations
    this.#formats = parts.formats
    this.#capabilities = parts.capabilities
    this.#maxHeaderBytes = parts.maxHeaderBytes
    this.#own = { attributes: parts.attributes }
    this.#events = parts.events
    const { sender } = parts
    this.#run = chain(parts.middleware, message => sender.accept(message))
  }

  /** Sends one message. Never throws: what is wrong rejects the promise. */
  send(
    kind: Kind,
    to: AnyContract | string,
    body: unknown,
    options: SendOptions | undefined,
    carried: Carried = this.#own,
  ): Promise<Receipt> {
    try {
      return this.#go(this.#draft(kind, to, body, options ?? noOptions, carried))
    } catch (error) {
      return this.#refused(destinationOf(to), kind === 'event' ? 'topic' : 'queue', error)
    }
  }

  request(
    kind: 'request' | 'stream',
    to: AnyContract | string,
    body: unknown,
    options: RequestOptions | undefined,
    carried: Carried = this.#own,
    { replyTo, began, headers }: Asking,
  ): Promise<Receipt> {
    try {
      const draft = this.#draft(kind, to, body, options ?? noOptions, carried)
      // A reply names the request that it answers, so here the correlation is the request's own id.
      draft.replyTo = replyTo
      draft.correlationId = draft.id
      draft.attributes = correlated(carried)
      if (headers !== undefined) draft.headers = { ...draft.headers, ...headers }
      began(draft.id)
      return this.#go(draft)
    } catch (error) {
      return this.#refused(destinationOf(to), 'queue', error)
    }
  }

  /** Sends a reply. Its queue is nobody's to declare: the requester made it. */
  reply(reply: OutgoingReply): Promise<Receipt> {
    try {
      const { carried, format, body, headers, answerTo } = reply
      const to: Target = { kind: 'reply', name: reply.replyTo }
      const draft = new Draft(
        to,
        undefined,
        format,
        this.#formats,
        randomUUID(),
        reply.type,
        body,
        correlated(carried),
        Date.now(),
      )
      draft.correlationId = reply.correlationId
      draft.replyTo = answerTo
      draft.durable = false
      if (this.#capabilities.operations.expiry !== 'unsupported') draft.expiresAt = draft.time + reply.ttlMs
      if (headers !== undefined) draft.headers = headers
      return this.#go(draft)
    } catch (error) {
      return this.#refused(reply.replyTo, 'reply', error)
    }
  }

  /** Says something to the other side of a stream, in headers alone. */
  control(replyTo: string, correlationId: string, headers: Headers): Promise<Receipt> {
    return this.reply({
      replyTo,
      correlationId,
      type: undefined,
      format: this.#formats.json,
      body: null,
      headers,
      carried: this.#own,
      ttlMs: controlTtlMs,
      answerTo: undefined,
    })
  }

  #go(draft: Draft): Promise<Receipt> {
    const sent = this.#run(draft)
    // Accepted, as nearly always: the sender tells what becomes of it. Else some step takes its time.
    if (draft.accepted) return sent
    return sent.catch((error: unknown) => {
      if (draft.accepted) throw error
      return this.#refused(draft.to.name, draft.to.kind, error)
    })
  }

  /** A message that never left is told of too. */
  #refused(destination: string, target: Target['kind'], error: unknown): Promise<never> {
    if (this.#events.heard['send-refused']) this.#events.emit({ kind: 'send-refused', destination, target, error })
    return Promise.reject(error)
  }

  #draft(kind: Kind, to: AnyContract | string, body: unknown, options: SendOptions, carried: Carried): Draft {
    const outlet = this.#outlet(kind, to)
    const id = randomUUID()
    const draft = new Draft(
      outlet.to,
      outlet.contract,
      outlet.format,
      this.#formats,
      id,
      outlet.type,
      body,
      carried.attributes,
      Date.now(),
    )
    draft.destination = outlet.destination
    draft.correlationId = carried.correlationId
    if (options !== noOptions) this.#apply(draft, outlet, kind, options)
    if (draft.key === undefined && outlet.key !== undefined) draft.key = keyOf(outlet, body)
    return draft
  }

  #apply(draft: Draft, outlet: Outlet, kind: Kind, options: SendOptions): void {
    checkOptions(tables[kind], options, methods[kind])
    const { key, headers, delayMs, at, ttlMs, signal, declare } = options
    if (key !== undefined) draft.key = checkedKey(key)
    if (headers !== undefined) draft.headers = checkedHeaders(headers, this.#maxHeaderBytes)
    if (delayMs !== undefined && at !== undefined) {
      throw new ChasquiError('option-invalid', `${methods[kind]} takes \`delayMs\` or \`at\`, not both.`)
    }
    const due = delayMs === undefined ? at?.getTime() : draft.time + delayMs
    if (due !== undefined && due > draft.time) {
      this.#demand('delay', 'delay messages (`delayMs`, `at`)')
      draft.notBefore = due
    }
    if (ttlMs !== undefined) {
      this.#demand('expiry', 'let messages expire (`ttlMs`)')
      draft.expiresAt = draft.time + ttlMs
      if (draft.expiresAt <= (draft.notBefore ?? 0)) {
        throw new ChasquiError(
          'option-invalid',
          `${methods[kind]}: the message would expire before it is due. \`ttlMs\` counts from now; make it longer than the delay.`,
        )
      }
    }
    if (signal !== undefined) {
      if (signal.aborted) throw abortedError(signal, outlet.to.name)
      draft.signal = signal
    }
    if (options.durable === false) draft.durable = false
    if (options.durable === false || declare === 'never') {
      const wanted: Wanted = {
        durable: options.durable !== false,
        create: declare !== 'never',
        lanes: outlet.contract?.lanes,
      }
      draft.destination = this.#destination(outlet.to, wanted)
    }
  }

  #demand(operation: 'delay' | 'expiry', what: string): void {
    const { engine, operations } = this.#capabilities
    if (operations[operation] !== 'unsupported') return
    throw new ChasquiError(
      'unsupported',
      `The engine ${engine} cannot ${what}. Leave the option out or choose another engine.`,
      {
        details: { engine, operation },
      },
    )
  }

  #outlet(kind: Kind, to: AnyContract | string): Outlet {
    if (typeof to === 'string') {
      const known = kind === 'event' ? this.#topics : this.#queues
      return known.get(to) ?? this.#remember(known, to, this.#plain(kind, to))
    }
    const outlet = this.#contracts.get(to) ?? this.#remember(this.#contracts, to, this.#declared(to))
    if (kindOf(to) !== kind) throw wrongKind(kind, to)
    return outlet
  }

  #remember<K>(known: Map<K, Outlet>, key: K, outlet: Outlet): Outlet {
    if (known.size >= maxRemembered) known.clear()
    known.set(key, outlet)
    return outlet
  }

  #plain(kind: Kind, name: string): Outlet {
    checkName(kind === 'event' ? 'topic' : 'queue', name)
    const to: Target = { kind: kind === 'event' ? 'topic' : 'queue', name }
    const destination = this.#destination(to, durable)
    return { to, type: name, contract: undefined, format: undefined, key: undefined, destination }
  }

  #declared(contract: AnyContract): Outlet {
    if (!isContract(contract)) {
      throw new ChasquiError(
        'option-invalid',
        'The destination is neither a name nor what event(), command() or request() returned.',
      )
    }
    const to: Target = { kind: contract.kind === 'event' ? 'topic' : 'queue', name: contract.destination }
    return {
      to,
      type: contract.type,
      contract,
      format: this.#formats.registry.named(contract.format ?? 'json'),
      key: contract.key,
      destination: this.#destination(to, { durable: true, create: true, lanes: contract.lanes }),
    }
  }

  #destination(to: Target, wanted: Wanted): Ready {
    return to.kind === 'topic' ? this.#destinations.topic(to.name, wanted) : this.#destinations.queue(to.name, wanted)
  }
}

/** Whatever was given, for an event: it may be what is wrong. */
function destinationOf(to: AnyContract | string): string {
  if (typeof to === 'string') return to.slice(0, maxNameBytes)
  return isContract(to) ? to.destination : ''
}

const methods = { command: 'send()', event: 'publish()', request: 'request()', stream: 'stream()' } as const
const tables = { command: sendOptions, event: sendOptions, request: requestOptions, stream: streamOptions } as const

function kindOf(contract: AnyContract): Kind {
  return contract.stream === true ? 'stream' : contract.kind
}

function wrongKind(kind: Kind, contract: AnyContract): ChasquiError {
  const right = {
    command: 'a command: it is sent',
    event: 'an event: it is published',
    request: 'a request: it is requested',
    stream: 'answered by a stream: it is asked for with stream()',
  }[kindOf(contract)]
  return new ChasquiError('option-invalid', `"${contract.type}" is ${right}, not given to ${methods[kind]}.`, {
    details: { type: contract.type, kind: contract.kind },
  })
}
