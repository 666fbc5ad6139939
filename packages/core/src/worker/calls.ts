/** The main thread's side of what a handler in a thread sends: each call is made on the context of its message. */
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Context } from '../consume/incoming.ts'
import type { AnyContract, CommandContract, EventContract, RequestContract } from '../contract/contract.ts'
import { command, event, request } from '../contract/contract.ts'
import type { ContractFacts, Outcome, ThreadCall } from './protocol.ts'
import { thrownOf } from './protocol.ts'

/** How many contracts are remembered; those of one program are few. */
const maxRemembered = 1000

/** The calls of one thread. */
export class Calls {
  readonly #contracts = new Map<string, AnyContract>()
  readonly #cancels = new Map<number, AbortController>()

  /** Never rejects. */
  async make(call: ThreadCall, ctx: Context): Promise<Outcome> {
    const controller = call.signalled ? new AbortController() : undefined
    if (controller !== undefined) this.#cancels.set(call.call, controller)
    const options = controller === undefined ? call.options : { ...call.options, signal: controller.signal }
    try {
      const to = typeof call.to === 'string' ? call.to : this.#contract(call.to)
      return { ok: true, value: await made(call, to, options, ctx) }
    } catch (error) {
      return { ok: false, error: thrownOf(error) }
    } finally {
      this.#cancels.delete(call.call)
    }
  }

  cancel(call: number): void {
    this.#cancels.get(call)?.abort()
  }

  /** The same contract without its functions, which have been called in the thread. */
  #contract(facts: ContractFacts): AnyContract {
    const name = JSON.stringify(facts)
    const known = this.#contracts.get(name)
    if (known !== undefined) return known
    if (this.#contracts.size >= maxRemembered) this.#contracts.clear()
    const { kind, type, ...options } = facts
    const contract =
      kind === 'event'
        ? event(type, options)
        : kind === 'command'
          ? command(type, options)
          : request(type, anything, anything, options)
    this.#contracts.set(name, contract)
    return contract
  }
}

function made(call: ThreadCall, to: AnyContract | string, options: object | undefined, ctx: Context): Promise<unknown> {
  const { method, body } = call
  if (method === 'send') return ctx.send(to as CommandContract, body, options)
  if (method === 'publish') return ctx.publish(to as EventContract, body, options)
  return ctx.request(to as RequestContract, body, options)
}

/** Takes every body as it is. */
const anything: StandardSchemaV1 = {
  '~standard': { version: 1, vendor: 'chasqui', validate: value => ({ value }) },
}
