import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '@chasqui/embedded'
import { afterAll, beforeAll, test } from 'vitest'
import { freeze } from '../../../scripts/brokers/process.ts'
import { registerConformance } from '../src/suite.ts'
import { startWorker } from '../src/worker-process.ts'

// Another process owns the directory; the buses of the scenarios join it through its local socket.
registerConformance(
  {
    name: 'embedded, two processes',
    open,
    async start() {
      const folder = await mkdtemp(join(tmpdir(), 'chasqui-embedded-'))
      const url = `embedded:${join(folder, 'data')}`
      let owner = await startWorker({ do: 'stay', url })
      return {
        url,
        process: {
          kill: () => owner.kill(),
          start: async () => {
            owner = await startWorker({ do: 'stay', url })
          },
          freeze: () => freeze(owner.pid),
          thaw: async () => owner.signal('SIGCONT'),
        },
        close: async () => {
          await owner.kill()
          await rm(folder, { recursive: true })
        },
      }
    },
  },
  { test, beforeAll, afterAll },
)
