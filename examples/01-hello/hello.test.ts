/**
 * The hello programs as a person runs them: Python with pika and TypeScript with Chasqui, each sending to each, on
 * `chasqui broker` and on RabbitMQ, the receiver started before the sender and after it.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect } from '@chasqui/amqp/client'
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest'
import { rabbitmq } from '../../scripts/brokers.ts'

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url))
const node = [process.execPath, '--conditions=@chasqui/source']
const python = process.env.CHASQUI_PYTHON
const timeoutMs = 15_000

/** A running broker, and how to take it down. */
interface RunningBroker {
  readonly port: string
  close(): Promise<unknown>
}

/** A program with all that it has printed so far. */
interface Program {
  readonly child: ChildProcess
  printed: string
}

function run(command: readonly string[]): Program {
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'pipe'] })
  const program: Program = { child, printed: '' }
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      program.printed += chunk
    })
  }
  return program
}

async function until(program: Program, text: string): Promise<void> {
  await vi.waitFor(() => expect(program.printed).toContain(text), { timeout: timeoutMs, interval: 20 })
}

async function ended(program: Program): Promise<number | null> {
  if (program.child.exitCode === null && program.child.signalCode === null) await once(program.child, 'exit')
  return program.child.exitCode
}

const sisters = {
  'send.py': {
    command: (port: string) => [python!, here('send.py'), port],
    prints: " [x] Sent {'name': 'John', 'message': 'Hello World!'}\n",
    body: '{"name": "John", "message": "Hello World!"}',
  },
  'send.ts': {
    command: (port: string) => [...node, here('send.ts'), port],
    prints: " [x] Sent { name: 'John', message: 'Hello World!' }\n",
    body: '{"name":"John","message":"Hello World!"}',
  },
  'receive.py': {
    command: (port: string) => [python!, here('receive.py'), port],
    prints: (body: string) => ` [x] Received b'${body}'\n [.] John: Hello World!\n`,
  },
  'receive.ts': {
    command: (port: string) => [...node, here('receive.ts'), port],
    prints: () => " [x] Received { name: 'John', message: 'Hello World!' }\n [.] John: Hello World!\n",
  },
} as const

async function chasquiBroker(): Promise<RunningBroker> {
  const bin = fileURLToPath(new URL('../../packages/chasqui/src/bin.ts', import.meta.url))
  const program = run([...node, bin, 'broker', '--port', '0', '--memory'])
  await until(program, 'ready on amqp://')
  const port = /ready on amqp:\/\/127\.0\.0\.1:(\d+)/.exec(program.printed)![1]!
  return {
    port,
    close: async () => {
      program.child.kill('SIGTERM')
      await ended(program)
    },
  }
}

async function ownRabbitmq(): Promise<RunningBroker> {
  const broker = await rabbitmq({ name: `hello-${randomBytes(3).toString('hex')}`, port: 0, tlsPort: 0 })
  await broker.start()
  return { port: new URL(broker.url).port, close: () => broker.remove() }
}

const brokers = {
  'chasqui broker': { start: chasquiBroker, here: python !== undefined },
  RabbitMQ: { start: ownRabbitmq, here: python !== undefined && process.env.CHASQUI_RABBITMQ_URL !== undefined },
}

describe.each(Object.entries(brokers))('on %s', (_, { start, here: isHere }) => {
  let broker: RunningBroker

  beforeAll(async () => {
    if (isHere) broker = await start()
  })
  afterAll(async () => {
    await broker?.close()
  })

  describe.each(['send.py', 'send.ts'] as const)('%s', sender => {
    describe.each(['receive.py', 'receive.ts'] as const)('to %s', receiver => {
      it.runIf(isHere).each(['receiver first', 'sender first'])('says hello, %s', async order => {
        const { command, prints, body } = sisters[sender]
        const receiving = () => run(sisters[receiver].command(broker.port))
        let waiting: Program | undefined
        if (order === 'receiver first') {
          waiting = receiving()
          onTestFinished(() => void waiting?.child.kill('SIGKILL'))
          await until(waiting, ' [*] Waiting for messages')
        }
        const sending = run(command(broker.port))
        expect(await ended(sending)).toBe(0)
        expect(sending.printed).toBe(prints)
        if (waiting === undefined) {
          waiting = receiving()
          onTestFinished(() => void waiting?.child.kill('SIGKILL'))
        }
        await until(waiting, 'Hello World!\n')
        // The receiver may print that it waits before or after the first message has come.
        const lines = waiting.printed.replace(' [*] Waiting for messages. To exit press CTRL+C\n', '')
        expect(lines).toBe(sisters[receiver].prints(body))
        await acknowledged(waiting, broker.port)
      })
    })
  })
})

/**
 * What was received was acknowledged: it does not come back when the receiver is killed. Acknowledgements leave
 * after the printing, within milliseconds, and nothing outside tells when; hence the pause.
 */
async function acknowledged(receiver: Program, port: string): Promise<void> {
  await sleep(500)
  receiver.child.kill('SIGKILL')
  await ended(receiver)
  const connection = await connect({ host: '127.0.0.1', port: Number(port) })
  const channel = await connection.openChannel()
  const consumers = async () => (await channel.declareQueue('hello', { passive: true })).consumerCount
  await vi.waitFor(async () => expect(await consumers()).toBe(0), { timeout: timeoutMs })
  expect((await channel.declareQueue('hello', { passive: true })).messageCount).toBe(0)
  await connection.close()
}

it('the TypeScript sisters are at most as long as the Python programs', async () => {
  const lines = async (file: string) => (await readFile(here(file), 'utf8')).split('\n').length
  expect(await lines('send.ts')).toBeLessThanOrEqual(await lines('send.py'))
  expect(await lines('receive.ts')).toBeLessThanOrEqual(await lines('receive.py'))
})
