/**
 * `@chasqui/amqp/client` beside amqplib, on one RabbitMQ (CHASQUI_RABBITMQ_URL, default amqp://127.0.0.1:5672): 100 B
 * persistent messages, 1,000 unconfirmed, prefetch 1,000, each acknowledged by itself. The clients take turns; each
 * run is a process of its own.
 *
 *   node --conditions=@chasqui/source benches/amqp-client.ts [--rounds 3] [--messages 50000] [--json FILE]
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import {
  bodyBytes,
  type ClientName,
  prefetch,
  type Report,
  type Scenario,
  unconfirmedWindow,
} from './amqp-contender.ts'
import { machine, versionOf } from './machine.ts'
import { median, runOnce } from './run.ts'

interface Target {
  readonly scenario: Scenario
  readonly title: string
  /** CPU of ours may be at most this part of amqplib's. */
  readonly cpuRatio?: number
  readonly p50Micros?: number
}

interface Line extends Target {
  readonly client: ClientName
  readonly perSecond: number
  readonly cpuMicrosPerMessage: number
  readonly p50Micros?: number
  readonly p99Micros?: number
}

const targets: readonly Target[] = [
  { scenario: 'publish', title: 'confirmed publish', cpuRatio: 0.5 },
  { scenario: 'consume', title: 'consume and ack', cpuRatio: 0.7 },
  { scenario: 'consume-async', title: 'consume, ack after an await', cpuRatio: 0.7 },
  { scenario: 'latency', title: '1,000 msg/s', p50Micros: 1000 },
]
const clients: readonly ClientName[] = ['chasqui', 'amqplib']

async function measure(target: Target, rounds: number, messages: number): Promise<Line[]> {
  const reports: Record<ClientName, Report[]> = { chasqui: [], amqplib: [] }
  for (let round = 0; round < rounds; round++) {
    for (const client of clients) {
      reports[client].push(await runOnce<Report>('amqp-contender.ts', client, target.scenario, messages))
    }
  }
  return clients.map(client => {
    const of = (value: (report: Report) => number): number => median(reports[client].map(value))
    return {
      ...target,
      client,
      perSecond: of(({ messages, seconds }) => messages / seconds),
      cpuMicrosPerMessage: of(({ messages, cpuMicros }) => cpuMicros / messages),
      ...(target.scenario === 'latency'
        ? { p50Micros: of(({ p50Micros }) => p50Micros!), p99Micros: of(({ p99Micros }) => p99Micros!) }
        : {}),
    }
  })
}

function print(lines: readonly Line[]): void {
  const number = (value: number | undefined, digits = 0): string =>
    value === undefined
      ? ''
      : value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  console.log('| | client | msg/s | CPU us/msg | p50 us | p99 us |')
  console.log('| --- | --- | ---: | ---: | ---: | ---: |')
  for (const { title, client, perSecond, cpuMicrosPerMessage, p50Micros, p99Micros } of lines) {
    console.log(
      `| ${title} | ${client} | ${number(perSecond)} | ${number(cpuMicrosPerMessage, 2)} | ${number(p50Micros)} | ${number(p99Micros)} |`,
    )
  }
}

/** What was promised and what came out, as sentences; the run fails where a promise does not hold. */
function verdicts(target: Target, [ours, theirs]: readonly Line[]): { text: string; held: boolean }[] {
  const list: { text: string; held: boolean }[] = []
  if (target.cpuRatio !== undefined) {
    const ratio = ours!.cpuMicrosPerMessage / theirs!.cpuMicrosPerMessage
    const text = `${target.title}: ${ratio.toFixed(2)} of amqplib's CPU (at most ${target.cpuRatio})`
    list.push({ text, held: ratio <= target.cpuRatio })
  }
  if (target.p50Micros !== undefined) {
    const text = `${target.title}: p50 ${Math.round(ours!.p50Micros!)} us (below ${target.p50Micros})`
    list.push({ text, held: ours!.p50Micros! < target.p50Micros })
  }
  return list
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      messages: { type: 'string', default: '50000' },
      only: { type: 'string' },
      json: { type: 'string' },
    },
  })
  const chosen = targets.filter(target => values.only === undefined || values.only === target.scenario)
  const lines: Line[] = []
  const results: { text: string; held: boolean }[] = []
  for (const target of chosen) {
    const messages = target.scenario === 'latency' ? 3000 : Number(values.messages)
    const measured = await measure(target, Number(values.rounds), messages)
    lines.push(...measured)
    results.push(...verdicts(target, measured))
  }
  const setup = `${machine()}, amqplib ${versionOf('amqplib')}; ${bodyBytes} B persistent, ${unconfirmedWindow} unconfirmed, prefetch ${prefetch}`
  console.log(`${setup}\n`)
  print(lines)
  console.log()
  for (const { text, held } of results) console.log(`${held ? 'held  ' : 'MISSED'} ${text}`)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ setup, lines, results }, null, 2)}\n`)
  if (results.some(({ held }) => !held)) process.exitCode = 1
}
