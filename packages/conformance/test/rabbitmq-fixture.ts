/** A RabbitMQ node of a scenario run's own, since it is killed: the one that the variables name serves other tests. */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { open } from '@chasqui/rabbitmq'
import { type BrokerOptions, rabbitmq } from '../../../scripts/brokers.ts'
import type { Fixture } from '../src/fixture.ts'
import { makeFullQueue } from './full-queue.ts'

/**
 * RabbitMQ 3.10 and 4.0 write what was declared to disk up to two seconds after they answer: queues and bindings in one place, the
 * name of a quorum queue's log in another. Killed before, they forget the queue with all that was confirmed.
 */
const keepDeclarations = 'dets:sync(ra_directory_reverse), mnesia:sync_log().'

/** What ends for the consumer of a queue, as Erlang that RabbitMQ runs. Of the channel and the consumer the client is not told. */
const losses = {
  connection: 'rabbit_networking:close_connection(element(2, hd(rabbit_channel:info(Channel, [connection]))), "lost")',
  channel: 'rabbit_channel:shutdown(Channel)',
  consumer: 'ra:process_command(amqqueue:get_pid(Q), rabbit_fifo:make_checkout({Tag, Channel}, cancel, #{}))',
}

function toConsumers(queue: string, lose: string): string {
  const find = `{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"${queue}">>)), Consumers = rabbit_amqqueue:consumers(Q)`
  return `${find}, true = length(Consumers) > 0, [begin {Channel, Tag} = {element(1, C), element(2, C)}, ${lose} end || C <- Consumers].`
}

export function rabbitmqFixture(name: string, options: Pick<BrokerOptions, 'major'> = {}): Fixture {
  return {
    name,
    open,
    async start() {
      const instance = `conformance-${randomBytes(3).toString('hex')}`
      const broker = await rabbitmq({ name: instance, port: 0, tlsPort: 0, ...options })
      await broker.start()
      return {
        url: broker.url,
        version: (await broker.control(['version'])).trim(),
        process: {
          kill: () => broker.kill(),
          start: () => broker.start(),
          keepDeclarations: async () => void (await broker.control(['eval', keepDeclarations])),
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
        deleteQueue: async name => void (await broker.control(['delete_queue', name])),
        losses: Object.fromEntries(
          Object.entries(losses).map(([what, lose]) => [
            what,
            async (queue: string) => void (await broker.control(['eval', toConsumers(queue, lose)])),
          ]),
        ),
        // Seen with 4.0.5, with the bare client too (docs/engines/rabbitmq.md).
        forgetsLastAcks: options.major === 4,
        makeFull: queue => makeFullQueue(broker.url, queue),
        async forbid(queue) {
          const user = `user-${randomBytes(3).toString('hex')}`
          const others = `^(?!${queue.replaceAll('.', '\\.')}$).*`
          await broker.control(['add_user', user, 'secret'])
          await broker.control(['set_permissions', user, others, others, '.*'])
          return {
            url: broker.url.replace('//', `//${user}:secret@`),
            allow: async () => void (await broker.control(['set_permissions', user, '.*', '.*', '.*'])),
          }
        },
        shortLease: { options: { heartbeatSeconds: 1 }, leaseMs: 2000 },
        close: () => broker.remove(),
      }
    },
  }
}
