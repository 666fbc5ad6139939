import { ChasquiError, redactUrls } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { redactError, redactor, secretsOf } from '../../src/observe/redact.ts'

describe('redaction', () => {
  test.each([
    ['amqp://user:pa55@host/v', 'amqp://***@host/v'],
    ['kafka+tls://u:p@a:1,b:2 failed', 'kafka+tls://***@a:1,b:2 failed'],
    ['amqp://host/path@x', 'amqp://host/path@x'],
    ['amqp://u:p%40ss@h and amqp://v:w@i', 'amqp://***@h and amqp://***@i'],
    ['amqp://u:p@ss@host', 'amqp://***@host'],
    ['no url', 'no url'],
  ])('hides who and how in %s', (text, clean) => {
    expect(redactUrls(text)).toBe(clean)
  })

  test('finds the passwords of a URL, as written and decoded', () => {
    expect(secretsOf('amqp://me:p%40ss@host')).toEqual(['p%40ss', 'p@ss'])
    expect(secretsOf('amqp://a:one@h,b:two@i')).toEqual(expect.arrayContaining(['two']))
    expect(secretsOf('amqp://me:%zz@host')).toEqual(['%zz'])
    expect(secretsOf('amqp://me@host')).toEqual([])
    expect(secretsOf('embedded:dir')).toEqual([])
  })

  test('cleans an error, its stack and its causes', () => {
    const cause = new Error('login as me with hunter2 refused')
    const error = new ChasquiError('authentication-failed', 'amqp://me:hunter2@host said no', { cause })
    redactError(error, redactor(['hunter2']))
    const everything = `${error.message} ${error.stack} ${cause.message} ${cause.stack}`
    expect(everything).not.toContain('hunter2')
    expect(error.message).toBe('amqp://***@host said no')
  })

  test('survives causes in a circle', () => {
    const error = new Error('secret-word')
    error.cause = error
    redactError(error, redactor(['secret-word']))
    expect(error.message).toBe('***')
  })
})
