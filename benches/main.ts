/**
 * `npm run bench [-- --rounds N] [--section process | rabbitmq | keys | redrive]`: every figure of docs/benchmarks.md, which it
 * writes, or those of one section. Wants a RabbitMQ at
 * CHASQUI_RABBITMQ_URL (default amqp://127.0.0.1:5672; `npm run brokers -- start rabbitmq`).
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { machine, versionOf } from './machine.ts'
import { cpuPerMessage, inTurn, perSecond, runOnce, type Sample } from './run.ts'

const rabbitmqUrl = process.env.CHASQUI_RABBITMQ_URL ?? 'amqp://127.0.0.1:5672'
const callers = 1_000
const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' }, section: { type: 'string' } } })
const rounds = Number(values.rounds)
/** On the project's own disk, so that what is synced is a disk and no memory file system. */
const work = mkdtempSync(join(process.cwd(), '.bench-'))

interface Goal {
  readonly text: string
  readonly reached: boolean
}

interface RedriveSample extends Sample {
  readonly peakMegabytes: number
}

interface Section {
  readonly title: string
  readonly says: string
  readonly rows: readonly { readonly name: string; readonly samples: readonly Sample[] }[]
  readonly goals: readonly Goal[]
}

function atMost(what: string, value: number, limit: number, unit = ''): Goal {
  return { text: `${what}: ${value.toFixed(2)}${unit} (at most ${limit}${unit})`, reached: value <= limit }
}

function atLeast(what: string, value: number, limit: number): Goal {
  const number = (of: number) => Math.round(of).toLocaleString('en')
  return { text: `${what}: ${number(value)} (at least ${number(limit)})`, reached: value >= limit }
}

async function inProcess(): Promise<Section> {
  let directory = 0
  const samples = await inTurn(rounds, {
    'bare loop: JSON and the schema alone': () => runOnce<Sample>('pipeline/bare-loop.ts', 'none', 400_000),
    'memory:, send to handler, logs and metrics off': () =>
      runOnce<Sample>('pipeline/chasqui.ts', 'memory:', 400_000, callers),
    'memory:, the same with logs and metrics on': () =>
      runOnce<Sample>('pipeline/chasqui.ts', 'memory:', 400_000, callers, 'counted'),
    'embedded:, durable and confirmed': () =>
      runOnce<Sample>('pipeline/chasqui.ts', `embedded:${join(work, `data-${directory++}`)}`, 200_000, callers),
  })
  const [bare, memory, counted, embedded] = Object.values(samples) as [Sample[], Sample[], Sample[], Sample[]]
  const { perSecond: syncs } = await runOnce<{ perSecond: number }>('disk-sync.ts')
  return {
    title: 'In one process',
    says:
      `${callers.toLocaleString('en')} callers at once, each awaiting its send: an order of some 130 bytes as JSON with a zod ` +
      'schema, checked on both sides, to a handler in the same process. CPU is that of the whole process, broker included. ' +
      `This disk syncs a 4 KiB append ${Math.round(syncs).toLocaleString('en')} times a second, one at a time.`,
    rows: Object.entries(samples).map(([name, of]) => ({ name, samples: of })),
    goals: [
      atMost('memory: CPU over the bare loop', cpuPerMessage(memory) / cpuPerMessage(bare), 3, ' x'),
      atMost('memory: the same, all on', cpuPerMessage(counted) / cpuPerMessage(bare), 4, ' x'),
      atMost(
        'memory: CPU with logs and metrics over that without',
        cpuPerMessage(counted) / cpuPerMessage(memory),
        1.3,
        ' x',
      ),
      atLeast('embedded: messages per second', perSecond(embedded), 100_000),
    ],
  }
}

async function onRabbitmq(): Promise<Section> {
  const samples = await inTurn(rounds, {
    'Chasqui: bus.send to handler, metrics on': () =>
      runOnce<Sample>('pipeline/chasqui.ts', rabbitmqUrl, 50_000, callers, 'counted'),
    'amqplib by hand': () => runOnce<Sample>('pipeline/amqplib.ts', rabbitmqUrl, 50_000, callers),
    'NestJS, RMQ transport (sends without confirms)': () =>
      runOnce<Sample>('pipeline/nest.ts', rabbitmqUrl, 50_000, callers),
    'raw TCP socket, 100 B to an echo and back': () => runOnce<Sample>('raw-socket.ts', 1_000_000),
  })
  const [ours, byHand, nest] = Object.values(samples) as [Sample[], Sample[], Sample[]]
  return {
    title: 'The pipeline on RabbitMQ',
    says:
      'The same order through a quorum queue, sender and handler in one process. By hand on amqplib: confirms, mandatory, ' +
      'persistent; the consumer parses, checks the schema and acks. Ours checks on both sides, and carries id, time, source and type.',
    rows: Object.entries(samples).map(([name, of]) => ({ name, samples: of })),
    goals: [
      atMost('CPU over amqplib by hand', cpuPerMessage(ours) / cpuPerMessage(byHand), 1, ' x'),
      {
        text: `throughput over amqplib by hand: ${(perSecond(ours) / perSecond(byHand)).toFixed(2)} x (at least 1 x)`,
        reached: perSecond(ours) >= perSecond(byHand),
      },
      {
        text: `CPU of NestJS over ours: ${(cpuPerMessage(nest) / cpuPerMessage(ours)).toFixed(2)} x (at least 3 x)`,
        reached: cpuPerMessage(nest) >= 3 * cpuPerMessage(ours),
      },
    ],
  }
}

async function byKey(): Promise<Section> {
  const engines = { 'memory:': 'memory:', 'embedded:': '', RabbitMQ: rabbitmqUrl }
  const rows: { name: string; samples: Sample[] }[] = []
  const goals: Goal[] = []
  let directory = 0
  for (const [engine, given] of Object.entries(engines)) {
    const url = () => given || `embedded:${join(work, `keys-${directory++}`)}`
    const messages = engine === 'RabbitMQ' ? 50_000 : 300_000
    const samples = await inTurn(rounds, {
      unordered: () => runOnce<Sample>('pipeline/keys.ts', url(), messages, callers),
      'by key': () => runOnce<Sample>('pipeline/keys.ts', url(), messages, callers, 'ordered'),
    })
    for (const [name, of] of Object.entries(samples)) rows.push({ name: `${engine}, ${name}`, samples: of })
    const ratio = perSecond(samples['by key']!) / perSecond(samples.unordered!)
    goals.push({
      text: `${engine}: throughput by key over that without order: ${ratio.toFixed(2)} x (at least 0.7 x)`,
      reached: ratio >= 0.7,
    })
  }
  return {
    title: 'Order by key',
    says:
      'The same order with 100,000 keys, 50 handlers at once that are asynchronous, logs and metrics on; without order and with ' +
      "`orderBy: 'key'`. The destination has four lanes in both cases, which only RabbitMQ needs.",
    rows,
    goals,
  }
}

async function redrive(): Promise<Section> {
  const samples = await inTurn(Math.min(rounds, 3), {
    'all of 100,000': () => runOnce<RedriveSample>('pipeline/redrive.ts', rabbitmqUrl, 100_000),
    'every other one of 100,000, the rest keeping its order': () =>
      runOnce<RedriveSample>('pipeline/redrive.ts', rabbitmqUrl, 100_000, 'half'),
  })
  const [all, half] = Object.values(samples) as [RedriveSample[], RedriveSample[]]
  const peak = Math.max(...[...all, ...half].map(({ peakMegabytes }) => peakMegabytes))
  return {
    title: 'Dead letters sent back on RabbitMQ',
    says:
      'From a quorum queue to a quorum queue: copy, confirm, acknowledge, with the headers of a failure of some 800 bytes. The time ' +
      `includes what comes before the first letter and after the last. At its peak the process took ${peak} MB.`,
    rows: Object.entries(samples).map(([name, of]) => ({ name, samples: of })),
    goals: [atLeast('all of them: letters per second', perSecond(all), 5_000)],
  }
}

/** The client's own bench prints a table of its own; it goes into the page as it is. */
function client(): { table: string; goals: Goal[] } {
  const file = join(work, 'client.json')
  const program = fileURLToPath(new URL('./amqp-client.ts', import.meta.url))
  let output: string
  try {
    output = execFileSync(
      process.execPath,
      [...process.execArgv, program, '--rounds', String(rounds), '--json', file],
      {
        encoding: 'utf8',
        env: { ...process.env, CHASQUI_RABBITMQ_URL: rabbitmqUrl },
      },
    )
  } catch (error) {
    // It exits with 1 when a goal is missed, having printed everything.
    output = (error as { stdout: string }).stdout
  }
  const { results } = JSON.parse(readFileSync(file, 'utf8')) as { results: { text: string; held: boolean }[] }
  const table = output
    .split('\n')
    .filter(line => line.startsWith('|'))
    .join('\n')
  return { table, goals: results.map(({ text, held }) => ({ text, reached: held })) }
}

function table({ rows }: Section): string {
  const lines = rows.map(({ name, samples }) => {
    const rate = Math.round(perSecond(samples)).toLocaleString('en')
    return `| ${name} | ${rate} | ${cpuPerMessage(samples).toFixed(2)} |`
  })
  return ['| | msg/s | CPU us/msg |', '| --- | ---: | ---: |', ...lines].join('\n')
}

function goalList(goals: readonly Goal[]): string {
  return goals.map(({ text, reached }) => `- ${reached ? 'reached' : '**missed**'}: ${text}`).join('\n')
}

/** The page with one section measured anew. */
function replaced(page: string, section: Section): string {
  const parts = page.split(/^(?=## )/m)
  const at = parts.findIndex(part => part.startsWith(`## ${section.title}\n`))
  const text = `${[...sectionLines(section)].slice(1).join('\n')}\n\n`
  if (at === -1) parts.splice(-1, 0, text)
  else parts[at] = text
  return parts.join('')
}

function sectionLines(section: Section): string[] {
  return ['', `## ${section.title}`, '', section.says, '', table(section), '', goalList(section.goals)]
}

const pagePath = new URL('../docs/benchmarks.md', import.meta.url)
const measured = { process: inProcess, rabbitmq: onRabbitmq, keys: byKey, redrive }

async function one(name: string): Promise<void> {
  const measureIt = Object.hasOwn(measured, name) ? measured[name as keyof typeof measured] : undefined
  if (measureIt === undefined) throw new Error(`--section takes one of: ${Object.keys(measured).join(', ')}.`)
  const section = await measureIt()
  writeFileSync(pagePath, replaced(readFileSync(pagePath, 'utf8'), section))
  console.log(sectionLines(section).join('\n'))
  if (section.goals.some(({ reached }) => !reached)) process.exitCode = 1
}

async function all(): Promise<void> {
  console.log('In one process ...')
  const local = await inProcess()
  console.log('The pipeline on RabbitMQ ...')
  const rabbit = await onRabbitmq()
  console.log('Order by key ...')
  const keys = await byKey()
  console.log('Dead letters on RabbitMQ ...')
  const back = await redrive()
  console.log('The AMQP client ...')
  const amqp = client()
  const setup =
    `${machine()}; amqplib ${versionOf('amqplib')}, @nestjs/microservices ${versionOf('@nestjs/microservices')}, ` +
    `zod ${versionOf('zod')}, RabbitMQ 3.10.8 on the same machine`
  const page = [
    '# Benchmarks',
    '',
    'Written by `npm run bench`; do not edit. Each contender runs as a process of its own, in turn with the others, and the ' +
      `median of ${rounds} runs is shown. CPU is user and system time of that process. The machine is small and shared: ` +
      'trust the ratios, not the absolute figures.',
    '',
    `${setup}.`,
    ...[local, rabbit, keys, back].flatMap(sectionLines),
    '',
    '## The AMQP client',
    '',
    '`@chasqui/amqp/client` beside amqplib: 100 B persistent, 1,000 unconfirmed, prefetch 1,000; latency from publish to ' +
      'delivery at 1,000 messages a second.',
    '',
    amqp.table,
    '',
    goalList(amqp.goals),
    '',
  ].join('\n')
  writeFileSync(pagePath, page)
  console.log(page)
  const goals = [local, rabbit, keys, back, amqp].flatMap(section => section.goals)
  if (goals.some(({ reached }) => !reached)) process.exitCode = 1
}

try {
  await (values.section === undefined ? all() : one(values.section))
} finally {
  rmSync(work, { recursive: true, force: true })
}
