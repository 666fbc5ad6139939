/** Contracts that the tests and their threads share. */
import { command, request } from '@chasqui/core'
import * as z from 'zod'

const run = process.env.CHASQUI_TEST_RUN ?? 'worker-test'

export const Echo = request(
  `${run}-echo`,
  z.object({ text: z.string(), count: z.number().default(2) }),
  z.object({ text: z.string().transform(text => `${text}!`) }),
)
export const Step = command(`${run}-step`, z.object({ key: z.string(), n: z.number() }), { key: step => step.key })
