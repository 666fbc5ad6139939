import { expect, test } from 'vitest'
import { AmqpError, replyCodes, softReplyCodes } from '../src/index.ts'

test('[AmqpError] takes its scope from the definition, unless told otherwise', () => {
  expect(new AmqpError(404, 'NOT_FOUND')).toMatchObject({ scope: 'channel', classId: 0, methodId: 0 })
  expect(new AmqpError(530, 'NOT_ALLOWED')).toMatchObject({ scope: 'connection' })
  expect(new AmqpError(403, 'ACCESS_REFUSED', { scope: 'connection' })).toMatchObject({ scope: 'connection' })
})

test('[AmqpError.of] writes the text as RabbitMQ does', () => {
  const error = AmqpError.of('precondition-failed', "inequivalent arg 'durable'", { classId: 50, methodId: 10 })
  expect(error).toMatchObject({
    replyCode: 406,
    replyText: "PRECONDITION_FAILED - inequivalent arg 'durable'",
    replyName: 'precondition-failed',
    scope: 'channel',
    classId: 50,
    methodId: 10,
  })
  expect(error.message).toBe("PRECONDITION_FAILED - inequivalent arg 'durable' (reply code 406)")
})

test('[AmqpError] of a code that the definition lacks has no name', () => {
  expect(new AmqpError(312, 'NO_ROUTE').replyName).toBeUndefined()
})

test('[reply codes] soft ones are those of section 1.2 and no others', () => {
  expect([...softReplyCodes].sort()).toEqual([311, 313, 403, 404, 405, 406])
  expect(Object.keys(replyCodes)).toHaveLength(18)
})
