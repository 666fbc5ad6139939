/** What is known of a message, for an object that shows it beside methods of its own. Read when it is asked for. */
import type { MessageInfo } from './incoming.ts'

export abstract class InfoView implements MessageInfo {
  readonly #info: MessageInfo

  constructor(info: MessageInfo) {
    this.#info = info
  }

  get id(): string | undefined {
    return this.#info.id
  }
  get type(): string | undefined {
    return this.#info.type
  }
  get key(): string | undefined {
    return this.#info.key
  }
  get headers(): Readonly<Record<string, unknown>> {
    return this.#info.headers
  }
  get contentType(): string | undefined {
    return this.#info.contentType
  }
  get source(): string | undefined {
    return this.#info.source
  }
  get destination(): string {
    return this.#info.destination
  }
  get time(): Date | undefined {
    return this.#info.time
  }
  get correlationId(): string | undefined {
    return this.#info.correlationId
  }
  get causationId(): string | undefined {
    return this.#info.causationId
  }
  get tenantId(): string | undefined {
    return this.#info.tenantId
  }
  get redelivered(): boolean {
    return this.#info.redelivered
  }
  get attempt(): number {
    return this.#info.attempt
  }
}
