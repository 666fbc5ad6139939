import * as fs from 'node:fs'
import { expect, test } from 'vitest'
import { Definitions } from '../../src/store/definitions.ts'
import { nodeFiles } from '../../src/store/files.ts'
import type { QueueDefinition } from '../../src/store/store.ts'
import { temporaryDirectory } from '../directory.ts'

function queue(id: number, name = `q${id}`): QueueDefinition {
  return { kind: 'queue', id, name, autoDelete: false, arguments: { 'x-max-length': 5, when: new Date(5000) } }
}

/** Writes what waits, as the group commit does. */
function write(definitions: Definitions): void {
  const bytes = definitions.take()
  nodeFiles.writeNow(definitions.descriptor, bytes, definitions.end)
  definitions.written(bytes.length)
}

function names(directory: string): string[] {
  const definitions = Definitions.open(directory, nodeFiles)
  const found = [...definitions.current].map(definition =>
    definition.kind === 'queue' ? definition.name : definition.kind,
  )
  definitions.close()
  return found
}

test('[round trip] queues, exchanges and bindings come back as they were', () => {
  const directory = temporaryDirectory()
  const definitions = Definitions.open(directory, nodeFiles)
  const all = [
    queue(definitions.nextQueueId()),
    { kind: 'exchange', name: 'e', type: 'topic', autoDelete: true, internal: true, arguments: {} },
    {
      kind: 'binding',
      source: 'e',
      destinationKind: 'queue',
      destination: 'q1',
      routingKey: 'a.*',
      arguments: { x: Buffer.from([0, 255]), n: 2n ** 60n },
    },
  ] as const
  for (const definition of all) definitions.define(definition)
  write(definitions)
  definitions.close()
  expect([...Definitions.open(directory, nodeFiles).current]).toEqual(all)
})

test('[torn end] cut at any byte of the last change, those before stand', () => {
  const directory = temporaryDirectory()
  const definitions = Definitions.open(directory, nodeFiles)
  definitions.define(queue(1))
  write(definitions)
  const before = definitions.end
  definitions.define(queue(2))
  write(definitions)
  const whole = fs.readFileSync(definitions.path)
  definitions.close()
  for (let length = before; length < whole.length; length++) {
    fs.writeFileSync(definitions.path, whole.subarray(0, length))
    expect(names(directory)).toEqual(['q1'])
    expect(fs.statSync(definitions.path).size).toBe(before)
  }
})

test('[middle] a change that fails its check is refused: it may be the queue of a million messages', () => {
  const directory = temporaryDirectory()
  const definitions = Definitions.open(directory, nodeFiles)
  definitions.define(queue(1))
  write(definitions)
  const before = definitions.end
  definitions.define(queue(2))
  definitions.define(queue(3))
  write(definitions)
  definitions.close()
  const bytes = fs.readFileSync(definitions.path)
  bytes[before + 12]! ^= 1
  fs.writeFileSync(definitions.path, bytes)
  expect(() => names(directory)).toThrow(expect.objectContaining({ code: 'directory-corrupt' }))
})

test('[compaction] history goes, what is defined stays, and no queue number is given twice', () => {
  const directory = temporaryDirectory()
  const definitions = Definitions.open(directory, nodeFiles)
  definitions.define(queue(definitions.nextQueueId(), 'stays'))
  let longest = 0
  for (let index = 0; index < 20_000; index++) {
    const passing = queue(definitions.nextQueueId())
    definitions.define(passing)
    definitions.remove(passing)
    if (index % 10 === 0) write(definitions)
    longest = Math.max(longest, definitions.end)
  }
  write(definitions)
  expect(longest).toBeLessThan(1_100_000)
  definitions.close()
  expect(names(directory)).toEqual(['stays'])
  const again = Definitions.open(directory, nodeFiles)
  expect(again.nextQueueId()).toBe(20_002)
  again.close()
})

test('[ends] a binding goes with its queue or its exchange, and is not there when one of that name comes back', () => {
  const directory = temporaryDirectory()
  const definitions = Definitions.open(directory, nodeFiles)
  const exchange = {
    kind: 'exchange',
    name: 'e',
    type: 'topic',
    autoDelete: false,
    internal: false,
    arguments: {},
  } as const
  const binding = (destination: string) =>
    ({ kind: 'binding', source: 'e', destinationKind: 'queue', destination, routingKey: '#', arguments: {} }) as const
  definitions.define(exchange)
  for (const id of [1, 2]) definitions.define(queue(id))
  for (const id of [1, 2]) definitions.define(binding(`q${id}`))
  definitions.remove(queue(1))
  definitions.define(queue(3, 'q1'))
  expect([...definitions.current]).toEqual([exchange, queue(2), binding('q2'), queue(3, 'q1')])
  definitions.remove(exchange)
  definitions.define(exchange)
  write(definitions)
  definitions.close()
  const again = Definitions.open(directory, nodeFiles)
  expect([...again.current]).toEqual([queue(2), queue(3, 'q1'), exchange])
  again.close()
})
