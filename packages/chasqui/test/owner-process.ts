/** `node owner-process.ts DIRECTORY`: a process that opened the directory first, and answers requests to `double` for ever late. */
import { connect } from 'chasqui'

const bus = await connect(`embedded:${process.argv[2]}`, { logger: false })
await bus.handle('double', () => new Promise<never>(() => process.send?.('asked')), { concurrency: 1, window: 1 })
process.send?.('ready')
process.on('message', async () => {
  await bus.close()
  process.disconnect()
})
