/** Streams between processes that die by SIGKILL. The embedded broker is this process's; the children are its guests. */
import { fork } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BusEvent, connect } from '@chasqui/core'
import { expect, onTestFinished, test } from 'vitest'
import { errorOf, eventually, ofKind, ownName } from '../fixture.ts'

async function ownBus() {
  const directory = await mkdtemp(join(tmpdir(), 'chasqui-stream-'))
  const url = `embedded:${directory}`
  const bus = await connect(url, { logger: false })
  onTestFinished(async () => {
    await bus.close({ deadlineMs: 0 })
    await rm(directory, { recursive: true, force: true })
  })
  const told: BusEvent[] = []
  bus.observe(event => told.push(event))
  return { bus, url, told }
}

/** The child, and what it has sent us. */
function child(part: 'serve' | 'ask', url: string, queue: string) {
  const process_ = fork(join(import.meta.dirname, 'stream-child.ts'), [part, url, queue], {
    execArgv: ['--conditions=@chasqui/source'],
  })
  onTestFinished(() => void process_.kill('SIGKILL'))
  const sent: unknown[] = []
  process_.on('message', message => sent.push(message))
  return { sent, kill: () => process_.kill('SIGKILL') }
}

test('a handler whose process is killed after some items breaks the stream, when another begins the request anew', async () => {
  const { bus, url } = await ownBus()
  const queue = ownName()
  const serving = child('serve', url, queue)
  await eventually('it serves', () => serving.sent.includes('ready'))
  const taken: unknown[] = []
  const { code, details } = await errorOf(async () => {
    for await (const n of bus.stream(queue, 1, { timeoutMs: 10_000 })) {
      taken.push(n)
      if (n !== 10) continue
      serving.kill()
      await bus.handle(queue, async function* () {
        yield 'of another attempt'
      })
    }
  })
  expect([code, details.items]).toEqual(['stream-broken', taken.length])
  expect(taken).toEqual(Array.from({ length: taken.length }, (_, n) => n))
})

test('a requester whose process is killed is found, and its generator ends', async () => {
  const { bus, url, told } = await ownBus()
  const queue = ownName()
  let ended = false
  await bus.handle(queue, async function* () {
    try {
      for (let n = 0; ; n++) yield n
    } finally {
      ended = true
    }
  })
  const asking = child('ask', url, queue)
  await eventually('it takes items', () => asking.sent.length > 200)
  expect(ended).toBe(false)
  asking.kill()
  await eventually('the generator ended', () => ended)
  await eventually('it is told', () => ofKind(told, 'streamed').length === 1)
  expect(ofKind(told, 'streamed')[0]).toMatchObject({ end: 'gone' })
})
