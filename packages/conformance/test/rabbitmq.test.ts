import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { open } from '@chasqui/rabbitmq'
import { afterAll, beforeAll, test } from 'vitest'
import { rabbitmq } from '../../../scripts/brokers.ts'
import { registerConformance } from '../src/suite.ts'

// A node of its own, since it is killed: the one of CHASQUI_RABBITMQ_URL serves other tests. The variable says that
// RabbitMQ can be had here.
registerConformance(
  {
    name: 'RabbitMQ',
    open,
    async start() {
      const broker = await rabbitmq({ name: `conformance-${randomBytes(3).toString('hex')}`, port: 0, tlsPort: 0 })
      await broker.start()
      return {
        url: broker.url,
        version: (await broker.control(['version'])).trim(),
        process: {
          kill: () => broker.kill(),
          start: () => broker.start(),
          // RabbitMQ 3.10 writes the name of a new quorum queue about half a second after it answers. Killed before, it
          // forgets the queue's log with all that was confirmed (mended by rabbitmq/ra pull request 443).
          keepDeclarations: async () => void (await broker.control(['eval', 'dets:sync(ra_directory_reverse).'])),
          freeze: async () => await broker.freeze(),
          thaw: async () => await broker.thaw(),
        },
        refused: {
          wrongPassword: broker.url.replace('//', '//guest:not-the-password@'),
          unknownHost: 'amqp://no-such-host.invalid:5672',
          untrusted: broker.tlsUrl,
          authority: await readFile(broker.caPath, 'utf8'),
        },
        async block() {
          await broker.setMemoryLimit(1)
          return { url: broker.url, release: () => broker.setMemoryLimit(undefined) }
        },
        close: () => broker.remove(),
      }
    },
  },
  { test: test.runIf(process.env.CHASQUI_RABBITMQ_URL), beforeAll, afterAll },
)
