import { describe, expect, test } from 'vitest'
import { type ConfirmOutcome, Confirms } from '../../src/client/confirms.ts'
import { BASIC_RETURN, type BasicReturn, encodeProperties } from '../../src/index.ts'

function confirms(): { book: Confirms; outcomes: (ConfirmOutcome | undefined)[]; add: () => void; errors: unknown[] } {
  const outcomes: (ConfirmOutcome | undefined)[] = []
  const errors: unknown[] = []
  const book = new Confirms(error => errors.push(error))
  const add = (): void => {
    const index = outcomes.push(undefined) - 1
    book.add(outcome => {
      expect(outcomes[index]).toBeUndefined()
      outcomes[index] = outcome
    })
  }
  return { book, outcomes, add, errors }
}

function returned(routingKey: string): BasicReturn {
  return { id: BASIC_RETURN, replyCode: 312, replyText: 'NO_ROUTE', exchange: '', routingKey }
}

const noRoute = { returned: { replyCode: 312, replyText: 'NO_ROUTE' } }

describe('numbers', () => {
  test('single ones settle in any order, each once', () => {
    const { book, outcomes, add } = confirms()
    for (let i = 0; i < 4; i++) add()
    book.settle(3, false, 'ack')
    book.settle(1, false, 'nack')
    expect(outcomes).toEqual(['nack', undefined, 'ack', undefined])
    expect(book.open).toBe(2)
    book.settle(3, false, 'ack')
    book.settle(4, true, 'ack')
    expect(outcomes).toEqual(['nack', 'ack', 'ack', 'ack'])
    expect(book.open).toBe(0)
  })

  test('[multiple] settles all up to the number, oldest first; 0 stands for all', () => {
    const { book, outcomes, add } = confirms()
    for (let i = 0; i < 5; i++) add()
    book.settle(2, true, 'nack')
    expect(outcomes).toEqual(['nack', 'nack', undefined, undefined, undefined])
    book.settle(0, true, 'ack')
    expect(outcomes.slice(2)).toEqual(['ack', 'ack', 'ack'])
  })

  test('publishes that nobody waits for take a number', () => {
    const { book, outcomes, add } = confirms()
    book.skip()
    add()
    book.skip()
    add()
    book.settle(2, false, 'ack')
    expect(outcomes).toEqual(['ack', undefined])
    book.settle(4, true, 'ack')
    expect(outcomes).toEqual(['ack', 'ack'])
  })

  test('a number that was never published is told', () => {
    const { book, add } = confirms()
    add()
    expect(book.settle(2, false, 'ack')).toBe(false)
    expect(book.settle(2, true, 'ack')).toBe(false)
    expect(book.settle(1, false, 'ack')).toBe(true)
  })

  test('100,000 with one that stays open, and callbacks that publish', () => {
    const { book, add, outcomes } = confirms()
    add()
    let again = 0
    for (let tag = 2; tag <= 100_000; tag++) book.add(() => again++)
    book.add(() => add())
    for (let tag = 2; tag <= 100_001; tag++) book.settle(tag, false, 'ack')
    expect(again).toBe(99_999)
    expect(book.open).toBe(2)
    book.settle(0, true, 'ack')
    expect(outcomes).toEqual(['ack', 'ack'])
  })

  test('[lose] everybody who waits is told once, oldest first', () => {
    const { book, outcomes, add } = confirms()
    for (let i = 0; i < 3; i++) add()
    book.settle(2, false, 'ack')
    const error = new Error('gone')
    book.lose(error)
    book.lose(new Error('again'))
    expect(outcomes).toEqual([{ lost: error }, 'ack', { lost: error }])
  })

  test('a callback that throws is reported and stops no other', () => {
    const { book, outcomes, add, errors } = confirms()
    book.add(() => {
      throw new Error('mine')
    })
    add()
    book.settle(2, true, 'ack')
    expect(outcomes).toEqual(['ack'])
    expect(errors).toEqual([new Error('mine')])
  })
})

describe('returned messages', () => {
  const body = Buffer.from('body')
  const properties = { messageId: 'm' }
  const bytes = encodeProperties(properties)

  test('the one that came back is told with its ack; its neighbours are confirmed', () => {
    const { book } = confirms()
    const outcomes: ConfirmOutcome[] = []
    for (const key of ['a', 'b', 'c']) book.addMandatory(outcome => outcomes.push(outcome), '', key, properties, body)
    book.returned(returned('b'), bytes, body)
    expect(outcomes).toEqual([])
    book.settle(3, true, 'ack')
    expect(outcomes).toEqual(['ack', noRoute, 'ack'])
  })

  test('of several to one address it is found by its content', () => {
    const { book } = confirms()
    const outcomes: ConfirmOutcome[] = []
    for (const text of ['one', 'two', 'three']) {
      book.addMandatory(outcome => outcomes.push(outcome), '', 'k', bytes, Buffer.from(text))
    }
    book.returned(returned('k'), bytes, Buffer.from('three'))
    book.settle(3, true, 'ack')
    expect(outcomes).toEqual(['ack', 'ack', noRoute])
  })

  test('of equal ones each return takes the next', () => {
    const { book } = confirms()
    const outcomes: ConfirmOutcome[] = []
    for (let i = 0; i < 3; i++) book.addMandatory(outcome => outcomes.push(outcome), '', 'k', properties, body)
    book.returned(returned('k'), bytes, body)
    book.returned(returned('k'), bytes, body)
    book.settle(3, true, 'ack')
    expect(outcomes).toEqual([noRoute, noRoute, 'ack'])
  })

  test('one whose properties the broker changed is found by its address', () => {
    const { book } = confirms()
    const outcomes: ConfirmOutcome[] = []
    book.addMandatory(outcome => outcomes.push(outcome), '', 'k', properties, body)
    book.returned(returned('k'), encodeProperties({ messageId: 'm', userId: 'guest' }), body)
    book.settle(1, false, 'ack')
    expect(outcomes).toEqual([noRoute])
  })

  test('one that nobody waits for changes nothing', () => {
    const { book, outcomes, add } = confirms()
    add()
    book.returned(returned('other'), bytes, body)
    book.settle(1, false, 'ack')
    expect(outcomes).toEqual(['ack'])
  })

  test('[nack] of a returned message stays a nack', () => {
    const { book } = confirms()
    const outcomes: ConfirmOutcome[] = []
    book.addMandatory(outcome => outcomes.push(outcome), '', 'k', properties, body)
    book.returned(returned('k'), bytes, body)
    book.settle(1, false, 'nack')
    expect(outcomes).toEqual(['nack'])
  })
})
