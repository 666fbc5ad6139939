/**
 * `chasqui consume`: looks at what waits in a queue or a subscription, takes it, or listens to a topic.
 *
 * Taking loses messages to others and looking counts as a return, so that neither is the default: one of them is asked for
 * by name. What is looked at is held while the command runs and goes back then; what is taken is acknowledged once its
 * line has left the process.
 */

import { randomUUID } from 'node:crypto'
import type { Bus, Delivery } from '@chasqui/core'
import { ChasquiError, isChasquiError } from '@chasqui/core'
import type { Source } from '@chasqui/driver'
import { Command, Option } from 'commander'
import { limit } from '../arguments.ts'
import { metricsPortOption, withMetrics } from '../metrics.ts'
import type { Output } from '../output.ts'
import { bodyFields, receiveRaw, shownBody } from '../raw-body.ts'
import type { Session, SessionOptions } from '../session.ts'
import { addSessionOptions, withSession } from '../session.ts'
import { count, plain } from '../table.ts'

interface Options extends SessionOptions {
  readonly subscription?: string
  readonly ack?: true
  readonly peek?: true
  readonly follow?: true
  readonly limit?: number
  readonly metricsPort?: number
}

/** How many messages are looked at unless somebody says how many: they are all in hand at once. */
const usualLook = 100
/** The most that one look may hold; RabbitMQ's quorum queues hand out no more to one consumer. */
const maxLook = 2000
/** How many may be unsettled while they are taken. */
const takingWindow = 100
/** After so long without a message the engine is asked whether any waits, in milliseconds. */
const quietMs = 250
/** How often it may say that some do and give none: then they are not for us. */
const patience = 40

const notes = `
--peek holds messages while the command runs and gives them back in their order.
Engines count that as a return: looked at again and again, a message seems to
kill whoever takes it, and goes to the dead-letter queue at the delivery limit.
--ack takes each message once it has been printed. The command ends when nothing
waits, with --follow when it is told to (Ctrl-C).

For a topic name a subscription, or use --follow alone: that listens with a
subscription of its own, so that nobody else misses anything.

Examples:
  chasqui consume orders --peek
  chasqui consume orders --ack --limit 1
  chasqui consume order.placed --follow
  chasqui consume order.placed --subscription billing --ack --json > all.jsonl
`

export function consumeCommand(): Command {
  const command = new Command('consume')
    .description('Look at or take messages of a queue or a subscription, or listen to a topic.')
    .argument('<name>', 'the queue or the topic')
    .option('--subscription <name>', 'of the topic')
    .option('--peek', 'look at the messages; they stay')
    .addOption(new Option('--ack', 'take the messages').conflicts('peek'))
    .option('--follow', 'go on when nothing waits any more')
    .option('--limit <number>', `end after so many (default: ${usualLook} with --peek)`, limit)
    .addOption(metricsPortOption())
    .addHelpText('after', notes)
    .action(async (name: string, options: Options, self: Command) => {
      if (options.peek && options.follow) self.error('error: --follow goes with --ack, or with a topic alone')
      if (options.peek && (options.limit ?? 0) > maxLook) self.error(`error: --limit is at most ${maxLook} with --peek`)
      const settings = { looks: true, incoming: [receiveRaw], metrics: options.metricsPort !== undefined }
      await withSession(options, settings, session =>
        withMetrics(
          options.metricsPort,
          () => session.bus.metrics(),
          () => consume(session, name, options),
        ),
      )
    })
  return addSessionOptions(command)
}

/** What is received from, and whether what comes is only for us. */
interface From {
  readonly source: Source
  readonly isOwn: boolean
}

async function consume(session: Session, name: string, options: Options): Promise<void> {
  const from = await origin(session.bus, name, options)
  if (!options.ack && !options.peek && !from.isOwn) {
    throw new ChasquiError(
      'option-invalid',
      `Say what to do with the messages of ${nameOf(from.source)}: --peek looks at them and lets them stay, --ack takes them.`,
    )
  }
  const takes = options.ack === true || from.isOwn
  const shown = await show(session, from, options, takes).catch((error: unknown) => {
    if (isChasquiError(error) && error.code === 'destination-missing') throw missing(from.source, error)
    throw error
  })
  if (!session.output.json) await session.output.line(summary(shown, takes, nameOf(from.source)))
}

/** Finds out whether the name is a queue or a topic. */
async function origin(bus: Bus, name: string, { subscription, follow, peek, ack }: Options): Promise<From> {
  if (subscription !== undefined) {
    return { source: { kind: 'subscription', topic: name, name: subscription }, isOwn: false }
  }
  // Where the name is a topic, a queue of that name is a contradiction, which the plan tells.
  const [asTopic] = await bus.plan([{ topic: name }])
  if (asTopic?.action !== 'none') return { source: { kind: 'queue', name }, isOwn: false }
  if (follow && !peek && !ack) {
    return { source: { kind: 'subscription', topic: name, name: `listener-${randomUUID().slice(0, 8)}` }, isOwn: true }
  }
  throw new ChasquiError(
    'option-invalid',
    `"${name}" is a topic, which keeps nothing itself. Name a --subscription, or listen with --follow.`,
  )
}

async function show(session: Session, { source, isOwn }: From, options: Options, takes: boolean): Promise<number> {
  const { bus, signal, output } = session
  const most = options.limit ?? (takes ? Number.POSITIVE_INFINITY : usualLook)
  const ended = new AbortController()
  const stop = () => ended.abort()
  signal.addEventListener('abort', stop, { once: true })
  const deliveries = bus.receive(source.kind === 'subscription' ? source.topic : source.name, {
    window: Math.min(takes ? takingWindow : maxLook, most),
    signal: ended.signal,
    ...(source.kind === 'subscription' ? { subscription: source.name } : {}),
    ...(isOwn ? { durable: false } : { declare: 'never' }),
  })
  let shown = 0
  try {
    while (shown < most) {
      const delivery = options.follow
        ? ((await deliveries.next()).value ?? undefined)
        : await nextOf(deliveries, () => waitingIn(bus, source), ended)
      if (delivery === undefined) break
      // What nobody has seen stays: it goes back when the loop ends.
      if (!(await print(output, delivery))) break
      shown++
      if (takes) await delivery.ack()
    }
  } finally {
    signal.removeEventListener('abort', stop)
    ended.abort()
    await deliveries.return()
    // Else it would collect for nobody until it expires.
    if (isOwn) await bus.inspector?.remove?.(source)
  }
  return shown
}

/** The next delivery; `undefined` when the loop has ended or nothing waits (`waiting` resolves to 0). */
async function nextOf(
  deliveries: AsyncGenerator<Delivery<unknown>, void, void>,
  waiting: () => Promise<number>,
  ended: AbortController,
): Promise<Delivery<unknown> | undefined> {
  const next = deliveries.next().then(({ value }) => value ?? undefined)
  for (let looks = 0; ; looks++) {
    const quiet = Promise.withResolvers<'quiet'>()
    const timer = setTimeout(() => quiet.resolve('quiet'), quietMs)
    const first = await Promise.race([next, quiet.promise]).finally(() => clearTimeout(timer))
    if (first !== 'quiet') return first
    const ready = await waiting()
    if (ready === 0) {
      ended.abort()
      return await next
    }
    if (looks >= patience) throw heldBack(ready)
  }
}

async function waitingIn(bus: Bus, source: Source): Promise<number> {
  return (await bus.inspector?.depth(source))?.ready ?? 0
}

function heldBack(ready: number): ChasquiError {
  return new ChasquiError(
    'destination-in-use',
    `${count(ready)} ${ready === 1 ? 'message waits' : 'messages wait'} and none comes: another consumer has them in order. Stop it, or look with \`chasqui queues\`.`,
  )
}

function print(output: Output, delivery: Delivery<unknown>): Promise<boolean> {
  const { id, type, key, headers, contentType, source, destination, time, correlationId, causationId, tenantId } =
    delivery
  const bytes = delivery.body as Uint8Array
  const { redelivered, attempt } = delivery
  if (output.json) {
    const about = {
      id,
      type,
      key,
      destination,
      source,
      time,
      contentType,
      correlationId,
      causationId,
      tenantId,
      redelivered,
      attempt,
    }
    return output.value({ ...about, headers, ...bodyFields(bytes, contentType) })
  }
  const facts = [
    time?.toISOString(),
    type ?? 'no type',
    id === undefined ? undefined : `id ${id}`,
    key === undefined ? undefined : `key ${key}`,
    attempt > 1 ? `attempt ${attempt}` : undefined,
    ...Object.entries(headers).map(([name, value]) => `${name}=${String(value)}`),
  ]
  const head = facts.filter(fact => fact !== undefined).map(plain)
  return output.line(`${head.join('  ')}\n${shownBody(bytes, contentType).split('\n').map(plain).join('\n')}\n`)
}

function summary(shown: number, takes: boolean, name: string): string {
  if (shown === 0) return `Nothing waits in ${name}.`
  return `${count(shown)} ${shown === 1 ? 'message' : 'messages'} of ${name} shown${takes ? ' and taken' : ', all still there'}.`
}

function missing(source: Source, cause: unknown): ChasquiError {
  const what =
    source.kind === 'subscription' ? `subscription "${source.name}" of "${source.topic}"` : `queue "${source.name}"`
  return new ChasquiError('destination-missing', `There is no ${what}.`, { cause })
}

function nameOf(source: Source): string {
  return source.kind === 'subscription' ? `${source.topic}/${source.name}` : source.name
}
