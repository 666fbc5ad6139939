import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from '@chasqui/embedded'
import { afterAll, beforeAll, beforeEach, test } from 'vitest'
import { freeze } from '../../../scripts/brokers/process.ts'
import { eventually } from '../src/eventually.ts'
import { registerConformance } from '../src/suite.ts'
import { startWorker } from '../src/worker-process.ts'

let otherProcessServes = async () => {}

// After a scenario in which the owner died this process may serve. Its buses are closed by now, so the other one is next.
beforeEach(() => otherProcessServes())

// Another process owns the directory; the buses of the scenarios join it through its local socket.
registerConformance(
  {
    name: 'embedded, two processes',
    open,
    async start() {
      const folder = await mkdtemp(join(tmpdir(), 'chasqui-embedded-'))
      const data = join(folder, 'data')
      const url = `embedded:${data}`
      let owner = await startWorker({ do: 'stay', url })
      const said = join(data, 'owner')
      otherProcessServes = async () => {
        // A scenario that failed may have left none.
        if (!owner.running) owner = await startWorker({ do: 'stay', url })
        await eventually(
          () => existsSync(said) && readFileSync(said, 'utf8') === `${owner.pid}\n`,
          () => 'the other process to serve',
        )
      }
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
