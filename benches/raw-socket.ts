/**
 * The floor below every networked figure: blocks of 100 bytes through a loopback TCP socket to an echo in another
 * process and back, a thousand under way, gathered as a good client gathers them. No protocol, no storage.
 */
import { fork } from 'node:child_process'
import { connect, createServer, type Socket } from 'node:net'

const blockBytes = 100
const underWay = 1_000
const messages = Number(process.argv[2] ?? 500_000)

function echo(): void {
  const server = createServer({ noDelay: true }, socket => socket.pipe(socket))
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as { port: number }).port))
  process.once('disconnect', () => process.exit())
}

async function measure(): Promise<void> {
  const child = fork(new URL(import.meta.url), ['echo'])
  const port = await new Promise<number>(resolve => child.once('message', message => resolve(Number(message))))
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await new Promise(resolve => socket.once('connect', resolve))
  await transfer(socket, 50_000)
  const cpu = process.cpuUsage()
  const started = process.hrtime.bigint()
  await transfer(socket, messages)
  const seconds = Number(process.hrtime.bigint() - started) / 1e9
  const { user, system } = process.cpuUsage(cpu)
  socket.destroy()
  child.disconnect()
  console.log(JSON.stringify({ messages, seconds, cpuMicros: user + system }))
}

function transfer(socket: Socket, count: number): Promise<void> {
  return new Promise(resolve => {
    const blocks = Buffer.alloc(blockBytes * underWay, 1)
    let sent = Math.min(count, underWay)
    let receivedBytes = 0
    const onData = (chunk: Buffer) => {
      receivedBytes += chunk.byteLength
      const more = Math.min(Math.floor(receivedBytes / blockBytes) + underWay, count) - sent
      if (more > 0) {
        socket.write(blocks.subarray(0, more * blockBytes))
        sent += more
      }
      if (receivedBytes < count * blockBytes) return
      socket.removeListener('data', onData)
      resolve()
    }
    socket.on('data', onData)
    socket.write(blocks.subarray(0, sent * blockBytes))
  })
}

if (process.argv[2] === 'echo') echo()
else await measure()
