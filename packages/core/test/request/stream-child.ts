/** A process of its own that answers by a stream without end, or asks for one: node stream-child.ts serve|ask URL QUEUE */
import { connect } from '@chasqui/core'

const [part, url, queue] = process.argv.slice(2) as [string, string, string]
const bus = await connect(url, { logger: false, name: part })
if (part === 'serve') {
  await bus.handle(queue, async function* () {
    for (let n = 0; ; n++) {
      yield n
      await new Promise(resolve => setTimeout(resolve, 2))
    }
  })
  process.send?.('ready')
} else {
  for await (const n of bus.stream(queue, 1)) process.send?.(n)
}
