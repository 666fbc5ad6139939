/** A process that scenarios start, disturb and kill. It reports in JSON lines, each written before it goes on. */
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bus, connect } from '@chasqui/core'
import { isChasquiError } from '@chasqui/driver'
import type { Report, Task } from './worker-process.ts'

// Synchronous: a report that was made is out, even if SIGKILL comes next.
function report(line: Report): void {
  writeSync(1, `${JSON.stringify(line)}\n`)
}

async function work(task: Task): Promise<void> {
  const bus = await connect(task.url, { logger: false, drivers: JSON.parse(process.argv[3] ?? '{}') })
  process.stdin.once('end', async () => {
    await bus.close()
    process.exit(0)
  })
  process.stdin.resume()
  if (task.do === 'stay') return report({ event: 'ready' })
  if (task.do === 'look') {
    report({ event: 'ready' })
    const exists = await bus.send(task.queue, 'anybody?', { declare: 'never' }).then(
      () => true,
      error => {
        if (isChasquiError(error) && error.code === 'destination-missing') return false
        throw error
      },
    )
    return report({ event: 'looked', exists })
  }
  if (task.do === 'hang') {
    const options = { concurrency: task.concurrency, window: task.concurrency }
    await bus.handle(
      task.queue,
      async (body, ctx) => {
        report({ event: 'effect', id: ctx.id, body })
        await new Promise(() => undefined)
      },
      options,
    )
    return report({ event: 'ready' })
  }
  if (task.do === 'serve') return await serve(bus, task)
  if (task.do === 'redrive') {
    report({ event: 'ready' })
    const { ratePerSecond } = task
    const onProgress = ({ done }: { readonly done: number }) => report({ event: 'redriven', done })
    await bus.deadLetters(task.queue).redrive({}, { ratePerSecond, onProgress })
    return report({ event: 'done' })
  }
  report({ event: 'ready' })
  let next = task.from
  const caller = async () => {
    while (next < task.to) {
      const body = next++
      await bus.send(task.queue, body).then(
        () => report({ event: 'confirmed', body }),
        error => report({ event: 'refused', body, code: isChasquiError(error) ? error.code : String(error) }),
      )
    }
  }
  await Promise.all(Array.from({ length: task.callers }, caller))
  report({ event: 'done' })
}

async function serve(bus: Bus, task: Extract<Task, { do: 'serve' }>): Promise<void> {
  const { queue, concurrency, workMs = 0, deadly, own = 0 } = task
  process.once('SIGTERM', async () => {
    await bus.close()
    report({ event: 'drained' })
    process.exit(0)
  })
  bus.observe(
    told => {
      if (told.kind === 'dead-lettered') report({ event: 'dead-lettered', id: told.id, code: told.code })
    },
    ['dead-lettered'],
  )
  await Promise.all(Array.from({ length: own }, (_, n) => bus.send(queue, n)))
  await bus.handle(
    queue,
    async (body, { id }) => {
      report({ event: 'effect', id, body })
      if (body === deadly) process.kill(process.pid, 'SIGKILL')
      await sleep(workMs)
      report({ event: 'handled', id, body })
    },
    { concurrency },
  )
  report({ event: 'ready' })
}

work(JSON.parse(process.argv[2] ?? '{}') as Task).catch(error => {
  report({ event: 'failed', message: error instanceof Error ? `${error.name}: ${error.message}` : String(error) })
  process.exit(1)
})
