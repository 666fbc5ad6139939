/** docs/reference/options.md, from the tables of the core and of the drivers. */
import { type OptionInfo, optionTables } from '@chasqui/core'
import { engineOptions } from '@chasqui/rabbitmq'

/** Whose options each of the core's tables holds. */
const headings: Readonly<Record<keyof typeof optionTables, string>> = {
  connect: '`connect(url, options)`',
  contract: '`event`, `command` and `request`',
  send: '`send` and `publish`',
  sendBatch: '`sendBatch` and `publishBatch`',
  request: '`bus.request`',
  stream: '`bus.stream`',
  consume: '`handle` and `subscribe`',
  batch: '`handleBatch` and `subscribeBatch`',
  worker: 'A handler in worker threads: `{ worker: new URL(...) }`',
  retry: 'The option `retry` of `handle` and `subscribe`',
  backoff: 'The option `delays` of `retry`, as a backoff',
  tuning: 'The option `concurrency` of `handle` and `subscribe`, as a goal',
  rateLimit: 'The option `rateLimit` of `handle` and `subscribe`',
  circuitBreaker: 'The option `circuitBreaker` of `handle` and `subscribe`',
  fair: 'The option `fair` of `handle` and `subscribe`',
  receive: '`receive`',
  destination: '`plan` and `declare`, each destination that is no contract',
  deadLetterFilter: '`bus.deadLetters(...)`: the filter',
  deadLetterChange: '`bus.deadLetters(...)`: the change of `edit`',
  deadLetterList: '`bus.deadLetters(...)`: `list`',
  deadLetterMove: '`bus.deadLetters(...)`: `redrive`, `edit` and `discard`',
  close: '`close` and `stop`',
}

export function optionsPage(): string {
  const lines = [
    '# Options',
    '',
    'Every option, with its default, unit and bounds. What is not here does not exist, and is refused with `option-invalid`.',
    'Generated from the tables in the code by `npm run generate`.',
  ]
  for (const [name, table] of Object.entries(optionTables)) {
    lines.push('', `## ${headings[name as keyof typeof optionTables]}`, '')
    lines.push('| option | default | bounds | meaning |', '| --- | --- | --- | --- |')
    for (const [option, info] of Object.entries(table as Readonly<Record<string, OptionInfo>>)) {
      lines.push(row(option, info.defaultText ?? code(info.default), boundsOf(info), info.meaning))
    }
  }
  lines.push('', '## RabbitMQ: `connect(url, { engine: { ... } })`', '')
  lines.push('| option | default | bounds |', '| --- | --- | --- |')
  for (const [option, info] of Object.entries(engineOptions)) {
    if ('defaultText' in info) {
      lines.push(row(option, info.defaultText, info.bounds))
      continue
    }
    const bounds =
      'choices' in info ? info.choices.map(code).join(', ') : `${number(info.min)} to ${number(info.max)} ${info.unit}`
    lines.push(row(option, typeof info.default === 'number' ? number(info.default) : code(info.default), bounds))
  }
  return `${lines.join('\n')}\n`
}

function row(option: string, ...cells: readonly string[]): string {
  return `| \`${option}\` | ${cells.map(cell => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

function boundsOf({ type, choices, minimum, maximum, unit }: OptionInfo): string {
  if (choices !== undefined) return choices.map(code).join(', ')
  if (type !== 'integer' && type !== 'number') return type
  return `${number(minimum ?? 0)} to ${number(maximum ?? Number.MAX_SAFE_INTEGER)}${unit === undefined ? '' : ` ${unit}`}`
}

function code(value: unknown): string {
  return typeof value === 'number' ? number(value) : `\`${String(value)}\``
}

/** With separators, and the same on every machine. */
function number(value: number): string {
  return value.toLocaleString('en-US')
}
