import { open } from '@chasqui/embedded'
import { afterAll, beforeAll, test } from 'vitest'
import { registerConformance } from '../src/suite.ts'

registerConformance(
  {
    name: 'memory',
    open,
    async start() {
      return { url: `memory:conformance-${process.pid}`, close: async () => undefined }
    },
  },
  { test, beforeAll, afterAll },
)
