/**
 * From the reply that arrived to what the requester gets: through the incoming middleware, as every message, with the reply's
 * schema in place of the body's. A failure that travelled becomes a typed error here.
 */
import type { ChasquiError as ChasquiErrorType, Headers, HeaderValue, WireMessage } from '@chasqui/driver'
import { ChasquiError, headerPrefix } from '@chasqui/driver'
import type { IncomingMessage, IncomingMiddleware, RouteInfo, Scope } from '../consume/incoming.ts'
import { Attempt } from '../consume/incoming.ts'
import type { AnyContract } from '../contract/contract.ts'
import { chain } from '../middleware/chain.ts'

/** The headers by which a requester knows a failure from a reply. */
export const replyErrorCode = `${headerPrefix.chasqui}error_code`
export const replyErrorMessage = `${headerPrefix.chasqui}error_message`
/** JSON of the error's `details`. */
export const replyErrorDetails = `${headerPrefix.chasqui}error_details`

const plain: RouteInfo = { contract: undefined, schema: undefined, format: undefined }

export class ReplyReader {
  readonly #run: (message: IncomingMessage) => unknown
  readonly #scope: () => Scope

  /** The scope is asked for late: it knows the requests, which know this. */
  constructor(middleware: readonly IncomingMiddleware[], scope: () => Scope) {
    this.#run = chain<IncomingMessage, unknown>(middleware, message => message.body)
    this.#scope = scope
  }

  /** The body as the reply's schema gives it. Rejects with `body-not-decodable`, `body-invalid` and what middleware throws. */
  async read(message: WireMessage, contract: AnyContract | undefined): Promise<unknown> {
    const scope = this.#scope()
    const route =
      contract === undefined
        ? plain
        : {
            contract,
            schema: contract.replySchema,
            format: scope.formats.registry.named(contract.format ?? 'json'),
          }
    return await this.#run(new Attempt(scope, route, message, false, 1))
  }
}

/** The failure that a reply tells of; `undefined` for a reply proper. */
export function remoteFailure({ headers }: WireMessage): ChasquiErrorType | undefined {
  const code = headers[replyErrorCode]
  return code === undefined ? undefined : remoteError(String(code), headers)
}

function remoteError(code: string, headers: Headers): ChasquiErrorType {
  const message = String(headers[replyErrorMessage] ?? '')
  const details = remoteDetails(headers[replyErrorDetails])
  return new ChasquiError('request-failed', `The handler of the request failed: ${message}`, {
    details: {
      remoteCode: code,
      remoteMessage: message,
      ...(details === undefined ? {} : { remoteDetails: details }),
    },
  })
}

function remoteDetails(json: HeaderValue | undefined): unknown {
  if (typeof json !== 'string') return undefined
  try {
    return JSON.parse(json)
  } catch {
    // A foreign handler wrote what is no JSON: it stays readable as it came.
    return json
  }
}
