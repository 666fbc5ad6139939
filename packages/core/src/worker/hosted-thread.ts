/**
 * One thread as the main thread sees it. It has one message at a time, so that its end costs that message's attempt and no other.
 *
 * starting -> idle <-> busy -> retired (its attempt is over, it may still obey its signal) -> gone
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { ChasquiError } from '@chasqui/driver'
import type { Context, MessageInfo } from '../consume/incoming.ts'
import { messageOf } from '../observe/message-of.ts'
import { Calls } from './calls.ts'
import type { FromThread, ToThread } from './protocol.ts'
import { errorOf, notCloneable, thrownOf } from './protocol.ts'
import type { WorkerSettings } from './worker-handler.ts'

/** A message for a thread, and who waits for what becomes of it. */
export interface Job {
  readonly body: unknown
  readonly ctx: Context
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** A failure that is no message's: it could not start, or it ended while it had none. */
export interface ThreadFailure {
  readonly during: 'start' | 'rest'
  readonly error: ChasquiError
}

export interface ThreadOwner {
  /** The thread takes its next message. */
  ready(thread: HostedThread): void
  /** The thread is not to be used any more. */
  gone(thread: HostedThread, failure: ThreadFailure | undefined): void
  /** Nothing is left of it. */
  ended(thread: HostedThread): void
}

/** How long a handler may take to obey its signal before its thread is ended, in milliseconds. */
const obeyMs = 1000
/** How long a module may take to load, in milliseconds. */
const loadMs = 30_000

export class HostedThread {
  readonly #owner: ThreadOwner
  readonly #module: string
  readonly #maxHeapMb: number | undefined
  readonly #worker: Worker
  readonly #calls = new Calls()
  #state: 'starting' | 'idle' | 'busy' | 'retired' | 'gone' = 'starting'
  #job: Job | undefined
  /** Of the message that it has, or had last: a send may come shortly after its handler returned. */
  #context: Context | undefined
  #error: unknown
  /** We end it ourselves. */
  #ending = false
  #timer: NodeJS.Timeout | undefined

  constructor({ module, maxHeapMb }: WorkerSettings, sourceName: string, owner: ThreadOwner) {
    this.#owner = owner
    this.#module = builtModule(module).href
    this.#maxHeapMb = maxHeapMb
    this.#worker = new Worker(new URL(import.meta.url.replace(/hosted-thread\.(\w+)$/, 'thread.$1')), {
      name: `chasqui ${sourceName}`,
      workerData: { module: this.#module },
      ...(maxHeapMb === undefined ? {} : { resourceLimits: { maxOldGenerationSizeMb: maxHeapMb } }),
    })
    this.#worker.on('message', (message: FromThread) => this.#hear(message))
    this.#worker.on('messageerror', error => this.#end(error))
    this.#worker.on('error', error => this.#end(error))
    this.#worker.on('exit', code => this.#exited(code))
    this.#timer = setTimeout(() => this.#end(new Error(`it did not load within ${loadMs} ms`)), loadMs)
  }

  /** Gives an idle thread its message. The job is settled by what the thread says, or by its end. */
  run(job: Job): void {
    const { body, ctx } = job
    // A view of a large buffer would take the whole of it along.
    const copy = body instanceof Uint8Array ? new Uint8Array(body) : undefined
    const bytes = copy !== undefined
    const message: ToThread = { kind: 'message', body: copy ?? body, bytes, info: infoOf(ctx) }
    try {
      this.#worker.postMessage(message, bytes ? [copy.buffer] : [])
    } catch (cause) {
      job.reject(notCloneable('The body', cause))
      this.#owner.ready(this)
      return
    }
    this.#state = 'busy'
    this.#job = job
    this.#context = ctx
    // A process with nothing else to do would end while the handler runs.
    this.#worker.ref()
  }

  /** The attempt of its message is over: the handler hears its signal, and the thread ends when it has, or a little later. */
  retire(reason: unknown): void {
    if (this.#state !== 'busy') return
    this.#state = 'retired'
    this.#job = undefined
    this.#worker.postMessage({ kind: 'abort', reason: thrownOf(reason) } satisfies ToThread)
    this.#timer = setTimeout(() => void this.terminate(), obeyMs)
    this.#owner.gone(this, undefined)
  }

  async terminate(): Promise<void> {
    clearTimeout(this.#timer)
    this.#ending = true
    await this.#worker.terminate()
  }

  #hear(message: FromThread): void {
    switch (message.kind) {
      case 'ready':
        clearTimeout(this.#timer)
        this.#idle()
        break
      case 'unusable':
        this.#end(errorOf(message.error))
        break
      case 'returned':
        this.#finish(job => job.resolve(message.value))
        break
      case 'threw':
        this.#finish(job => job.reject(errorOf(message.error)))
        break
      case 'call':
        void this.#call(message)
        break
      case 'cancel':
        this.#calls.cancel(message.call)
        break
      case 'log':
        try {
          this.#context?.log[message.level](message.fields, message.message)
        } catch {
          // The user's logger failed on a line; the message and its thread have no part in that.
        }
    }
  }

  async #call(message: Extract<FromThread, { kind: 'call' }>): Promise<void> {
    if (this.#context === undefined) return
    const outcome = await this.#calls.make(message, this.#context)
    const answer = (told: typeof outcome) =>
      this.#worker.postMessage({ kind: 'answer', call: message.call, outcome: told } satisfies ToThread)
    try {
      answer(outcome)
    } catch (cause) {
      answer({ ok: false, error: thrownOf(notCloneable('The reply', cause)) })
    }
  }

  #finish(tell: (job: Job) => void): void {
    if (this.#state === 'retired') {
      void this.terminate()
      return
    }
    const job = this.#job
    this.#job = undefined
    if (job === undefined) return
    tell(job)
    this.#idle()
  }

  #idle(): void {
    this.#state = 'idle'
    this.#worker.unref()
    this.#owner.ready(this)
  }

  /** Something is wrong with it; `exit` follows. */
  #end(error: unknown): void {
    this.#error ??= error
    clearTimeout(this.#timer)
    void this.#worker.terminate()
  }

  #exited(exitCode: number): void {
    clearTimeout(this.#timer)
    const before = this.#state
    this.#state = 'gone'
    const job = this.#job
    this.#job = undefined
    job?.reject(this.#crashed(exitCode))
    this.#owner.ended(this)
    if (before === 'retired') return
    if (before === 'starting') this.#owner.gone(this, { during: 'start', error: this.#unusable(exitCode) })
    else if (before === 'busy' || this.#ending) this.#owner.gone(this, undefined)
    else this.#owner.gone(this, { during: 'rest', error: this.#crashed(exitCode) })
  }

  #crashed(exitCode: number): ChasquiError {
    const cause = this.#error
    const outOfMemory = (cause as { code?: unknown } | undefined)?.code === 'ERR_WORKER_OUT_OF_MEMORY'
    const limit = this.#maxHeapMb === undefined ? 'its heap' : `its heap of ${this.#maxHeapMb} MiB (maxHeapMb)`
    const why = outOfMemory
      ? `used up ${limit}`
      : cause === undefined
        ? `called process.exit(${exitCode})`
        : `died of an error that nobody caught: ${messageOf(cause)}`
    return new ChasquiError(
      'worker-crashed',
      `The thread of ${this.#module} ${why}. Only the message that it had is concerned; another thread takes its place.`,
      { cause, details: { exitCode, outOfMemory } },
    )
  }

  #unusable(exitCode: number): ChasquiError {
    const cause = this.#error ?? new Error(`it called process.exit(${exitCode})`)
    const why = messageOf(cause)
    return new ChasquiError(
      'worker-invalid',
      `The worker ${this.#module} cannot be used: ${why} Name a module whose default export is the handler.`,
      { cause, details: { module: this.#module } },
    )
  }
}

/** Compiling leaves the `.ts` of a URL in a string as it is. */
function builtModule(module: URL): URL {
  if (module.protocol !== 'file:' || !/\.m?ts$/.test(module.pathname) || exists(module)) return module
  const built = new URL(module)
  built.pathname = module.pathname.replace(/\.(m?)ts$/, '.$1js')
  return exists(built) ? built : module
}

function exists(module: URL): boolean {
  try {
    return existsSync(fileURLToPath(module))
  } catch {
    // No path of this system, such as one with an escaped slash: loading it says so.
    return false
  }
}

function infoOf(ctx: Context): MessageInfo {
  const { id, type, key, headers, contentType, source, destination, time } = ctx
  const { correlationId, causationId, tenantId, redelivered, attempt } = ctx
  return {
    id,
    type,
    key,
    headers,
    contentType,
    source,
    destination,
    time,
    correlationId,
    causationId,
    tenantId,
    redelivered,
    attempt,
  }
}
