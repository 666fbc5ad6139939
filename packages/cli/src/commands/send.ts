/** `chasqui send` and `chasqui publish`: one message, or one for each line of standard input. */
import { readFile } from 'node:fs/promises'
import type { Receipt, SendOptions } from '@chasqui/core'
import { ChasquiError, command, event, isChasquiError } from '@chasqui/core'
import { Command, Option } from 'commander'
import { durationMs, moment, pair } from '../arguments.ts'
import { inputLines } from '../input-lines.ts'
import { metricsPortOption, withMetrics } from '../metrics.ts'
import type { RawBody } from '../raw-body.ts'
import { rawBody, sendRaw } from '../raw-body.ts'
import type { Session, SessionOptions } from '../session.ts'
import { addSessionOptions, withSession } from '../session.ts'
import { count } from '../table.ts'

interface Options extends SessionOptions {
  readonly file?: string
  readonly type?: string
  readonly key?: string
  readonly header?: Readonly<Record<string, string>>
  readonly delay?: number
  readonly at?: Date
  readonly ttl?: number
  readonly contentType?: string
  readonly create: boolean
  readonly metricsPort?: number
}

/** How many lines of standard input may wait for their confirms. */
const maxUnconfirmed = 1000

const notes = `
The body goes out byte for byte. Its content type is JSON where it is JSON, text
where it is text, else bytes, unless --content-type says more. With - each line
of standard input is a message; the order of the lines is kept.
`

export function sendCommand(): Command {
  return sending('send', 'queue')
    .description('Send a message to a queue.')
    .addHelpText(
      'after',
      `${notes}
Examples:
  chasqui send hello 'Hello World!'
  chasqui send payments.charge '{"orderId":"42"}' --key 42 --delay 10s
  jq -c '.[]' orders.json | chasqui send orders - --url amqp://localhost
`,
    )
}

export function publishCommand(): Command {
  return sending('publish', 'topic')
    .description('Publish a message to a topic: each subscription gets a copy.')
    .addHelpText(
      'after',
      `${notes}
Examples:
  chasqui publish order.placed '{"orderId":"42","total":10}'
  chasqui publish order.placed --file order.json --header region=eu
`,
    )
}

function sending(name: 'send' | 'publish', to: 'queue' | 'topic'): Command {
  const command = new Command(name)
    .argument(`<${to}>`, `the ${to}; it is made where it is absent`)
    .argument('[body]', 'the body, or - for the lines of standard input')
    .addOption(new Option('--file <path>', 'the body is what this file holds'))
    .option('--type <name>', `the type of the message (default: the ${to}'s name)`)
    .option('--key <key>', 'messages of one key keep their order')
    .option('--header <name=value>', 'a header; may be given more than once', pair)
    .addOption(
      new Option('--delay <time>', 'not to be delivered before so long: 10s, 5m, 2h')
        .argParser(durationMs)
        .conflicts('at'),
    )
    .option('--at <moment>', 'not to be delivered before: 2026-11-24T18:30:00Z', moment)
    .option('--ttl <time>', 'not to be delivered after so long', durationMs)
    .option('--content-type <type>', 'what the body is')
    .addOption(metricsPortOption())
    .option('--no-create', `a ${to} that is absent is a failure`)
    .action(async (destination: string, body: string | undefined, options: Options, self: Command) => {
      if ((body === undefined) === (options.file === undefined)) {
        self.error(`error: give the body as an argument, with --file, or as - for standard input`)
      }
      const settings = { outgoing: [sendRaw], metrics: options.metricsPort !== undefined }
      await withSession(options, settings, session =>
        withMetrics(
          options.metricsPort,
          () => session.bus.metrics(),
          () => run(session, to, destination, body, options),
        ),
      )
    })
  return addSessionOptions(command)
}

async function run(
  session: Session,
  to: 'queue' | 'topic',
  destination: string,
  body: string | undefined,
  options: Options,
): Promise<void> {
  const send = sender(session, to, destination, options)
  if (body === '-') return await sendLines(session, send, destination, options)
  const bytes = body === undefined ? await contentOf(options.file ?? '') : Buffer.from(body)
  const receipt = await send(rawBody(bytes, options.contentType, options.file))
  const { output } = session
  if (output.json) await output.value({ destination, ...receipt })
  else
    await output.line(
      `sent ${receipt.id} to ${destination}${dueText(options)}${receipt.durable ? '' : ', kept in memory only'}`,
    )
}

function dueText({ at, delay }: Options): string {
  const due = at ?? (delay === undefined ? undefined : new Date(Date.now() + delay))
  return due === undefined ? '' : `, not to be delivered before ${due.toISOString()}`
}

/** Sends one body the way that the options say. */
function sender({ bus }: Session, to: 'queue' | 'topic', destination: string, options: Options) {
  const type = options.type ?? destination
  const sendOptions: SendOptions = {
    ...(options.key === undefined ? {} : { key: options.key }),
    ...(options.header === undefined ? {} : { headers: options.header }),
    ...(options.delay === undefined ? {} : { delayMs: options.delay }),
    ...(options.at === undefined ? {} : { at: options.at }),
    ...(options.ttl === undefined ? {} : { ttlMs: options.ttl }),
    ...(options.create ? {} : { declare: 'never' }),
  }
  if (to === 'queue') {
    const contract = command<RawBody>(type, { destination })
    return (body: RawBody): Promise<Receipt> => bus.send(contract, body, sendOptions).catch(reworded)
  }
  const contract = event<RawBody>(type, { destination })
  return (body: RawBody): Promise<Receipt> => bus.publish(contract, body, sendOptions).catch(reworded)

  function reworded(error: unknown): never {
    if (options.create || !isChasquiError(error) || error.code !== 'destination-missing') throw error
    throw new ChasquiError(
      'destination-missing',
      `There is no ${to} "${destination}". Leave out --no-create to have it made.`,
      { cause: error },
    )
  }
}

/**
 * Each line a message, in order, so many at once as may wait for their confirms. A line that fails is told of by its
 * number and the others go on; the whole then counts as failed.
 */
async function sendLines(
  { signal, output }: Session,
  send: (body: RawBody) => Promise<Receipt>,
  destination: string,
  options: Options,
): Promise<void> {
  let sent = 0
  let failed = 0
  let line = 0
  const waiting = new Set<Promise<void>>()
  for await (const bytes of inputLines(process.stdin, signal)) {
    const one = settle(++line, bytes)
    waiting.add(one)
    void one.finally(() => waiting.delete(one))
    if (waiting.size >= maxUnconfirmed) await Promise.race(waiting)
  }
  await Promise.all(waiting)
  if (!output.json) await output.line(`sent ${count(sent)} messages to ${destination}`)
  if (failed > 0) {
    throw new ChasquiError(
      'send-refused',
      `${count(failed)} of ${count(line)} lines were not sent; they are named above.`,
    )
  }
  if (signal.aborted) throw new ChasquiError('aborted', `Stopped after line ${line}, up to which all was sent.`)

  async function settle(number: number, bytes: Uint8Array): Promise<void> {
    try {
      const receipt = await send(rawBody(bytes, options.contentType))
      sent++
      if (output.json) await output.value({ line: number, destination, ...receipt })
    } catch (error) {
      failed++
      if (!isChasquiError(error)) throw error
      if (output.json) console.error(JSON.stringify({ line: number, error: error.code, message: error.message }))
      else console.error(`chasqui: line ${number}: ${error.message}`)
    }
  }
}

async function contentOf(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw new ChasquiError('option-invalid', `The file ${file} cannot be read: ${(cause as Error).message}`, { cause })
  }
}
