/** `node owner-process.ts DIRECTORY`: owns a data directory until it is killed, or told to close over its channel. */
import { open } from '../src/index.ts'

const driver = await open({ urls: [`embedded:${process.argv[2]}`], name: 'owner', connectTimeoutMs: 10_000 })
const destination = { kind: 'queue', name: 'orders', durable: true } as const
await driver.declare({ destinations: [destination] }, { create: true })
process.once('message', async () => {
  await driver.close()
  process.disconnect()
})
process.send?.(driver.capabilities.properties.separateProcess ? 'guest' : 'owner')
