/** What two peers agree on before they open a virtual host (AMQP 0-9-1 section 1.4.2.5 and 1.4.2.6, connection.tune). */

import { FRAME_MIN_SIZE } from './generated/constants.ts'

export interface Tuning {
  /** Highest channel number; 0: no limit of one's own. */
  readonly channelMax: number
  /** Most bytes of a frame, its eight bytes of overhead included; 0: no limit of one's own. */
  readonly frameMax: number
  /** Seconds; 0: no heartbeats wanted. */
  readonly heartbeat: number
}

/**
 * What a client answers to the server's proposal: of each limit the smaller, where 0 is no limit. A channel-max
 * of 0 on both sides becomes 65535, what the number has room for; a frame-max below the protocol's minimum of
 * 4096 becomes the minimum. Heartbeats: the shorter, and none only if neither side wants them or the client
 * asks for 0, which is its right.
 */
export function answerTune(offered: Tuning, wanted: Tuning): Tuning {
  const frameMax = smallerLimit(offered.frameMax, wanted.frameMax)
  return {
    channelMax: smallerLimit(offered.channelMax, wanted.channelMax) || 0xffff,
    frameMax: frameMax === 0 ? 0 : Math.max(frameMax, FRAME_MIN_SIZE),
    heartbeat: wanted.heartbeat === 0 ? 0 : smallerLimit(offered.heartbeat, wanted.heartbeat),
  }
}

/**
 * Whether a client's tune-ok stays within what the server offered: what is wrong, as a sentence, or undefined.
 * 0 from the client means "no limit", which a server that has one cannot grant.
 */
export function tuneViolation(offered: Tuning, answer: Tuning): string | undefined {
  if (exceeds(answer.channelMax, offered.channelMax)) {
    return `negotiated channel_max = ${answer.channelMax} is higher than the maximum allowed value (${offered.channelMax})`
  }
  if (answer.frameMax !== 0 && answer.frameMax < FRAME_MIN_SIZE) {
    return `negotiated frame_max = ${answer.frameMax} is lower than the minimum allowed value (${FRAME_MIN_SIZE})`
  }
  if (exceeds(answer.frameMax, offered.frameMax)) {
    return `negotiated frame_max = ${answer.frameMax} is higher than the maximum allowed value (${offered.frameMax})`
  }
  return undefined
}

function smallerLimit(a: number, b: number): number {
  if (a === 0 || b === 0) return Math.max(a, b)
  return Math.min(a, b)
}

function exceeds(answer: number, offered: number): boolean {
  return offered !== 0 && (answer === 0 || answer > offered)
}
