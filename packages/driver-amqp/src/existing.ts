/** What is there already: whether it exists, whether it is durable, in what it differs. */
import type { FieldTable } from '@chasqui/amqp'
import { type Difference, differenceOf, hasReplyCode, refusal, replyCode } from './failures.ts'
import type { Scratch } from './scratch.ts'

/** What a queue is created with. */
export interface QueueShape {
  readonly durable: boolean
  readonly arguments: FieldTable
}

/** A queue that differs in more arguments than this is described by the first ones. */
const maxDifferences = 20

/** Passes `undefined` for a queue that does not exist. */
export async function queueDepth(
  scratch: Scratch,
  name: string,
): Promise<{ messageCount: number; consumerCount: number } | undefined> {
  try {
    return await scratch.run(channel => channel.declareQueue(name, { passive: true }))
  } catch (error) {
    if (hasReplyCode(error, replyCode.notFound) && !error.replyText.includes('down or inaccessible')) return undefined
    throw refusal(error, `queue '${name}'`)
  }
}

export async function queueExists(scratch: Scratch, name: string): Promise<boolean> {
  return (await queueDepth(scratch, name)) !== undefined
}

export async function exchangeExists(scratch: Scratch, name: string): Promise<boolean> {
  try {
    await scratch.run(channel => channel.declareExchange(name, 'topic', { passive: true }))
    return true
  } catch (error) {
    if (hasReplyCode(error, replyCode.notFound)) return false
    throw refusal(error, `topic '${name}'`)
  }
}

export async function requireExchange(scratch: Scratch, name: string): Promise<void> {
  try {
    await scratch.run(channel => channel.declareExchange(name, 'topic', { passive: true }))
  } catch (error) {
    throw refusal(error, `topic '${name}'`)
  }
}

/** A fanout exchange hands every message to every queue, as a topic with # does. Other kinds would lose some silently. */
export function serves({ argument, current }: Difference): boolean {
  if (argument === 'type') return current === "'fanout'"
  return argument === 'durable' || argument === 'auto_delete' || argument === 'alternate-exchange'
}

/** The broker compares type, durable, auto-delete, internal and arguments, in this order, and tells the first. */
export async function exchangeDurability(
  scratch: Scratch,
  name: string,
  difference: Difference,
  asked: boolean,
): Promise<boolean> {
  if (difference.argument === 'durable') return !asked
  if (difference.argument !== 'type') return asked
  try {
    await scratch.run(channel => channel.declareExchange(name, 'fanout', { durable: asked }))
    return asked
  } catch (error) {
    const next = differenceOf(error)
    if (next === undefined || !serves(next)) throw refusal(error, `topic '${name}'`)
    return next.argument === 'durable' ? !asked : asked
  }
}

/**
 * Asks an existing queue to be what queues hardly ever are, durable and auto-delete, and reads the refusal. Look at it
 * first: should it vanish between the two, this creates an empty one that goes with its first consumer.
 */
export async function findQueueDurability(scratch: Scratch, name: string): Promise<boolean> {
  try {
    await scratch.run(channel => channel.declareQueue(name, { durable: true, autoDelete: true }))
    return true
  } catch (error) {
    const difference = differenceOf(error)
    return difference !== undefined && difference.argument !== 'durable'
  }
}

/** The same for an exchange. */
export async function findExchangeDurability(scratch: Scratch, name: string): Promise<boolean> {
  try {
    await scratch.run(channel => channel.declareExchange(name, 'topic', { durable: true }))
    return true
  } catch (error) {
    const difference = differenceOf(error)
    if (difference === undefined) return false
    if (!serves(difference)) throw refusal(error, `topic '${name}'`)
    return await exchangeDurability(scratch, name, difference, true)
  }
}

/** Takes over what differs, argument by argument, until the broker agrees. */
export async function queueDifferences(scratch: Scratch, name: string, shape: QueueShape): Promise<Difference[]> {
  const differences: Difference[] = []
  const table: Record<string, FieldTable[string]> = { ...shape.arguments }
  let { durable } = shape
  let autoDelete = false
  while (differences.length < maxDifferences) {
    try {
      await scratch.run(channel => channel.declareQueue(name, { durable, autoDelete, arguments: table }))
      break
    } catch (error) {
      const difference = differenceOf(error)
      if (difference === undefined) throw error
      // The same argument again: its value could not be taken over as the broker writes it.
      if (differences.some(({ argument }) => argument === difference.argument)) break
      differences.push(difference)
      if (difference.argument === 'durable') durable = !durable
      else if (difference.argument === 'auto_delete') autoDelete = !autoDelete
      else if (difference.current === undefined) break
      else take(table, difference.argument, difference.current)
    }
  }
  return differences
}

export async function exchangeDifferences(
  scratch: Scratch,
  name: string,
  durable: boolean,
  table: FieldTable = {},
): Promise<Difference[]> {
  try {
    await scratch.run(channel => channel.declareExchange(name, 'topic', { durable, arguments: table }))
    return []
  } catch (error) {
    const difference = differenceOf(error)
    if (difference === undefined) throw error
    return [difference]
  }
}

/** Writes `none`, `'20'` or `the value 'x' of type 'longstr'` into the table as the value it stands for. */
function take(table: Record<string, FieldTable[string]>, argument: string, written: string): void {
  if (written === 'none') {
    delete table[argument]
    return
  }
  const typed = /^the value '(.*)' of type '(\w+)'$/s.exec(written)
  const value = typed?.[1] ?? written.replace(/^'(.*)'$/s, '$1')
  const isText = typed?.[2] === 'longstr' || (typed === null && typeof table[argument] === 'string')
  if (isText) table[argument] = value
  else if (value === 'true' || value === 'false') table[argument] = value === 'true'
  else table[argument] = /^-?\d+$/.test(value) ? Number(value) : value
}
