import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type Logger } from '@chasqui/core'
import { expect, onTestFinished, test } from 'vitest'
import { eventually } from './fixture.ts'

test('what the engine warns of goes to the logger of the bus', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'chasqui-warning-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const told: string[] = []
  const ignored = () => {}
  const logger: Logger = { debug: ignored, info: ignored, error: ignored, warn: (_, says) => told.push(says ?? '') }
  const first = await connect(`embedded:${directory}`, { logger })
  for (const body of ['one', 'another', 'last']) await first.send('orders', body)
  await first.close()
  expect(told).toEqual([])
  const log = join(directory, 'messages', '00000001.log')
  const bytes = await readFile(log)
  bytes.write('A', bytes.indexOf('another'))
  await writeFile(log, bytes)
  const second = await connect(`embedded:${directory}`, { logger })
  onTestFinished(() => second.close())
  await eventually('the warning', () => told.length > 0)
  expect(told).toEqual([expect.stringMatching(/00000001\.log.* cannot be read/)])
})
