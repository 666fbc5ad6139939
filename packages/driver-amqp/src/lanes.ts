/**
 * Lanes on the broker: how many there are is written where an unequal declaration is refused, so that two senders can
 * never hash by different numbers.
 *
 *     queue, subscription    each lane's queue: x-single-active-consumer, and x-max-length 1,000,000,000 + lanes
 *     topic                  alternate-exchange TOPIC.lanes-N, which does not exist and never gets anything
 *
 * A limit that no queue reaches serves for the number because RabbitMQ compares it for every type of queue and tells
 * the value that is there; of an exchange it compares the alternate exchange alone.
 */
import type { FieldTable } from '@chasqui/amqp'
import { ChasquiError } from '@chasqui/driver'
import { type QueueShape, queueDifferences, queueExists } from './existing.ts'
import { type Difference, hasReplyCode, replyCode } from './failures.ts'
import { laneQueue } from './queue-names.ts'
import type { Scratch } from './scratch.ts'

/** More lanes cost a Raft group and a consumer each, and share nothing better. */
const maxLanes = 1024

const lengthBase = 1_000_000_000
const activeArgument = 'x-single-active-consumer'
const lengthArgument = 'x-max-length'

/** What makes a queue a lane, one of so many. */
export function laneArguments(table: FieldTable, lanes: number): FieldTable {
  return { ...table, [activeArgument]: true, [lengthArgument]: lengthBase + lanes, 'x-overflow': 'reject-publish' }
}

/** What makes a topic one of so many lanes; a single lane needs no mark, for its subscriptions take everything. */
export function topicArguments(topic: string, lanes: number | undefined): FieldTable {
  return lanes === undefined || lanes === 1 ? {} : { 'alternate-exchange': `${topic}.lanes-${lanes}` }
}

/** The lanes of an existing topic, from what the broker says is there instead. */
export function topicLanesIn({ argument, current }: Difference): number | undefined {
  if (argument !== 'alternate-exchange' || current === undefined) return undefined
  const lanes = /\.lanes-(\d+)'/.exec(current)?.[1]
  return lanes === undefined ? undefined : Number(lanes)
}

/** The lanes of an existing queue NAME, or of the queues NAME.lane-0 and so on; `undefined` where it has none, or is not there. */
export async function findLanes(scratch: Scratch, name: string): Promise<number | undefined> {
  const first = laneQueue(name, 0, 2)
  if (await queueExists(scratch, first)) {
    const marked = await laneMark(scratch, first)
    return marked ?? (await countLanes(scratch, name))
  }
  if (!(await queueExists(scratch, name))) return undefined
  return (await isLane(scratch, name)) ? 1 : undefined
}

/** True for an existing queue that has one active consumer at a time. */
async function isLane(scratch: Scratch, name: string): Promise<boolean> {
  const differences = await visibleDifferences(scratch, name)
  return differences.some(({ argument }) => argument === activeArgument)
}

/** Why a lane's queue cannot be used for the lanes asked for; `undefined` where it can. */
export async function laneObstacle(
  scratch: Scratch,
  name: string,
  lane: { readonly queue: string; readonly shape: QueueShape; readonly lanes: number },
): Promise<ChasquiError | undefined> {
  const differences = await queueDifferences(scratch, lane.queue, lane.shape)
  if (differences.some(({ argument }) => argument === activeArgument)) return notOrdered(name, lane.queue)
  const length = differences.find(({ argument }) => argument === lengthArgument)
  if (length !== undefined) {
    const found = markIn(length) ?? (lane.lanes === 1 ? 1 : await countLanes(scratch, name))
    return found === lane.lanes ? undefined : lanesDiffer(name, lane.lanes, found)
  }
  // Cut off by a long name before it came to what matters.
  const isUnknown = differences.some(({ current }) => current === undefined)
  return isUnknown ? notOrdered(name, lane.queue) : undefined
}

export function notOrdered(name: string, queue: string): ChasquiError {
  return new ChasquiError(
    'destination-not-ordered',
    `The queue '${queue}' exists and may have several consumers at once, so it keeps no order. Use another name; or let '${name}' run empty (chasqui move takes what is in it), delete it, and start a program that asks for its lanes first.`,
    { details: { name, queue } },
  )
}

export function lanesDiffer(name: string, asked: number, found: number): ChasquiError {
  return new ChasquiError(
    'lanes-differ',
    `'${name}' was created with ${found} ${found === 1 ? 'lane' : 'lanes'}, and ${asked} ${asked === 1 ? 'was' : 'were'} asked for; the number is fixed. Ask for ${found}, or use another name.`,
    { details: { name, asked, found } },
  )
}

export function topicWithoutLanes(topic: string, asked: number): ChasquiError {
  return new ChasquiError(
    'destination-not-ordered',
    `The topic '${topic}' was created without lanes, so its messages name none, and ${asked} were asked for. Subscribe with lanes: 1, or publish to another topic, whose contract has lanes: ${asked}.`,
    { details: { topic, asked } },
  )
}

/** @throws ChasquiError `option-invalid` */
export function checkLanes(name: string, lanes: number | undefined): void {
  if (lanes === undefined || (Number.isInteger(lanes) && lanes >= 1 && lanes <= maxLanes)) return
  throw new ChasquiError('option-invalid', `The lanes of '${name}' are a whole number from 1 to ${maxLanes}.`, {
    details: { name, lanes },
  })
}

/** Unlike every queue of ours, so that the broker tells argument by argument what is there. */
const anyShape: QueueShape = { durable: true, arguments: {} }

async function laneMark(scratch: Scratch, queue: string): Promise<number | undefined> {
  const length = (await visibleDifferences(scratch, queue)).find(({ argument }) => argument === lengthArgument)
  return length && markIn(length)
}

/** What is there; nothing of a queue that this user may use and not declare. */
async function visibleDifferences(scratch: Scratch, queue: string): Promise<Difference[]> {
  try {
    return await queueDifferences(scratch, queue, anyShape)
  } catch (error) {
    if (hasReplyCode(error, replyCode.accessRefused)) return []
    throw error
  }
}

function markIn({ current }: Difference): number | undefined {
  const length = Number(/\d+/.exec(current ?? '')?.[0])
  return length > lengthBase && length <= lengthBase + maxLanes ? length - lengthBase : undefined
}

/** Looks at the lanes in turn; for those that bear no mark. */
async function countLanes(scratch: Scratch, name: string): Promise<number> {
  let lanes = 0
  while (lanes < maxLanes && (await queueExists(scratch, laneQueue(name, lanes, maxLanes)))) lanes++
  return lanes
}
