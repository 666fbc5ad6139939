import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '@chasqui/embedded'
import { afterAll, beforeAll, test } from 'vitest'
import { registerConformance } from '../src/suite.ts'

registerConformance(
  {
    name: 'embedded, one process',
    open,
    async start() {
      const folder = await mkdtemp(join(tmpdir(), 'chasqui-embedded-'))
      return { url: `embedded:${join(folder, 'data')}`, close: () => rm(folder, { recursive: true }) }
    },
  },
  { test, beforeAll, afterAll },
)
