/** `chasqui broker`, our own, seen as RabbitMQ's driver sees it. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '@chasqui/amqp/client'
import { open } from '@chasqui/rabbitmq'
import { certificates } from '../../../scripts/brokers/certificates.ts'
import { freePort } from '../../../scripts/brokers/process.ts'
import type { Fixture } from '../src/fixture.ts'
import { type BrokerArguments, BrokerProcess } from './broker-process.ts'
import { makeFullQueue } from './full-queue.ts'

export const chasquiBrokerFixture: Fixture = {
  name: 'chasqui broker by the RabbitMQ driver',
  open,
  async start() {
    const folder = await mkdtemp(join(tmpdir(), 'chasqui-broker-'))
    const { caPath, certPath, keyPath } = await certificates(join(folder, 'certificates'))
    const args: BrokerArguments = {
      port: await freePort(),
      data: join(folder, 'data'),
      tls: { port: await freePort(), certPath, keyPath },
    }
    const url = `amqp://127.0.0.1:${args.port}`
    let broker = await BrokerProcess.start(args)
    return {
      url,
      process: {
        kill: () => broker.kill(),
        start: async () => {
          broker = await BrokerProcess.start(args)
        },
        freeze: () => broker.freeze(),
        thaw: async () => broker.thaw(),
      },
      refused: {
        wrongPassword: url.replace('//', '//guest:not-the-password@'),
        unknownHost: 'amqp://no-such-host.invalid:5672',
        untrusted: `amqps://localhost:${args.tls!.port}`,
        authority: await readFile(caPath, 'utf8'),
      },
      async block() {
        const small = await BrokerProcess.start({ port: 0, memoryLimitBytes: 1_048_576 })
        return { url: small.urls[0]!, liftsWhenDrained: true, release: () => small.kill() }
      },
      async deleteQueue(name) {
        const connection = await connect({ host: '127.0.0.1', port: args.port })
        const channel = await connection.openChannel()
        await channel.deleteQueue(name)
        await connection.close()
      },
      makeFull: name => makeFullQueue(url, name),
      shortLease: { options: { heartbeatSeconds: 1 }, leaseMs: 2000 },
      close: async () => {
        await broker.stop()
        await rm(folder, { recursive: true })
      },
    }
  },
}
