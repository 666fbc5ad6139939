import { describe, expect, test } from 'vitest'
import { answerTune, tuneViolation } from '../src/index.ts'

describe('what a client answers', () => {
  test.each([
    ['the smaller of both', [2047, 131072, 60], [100, 65536, 30], [100, 65536, 30]],
    ["the server's where it is smaller", [10, 8192, 5], [100, 65536, 30], [10, 8192, 5]],
    ['no limit of the client', [2047, 131072, 60], [0, 0, 60], [2047, 131072, 60]],
    ['no limit of the server', [0, 0, 0], [100, 65536, 30], [100, 65536, 30]],
    ['no limit of either', [0, 0, 0], [0, 0, 0], [65535, 0, 0]],
    ['frame-max below the minimum', [0, 1000, 0], [0, 0, 0], [65535, 4096, 0]],
    ['a client without heartbeats', [0, 0, 60], [0, 0, 0], [65535, 0, 0]],
  ])('[%s]', (_, offered, wanted, answer) => {
    const tuning = ([channelMax, frameMax, heartbeat]: number[]) => ({
      channelMax: channelMax!,
      frameMax: frameMax!,
      heartbeat: heartbeat!,
    })
    expect(answerTune(tuning(offered), tuning(wanted))).toEqual(tuning(answer))
  })
})

describe('what a server refuses', () => {
  const offered = { channelMax: 2047, frameMax: 131072, heartbeat: 60 }

  test('an answer within the offer passes, whatever its heartbeat', () => {
    expect(tuneViolation(offered, offered)).toBeUndefined()
    expect(tuneViolation(offered, { channelMax: 1, frameMax: 4096, heartbeat: 6000 })).toBeUndefined()
    expect(
      tuneViolation({ channelMax: 0, frameMax: 0, heartbeat: 0 }, { channelMax: 0, frameMax: 0, heartbeat: 0 }),
    ).toBeUndefined()
  })

  test.each([
    [{ channelMax: 2048 }, 'channel_max = 2048 is higher'],
    [{ channelMax: 0 }, 'channel_max = 0 is higher'],
    [{ frameMax: 131073 }, 'frame_max = 131073 is higher'],
    [{ frameMax: 0 }, 'frame_max = 0 is higher'],
    [{ frameMax: 4095 }, 'frame_max = 4095 is lower'],
  ])('%o', (change, words) => {
    expect(tuneViolation(offered, { ...offered, ...change })).toContain(words)
  })
})
