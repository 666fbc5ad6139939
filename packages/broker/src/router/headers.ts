/** The headers exchange: a binding's arguments against a message's headers (RabbitMQ, `x-match`). */
import type { FieldTable, FieldValue } from '@chasqui/amqp'

/** True when the headers satisfy the binding: all of its arguments, or one of them under `x-match: any`. */
export function headersMatch(wanted: FieldTable, headers: FieldTable | undefined): boolean {
  const mode = wanted['x-match'] ?? 'all'
  const any = mode === 'any' || mode === 'any-with-x'
  const withX = mode === 'all-with-x' || mode === 'any-with-x'
  for (const name of Object.keys(wanted)) {
    if (name === 'x-match' || (!withX && name.startsWith('x-'))) continue
    const matches = headers !== undefined && Object.hasOwn(headers, name) && sameValue(wanted[name]!, headers[name]!)
    if (any && matches) return true
    if (!any && !matches) return false
  }
  return !any
}

function sameValue(wanted: FieldValue, actual: FieldValue): boolean {
  // An argument without a value asks only that the header be there.
  if (wanted === null || wanted === actual) return true
  if (typeof wanted !== 'object' || typeof actual !== 'object' || actual === null) return false
  return JSON.stringify(wanted) === JSON.stringify(actual)
}
