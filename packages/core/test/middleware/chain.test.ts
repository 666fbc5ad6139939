import { describe, expect, test } from 'vitest'
import { chain, isPromise, type Step } from '../../src/middleware/chain.ts'
import { errorOf } from '../fixture.ts'

interface Message {
  position: number
  trace: string[]
}
type Marking = Step<Message, string>

const marking =
  (name: string): Marking =>
  (message, next) => {
    message.trace.push(`${name} in`)
    const result = next(message)
    message.trace.push(`${name} out`)
    return result
  }
const last = (message: Message) => {
  message.trace.push('last')
  return 'result'
}

describe('a chain', () => {
  test('runs its steps in order and the last inside them', () => {
    const message: Message = { position: 0, trace: [] }
    expect(chain([marking('a'), marking('b')], last)(message)).toBe('result')
    expect(message.trace).toEqual(['a in', 'b in', 'last', 'b out', 'a out'])
  })

  test('without steps is its last function', () => {
    expect(chain([], last)({ position: 0, trace: [] })).toBe('result')
  })

  test('ends early when a step does not go on', () => {
    const message: Message = { position: 0, trace: [] }
    expect(chain([marking('a'), () => 'early', marking('c')], last)(message)).toBe('early')
    expect(message.trace).toEqual(['a in', 'a out'])
  })

  test.each([0, 1, 2])('finds a second next() in step %i', async place => {
    const twice: Marking = (message, next) => next(message) + next(message)
    const steps = [marking('a'), marking('b'), marking('c')]
    steps[place] = twice
    const run = chain(steps, last)
    expect(await errorOf(() => run({ position: 0, trace: [] }))).toMatchObject({
      code: 'next-twice',
      details: { step: place + 1 },
    })
  })

  test('runs again for a message set back to the start', () => {
    const run = chain([marking('a')], last)
    const message: Message = { position: 0, trace: [] }
    run(message)
    message.position = 0
    expect(run(message)).toBe('result')
  })

  test('knows what has to be waited for', () => {
    // biome-ignore lint/suspicious/noThenProperty: a thenable is the point
    const thenable = { then: () => {} }
    expect([Promise.resolve(), thenable, undefined, null, 'then', {}].map(isPromise)).toEqual([
      true,
      true,
      false,
      false,
      false,
      false,
    ])
  })
})
