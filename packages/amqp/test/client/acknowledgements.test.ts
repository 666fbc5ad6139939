import { describe, expect, test, vi } from 'vitest'
import { Acknowledgements } from '../../src/client/acknowledgements.ts'
import { Consumers } from '../../src/client/consumers.ts'
import { FlushQueue } from '../../src/client/flush-queue.ts'
import { FrameWriter } from '../../src/index.ts'

interface Setup {
  readonly acks: Acknowledgements
  readonly queue: FlushQueue
  readonly written: [tag: number, multiple: boolean][]
}

function setup(prefetch: number | undefined, deliveries: number): Setup {
  const written: [number, boolean][] = []
  const queue = new FlushQueue(new FrameWriter(() => true))
  const acks = new Acknowledgements(queue, (tag, multiple) => written.push([tag, multiple]))
  acks.prefetch = prefetch
  for (let tag = 1; tag <= deliveries; tag++) acks.delivered(tag, true)
  return { acks, queue, written }
}

const turn = (): Promise<void> => new Promise(resolve => process.nextTick(resolve))

function ackUpTo(acks: Acknowledgements, last: number): void {
  for (let tag = 1; tag <= last; tag++) expect(acks.ack(tag)).toBe(true)
}

describe('when they leave', () => {
  test.each([undefined, 1, 31])('[prefetch %s] with the turn in which they were given', async prefetch => {
    const { acks, written } = setup(prefetch, 3)
    ackUpTo(acks, 3)
    expect(written).toEqual([])
    await turn()
    expect(written).toEqual([[3, true]])
  })

  test.each([100, 1000, 0])('[prefetch %i] a few wait for others, and leave by themselves', async prefetch => {
    const { acks, written } = setup(prefetch, 10)
    acks.ack(1)
    await turn()
    expect(written).toEqual([])
    acks.ack(2)
    await vi.waitUntil(() => written.length > 0)
    expect(written).toEqual([[2, true]])
    expect(acks.waiting).toBe(0)
  })

  test.each([
    [100, 25],
    [65_535, 256],
    [0, 256],
  ])('[prefetch %i] more than %i do not wait', async (prefetch, most) => {
    const { acks, written } = setup(prefetch, 1000)
    ackUpTo(acks, most + 1)
    await turn()
    expect(written).toEqual([[most + 1, true]])
  })

  test('[flush] at once where something else is about to be written', () => {
    const { acks, written } = setup(1000, 2)
    ackUpTo(acks, 2)
    acks.flush()
    expect(written).toEqual([[2, true]])
  })

  test('[run] at once where the connection says goodbye; [stop] never where it is gone', async () => {
    const saved = setup(1000, 1)
    saved.acks.ack(1)
    saved.queue.run()
    expect(saved.written).toEqual([[1, false]])
    const gone = setup(1, 1)
    gone.acks.ack(1)
    gone.queue.stop()
    await turn()
    expect(gone.written).toEqual([])
  })
})

describe('whose prefetch counts', () => {
  const consumer = (tag: string, prefetch: number, noAck = false) => ({
    tag,
    prefetch,
    noAck,
    onDelivery: () => undefined,
  })

  test.each([
    ['none', [], undefined],
    ['one that needs no acknowledgement', [consumer('a', 5, true)], undefined],
    ['no limit', [consumer('a', 0)], 0],
    ['the smallest', [consumer('a', 0), consumer('b', 50), consumer('c', 20), consumer('d', 1, true)], 20],
  ] as const)('[%s]', (_, list, smallest) => {
    const consumers = new Consumers()
    for (const one of list) consumers.add(one)
    expect(consumers.smallestPrefetch).toBe(smallest)
  })

  test('a consumer that was removed is found no more', () => {
    const consumers = new Consumers()
    consumers.add(consumer('a', 1))
    expect(consumers.get('a')?.tag).toBe('a')
    expect(consumers.remove('a')).toBe(true)
    expect(consumers.get('a')).toBeUndefined()
    expect(consumers.remove('a')).toBe(false)
  })
})
