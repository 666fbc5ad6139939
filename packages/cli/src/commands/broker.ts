/** `chasqui broker`: the embedded broker as a server of its own, until SIGTERM or SIGINT. */

import { resolve } from 'node:path'
import { Broker, BrokerError, type BrokerOptions, brokerDefaults, type Listener } from '@chasqui/broker'
import { ChasquiError } from '@chasqui/driver'
import { Command, InvalidArgumentError, Option } from 'commander'
import { port } from '../arguments.ts'
import { metricsPortOption, withMetrics } from '../metrics.ts'
import { pemFile } from '../pem-file.ts'
import { queueMetrics } from '../queue-metrics.ts'
import { jsonOption } from '../session.ts'

interface Options {
  host: string
  port: number
  data: string
  memory?: true
  memoryLimit: number
  tlsCert?: string
  tlsKey?: string
  tlsPort: number
  tlsCa?: string
  tlsUsers?: readonly string[]
  metricsPort?: number
  json?: true
}

const { memoryLimitBytes } = brokerDefaults

const examples = `
It prints one line when clients may connect, as amqp://guest:guest@HOST:PORT,
and stops on SIGTERM or Ctrl-C.

Examples:
  chasqui broker
  chasqui broker --port 0 --memory
  chasqui broker --data /var/lib/chasqui --tls-cert cert.pem --tls-key key.pem
`

export function brokerCommand(): Command {
  return new Command('broker')
    .description('Run the broker: AMQP 0-9-1 for clients in any language, crash-safe queues in one directory.')
    .option('--host <address>', 'address to listen on; guest may log in from this machine only', '127.0.0.1')
    .option('--port <number>', 'TCP port; 0 takes a free one', port, 5672)
    .addOption(new Option('--data <directory>', 'where queues and messages are kept').default('.chasqui', '.chasqui'))
    .addOption(new Option('--memory', 'keep nothing on disk: all is gone when the broker stops').conflicts('data'))
    .addOption(
      new Option('--memory-limit <bytes>', 'publishers wait while messages take more memory than this')
        .argParser(bytes)
        .default(memoryLimitBytes.value, `${memoryLimitBytes.value / 1024 ** 2} MiB`),
    )
    .option('--tls-cert <file>', 'PEM certificate; with --tls-key, TLS is offered on --tls-port')
    .option('--tls-key <file>', 'PEM private key')
    .option('--tls-port <number>', 'TCP port for TLS; 0 takes a free one', port, 5671)
    .option('--tls-ca <file>', 'PEM authorities: TLS clients need a certificate of theirs')
    .option('--tls-users <names>', 'common names that may log in by certificate, by commas', names)
    .addOption(metricsPortOption())
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action((options: Options) => serve(options))
}

async function serve(options: Options): Promise<void> {
  const stopped = new Promise<string>(done => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => done(signal))
  })
  const broker = await start(await brokerOptions(options))
  const urls = broker.addresses.filter(address => 'port' in address).map(address => address.url)
  const data = options.memory ? undefined : resolve(options.data)
  if (options.json) console.log(JSON.stringify({ event: 'ready', urls, data: data ?? null, pid: process.pid }))
  else console.log(`chasqui broker ready on ${urls.join(' and ')}, ${data ? `data in ${data}` : 'nothing on disk'}`)
  const signal = await withMetrics(
    options.metricsPort,
    async () => metricsOf(broker),
    () => stopped,
  ).finally(() => broker.close())
  if (options.json) console.log(JSON.stringify({ event: 'stopped', signal }))
  else console.log(`chasqui broker stopped (${signal})`)
}

function metricsOf({ vhost }: Broker): string {
  const queues = vhost
    .queueNames()
    .sort()
    .map(name => ({ name, ...vhost.inspect(name)! }))
  return [
    queueMetrics(queues),
    '# HELP chasqui_broker_memory_bytes What the messages in memory weigh.\n# TYPE chasqui_broker_memory_bytes gauge\n',
    `chasqui_broker_memory_bytes ${vhost.memoryBytes}\n`,
    '# HELP chasqui_broker_blocked 1 while publishers wait (memory limit, disk).\n# TYPE chasqui_broker_blocked gauge\n',
    `chasqui_broker_blocked ${vhost.blocked ? 1 : 0}\n`,
  ].join('')
}

async function start(options: BrokerOptions): Promise<Broker> {
  try {
    const broker = new Broker(options)
    await broker.start()
    return broker
  } catch (error) {
    throw error instanceof BrokerError ? new ChasquiError(error.code, error.message, { cause: error }) : error
  }
}

async function brokerOptions(options: Options): Promise<BrokerOptions> {
  const listeners: Listener[] = [{ host: options.host, port: options.port }]
  if ((options.tlsCert === undefined) !== (options.tlsKey === undefined)) {
    throw new ChasquiError('option-invalid', 'TLS needs both --tls-cert and --tls-key.')
  }
  if (options.tlsCert !== undefined && options.tlsKey !== undefined) {
    const [cert, key] = await Promise.all([pemFile(options.tlsCert), pemFile(options.tlsKey)])
    const clients =
      options.tlsCa === undefined
        ? {}
        : { ca: await pemFile(options.tlsCa), requestCert: true, users: options.tlsUsers }
    listeners.push({ host: options.host, port: options.tlsPort, tls: { cert, key, ...clients } })
  } else if (options.tlsCa !== undefined) {
    throw new ChasquiError('option-invalid', '--tls-ca needs --tls-cert and --tls-key beside it.')
  }
  if (options.tlsUsers !== undefined && options.tlsCa === undefined) {
    throw new ChasquiError(
      'option-invalid',
      '--tls-users needs --tls-ca: nobody is asked for a certificate without it.',
    )
  }
  if (!options.memory) listeners.push({ local: true })
  return {
    listeners,
    memoryLimitBytes: options.memoryLimit,
    ...(options.memory ? {} : { dataDirectory: options.data }),
  }
}

function names(text: string): readonly string[] {
  const all = text.split(',').map(name => name.trim())
  if (all.includes('')) throw new InvalidArgumentError('Give names, with commas between them.')
  return all
}

function bytes(text: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number) || number < memoryLimitBytes.least) {
    throw new InvalidArgumentError(`Give a number of bytes, ${memoryLimitBytes.least} or more.`)
  }
  return number
}
