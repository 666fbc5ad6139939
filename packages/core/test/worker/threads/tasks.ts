/** A handler with one trick for each thing that may happen in a thread. */
import { threadId } from 'node:worker_threads'
import { ChasquiError, type ThreadHandler } from '@chasqui/core'
import { Echo, Step } from '../contracts.ts'

interface Task {
  readonly do: string
  readonly to?: string
  readonly ms?: number
  readonly onlyFirst?: boolean
}

const task: ThreadHandler = async (body, ctx) => {
  const { do: trick, to = '', ms = 0, onlyFirst } = body as Task
  if (onlyFirst && ctx.attempt > 1) return undefined
  switch (trick) {
    case 'tell': {
      const { id, type, key, headers, attempt, redelivered, destination, correlationId, contentType } = ctx
      const facts = { id, type, key, headers, attempt, redelivered, destination, correlationId, contentType }
      await ctx.send(to, { ...facts, threadId, time: ctx.time, body })
      return undefined
    }
    case 'spin':
      for (const end = Date.now() + ms; Date.now() < end; );
      return { threadId }
    case 'spin for ever':
      for (;;);
    case 'exit':
      return process.exit(3)
    case 'throw later':
      setTimeout(() => {
        throw new Error('nobody catches this')
      })
      return new Promise(() => {})
    case 'reject later':
      void Promise.reject(new Error('nobody catches this'))
      return new Promise(() => {})
    case 'crash when idle':
      setTimeout(() => {
        throw new Error('between messages')
      }, 5)
      return undefined
    case 'eat memory': {
      const eaten: number[][] = []
      for (;;) eaten.push(Array.from({ length: 100_000 }, () => Math.random()))
    }
    case 'fail':
      throw Object.assign(new TypeError('a mistake'), { code: 'E_TEST', retryAfterMs: 1, hint: { deep: true } })
    case 'throw a value':
      throw 'just text'
    case 'throw ours':
      throw new ChasquiError('destination-full', 'no room', { details: { depth: 9 } })
    case 'retry':
      if (ctx.attempt === 1) ctx.retry({ delayMs: 1 })
      return undefined
    case 'dead-letter':
      return ctx.deadLetter('not this one')
    case 'obey': {
      await new Promise(resolve => ctx.signal.addEventListener('abort', resolve))
      await ctx.send(to, (ctx.signal.reason as { code?: unknown }).code)
      return undefined
    }
    case 'return a function':
      return () => {}
    case 'log':
      ctx.log.warn({ depth: 3, odd: () => {} }, 'from the thread')
      ctx.log.error({ depth: 4 }, 'once more')
      return undefined
    case 'ask': {
      const reply = await ctx.request(Echo, { text: 'who' })
      await ctx.send(to, { reply })
      return undefined
    }
    case 'send contracts': {
      const refused = await ctx.send(Step, { key: 5 } as never).catch((error: ChasquiError) => error.code)
      const missing = await ctx.send('no such queue!', 1).catch((error: ChasquiError) => error.code)
      await ctx.send(Step, { key: 'k', n: 1 })
      const outcomes = await ctx.sendBatch(Step, [
        { key: 'k', n: 2 },
        { key: 'l', n: 'x' as never },
      ])
      const signal = AbortSignal.abort()
      const aborted = await ctx.send(Step, { key: 'k', n: 9 }, { signal }).catch((error: ChasquiError) => error.code)
      const bad = await ctx.send(to, { f: () => {} }).catch((error: ChasquiError) => error.code)
      await ctx.send(to, { refused, missing, aborted, bad, oks: outcomes.map(({ ok }) => ok) })
      return undefined
    }
    default:
      return body
  }
}

export default task
