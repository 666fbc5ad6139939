/** The rules of user headers: what a sender may put on a message. */
import type { Headers } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'

export type UserHeaders = Readonly<Record<string, string | number | boolean>>

const maxHeaderNameBytes = 200
/**
 * Names with a meaning of their own: Chasqui's and CloudEvents' prefixes; RabbitMQ routes by CC and BCC, and drops
 * messages that come with a history of dead-lettering.
 */
const reservedName = /^(?:chasqui_|cloudevents[_:]|ce_|x-death$|x-first-death-|x-last-death-|x-delivery-count$|b?cc$)/i

/** A checked copy, which its owner cannot change any more. Throws `header-invalid`. */
export function checkedHeaders(given: UserHeaders, maxHeaderBytes: number): Headers {
  const copy: Record<string, string | number | boolean> = {}
  let bytes = 0
  for (const name of Object.keys(given)) {
    const value = given[name]
    // Left out, as an absent option would be.
    if (value === undefined) continue
    checkHeaderName(name)
    bytes += Buffer.byteLength(name)
    if (typeof value === 'string') {
      if (!value.isWellFormed()) throw invalid(name, 'holds half a surrogate pair, which UTF-8 cannot carry')
      bytes += Buffer.byteLength(value)
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) throw invalid(name, `is ${value}; numbers must be finite`)
      bytes += 9
    } else if (typeof value === 'boolean') {
      bytes += 2
    } else {
      throw invalid(name, `is of type ${value === null ? 'null' : typeof value}; use a string, a number or a boolean`)
    }
    copy[name] = value
  }
  if (bytes > maxHeaderBytes) {
    throw new ChasquiError(
      'header-invalid',
      `The headers take ${bytes} bytes, more than maxHeaderBytes (${maxHeaderBytes}). Put what is large into the body.`,
      { details: { bytes, maxHeaderBytes } },
    )
  }
  return copy
}

function checkHeaderName(name: string): void {
  if (name === '' || Buffer.byteLength(name) > maxHeaderNameBytes || !name.isWellFormed()) {
    throw invalid(name.slice(0, 40), `must have a name of 1 to ${maxHeaderNameBytes} bytes of valid Unicode`)
  }
  if (name === '__proto__' || reservedName.test(name)) throw invalid(name, 'bears a reserved name; choose another')
}

function invalid(name: string, what: string): ChasquiError {
  return new ChasquiError('header-invalid', `The header "${name}" ${what}.`, { details: { header: name } })
}
