/**
 * What runs in a handler's thread: loads the module that the main thread named, and gives it one message after another. An error
 * that nobody catches ends the thread, as it would end a process; the main thread sees that.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { ChasquiError } from '@chasqui/driver'
import type { FromThread, ToThread } from './protocol.ts'
import { errorOf, notCloneable, thrownOf } from './protocol.ts'
import { MainThread, RemoteContext } from './thread-context.ts'
import type { ThreadHandler } from './worker-handler.ts'

function post(message: FromThread): void {
  parentPort?.postMessage(message)
}

const main = new MainThread(post)
let current: RemoteContext | undefined

async function run(
  handler: ThreadHandler,
  { body, bytes, info }: Extract<ToThread, { kind: 'message' }>,
): Promise<void> {
  current = new RemoteContext(main, info)
  let value: unknown
  try {
    // Cloning makes plain bytes of a Buffer.
    value = await handler(bytes ? Buffer.from((body as Uint8Array).buffer) : body, current)
  } catch (error) {
    post({ kind: 'threw', error: thrownOf(error) })
    return
  }
  try {
    post({ kind: 'returned', value })
  } catch (cause) {
    post({ kind: 'threw', error: thrownOf(notCloneable('What the handler returned', cause)) })
  }
}

async function load(module: string): Promise<ThreadHandler> {
  const loaded = (await import(module)) as { readonly default?: unknown }
  if (typeof loaded.default === 'function') return loaded.default as ThreadHandler
  throw new ChasquiError('worker-invalid', `${module} has no function as its default export.`)
}

try {
  const handler = await load(String(workerData.module))
  parentPort?.on('message', (message: ToThread) => {
    if (message.kind === 'message') void run(handler, message)
    else if (message.kind === 'answer') main.answered(message.call, message.outcome)
    else current?.abort(errorOf(message.reason))
  })
  post({ kind: 'ready' })
} catch (error) {
  post({ kind: 'unusable', error: thrownOf(error) })
}
