import { describe, expect, test } from 'vitest'
import { EventHub } from '../../src/observe/events.ts'
import { boundLogger, defaultLogger, type Logger, type LogLevel, logEvents } from '../../src/observe/logging.ts'

interface Line {
  readonly level: string
  readonly fields: Record<string, unknown>
  readonly message: string | undefined
}

function recorder(enabled?: readonly LogLevel[]): Logger & { readonly lines: Line[] } {
  const lines: Line[] = []
  const at = (level: string) => (fields: object, message?: string) => {
    lines.push({ level, fields: { ...fields }, message })
  }
  const logger = { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  if (enabled === undefined) return logger
  return Object.assign(logger, { isLevelEnabled: (level: LogLevel) => enabled.includes(level) })
}

const about = { source: 'orders', id: '42', type: 'order.placed' }

describe('logs', () => {
  test('say what happened at its level, with id, queue, attempt and code', () => {
    const events = new EventHub()
    const logger = recorder()
    logEvents(events, logger, text => text)
    events.emit({ kind: 'handled', ...about, attempt: 1, durationMs: 1.23456, pipelineMs: 0.1 })
    events.emit({ kind: 'attempt-failed', ...about, attempt: 2, durationMs: 1, error: new TypeError('no such order') })
    const dead = {
      attempts: 5,
      code: 'handler-failed',
      reason: 'no',
      deadLetter: 'orders.dead-letter',
      error: undefined,
    }
    events.emit({ kind: 'dead-lettered', ...about, ...dead })
    expect(logger.lines.map(line => [line.level, line.message])).toEqual([
      ['debug', 'handled'],
      ['warn', 'attempt failed'],
      ['error', 'dead-lettered'],
    ])
    expect(logger.lines[0]!.fields).toEqual({
      queue: 'orders',
      id: '42',
      type: 'order.placed',
      attempt: 1,
      durationMs: 1.235,
      pipelineMs: 0.1,
    })
    expect(logger.lines[1]!.fields).toMatchObject({ code: 'handler-failed', error: 'TypeError: no such order' })
  })

  test('listen only to what the logger prints', () => {
    const events = new EventHub()
    logEvents(events, recorder(['warn', 'error']), text => text)
    expect(events.heard).toMatchObject({ sent: false, handled: false, 'attempt-failed': true, 'dead-lettered': true })
  })

  test('print no secret', () => {
    const events = new EventHub()
    const logger = recorder()
    logEvents(events, logger, text => text.replaceAll('hunter2', '***'))
    events.emit({ kind: 'state', state: 'down', reason: 'hunter2 was refused' })
    events.emit({ kind: 'hook-failed', hook: 'x', error: new Error('hunter2') })
    expect(JSON.stringify(logger.lines)).not.toContain('hunter2')
    expect(logger.lines[0]).toMatchObject({ level: 'warn', fields: { reason: '*** was refused' } })
  })

  test('of a handler bear its message', () => {
    const logger = recorder()
    boundLogger(logger, { id: '42', queue: 'orders', attempt: 1 }).warn({ sku: 'x' }, 'out of stock')
    expect(logger.lines).toEqual([
      { level: 'warn', fields: { id: '42', queue: 'orders', attempt: 1, sku: 'x' }, message: 'out of stock' },
    ])
  })

  test('come from pino by default, at the level asked for', async () => {
    const logger = (await defaultLogger('x', 'error')) as Logger & { isLevelEnabled(level: string): boolean }
    expect([logger.isLevelEnabled('warn'), logger.isLevelEnabled('error')]).toEqual([false, true])
  })
})
