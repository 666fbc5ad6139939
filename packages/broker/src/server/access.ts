/**
 * Who may come in. One user so far, guest with the password guest, and only from this machine: over loopback or the
 * local socket, as RabbitMQ has it for its guest. Permissions: whoever is in may do everything.
 */
import { timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { AmqpError, decodeTable, type FieldTable } from '@chasqui/amqp'

/** Offered in connection.start, the preferred first. */
export const mechanisms = ['PLAIN', 'AMQPLAIN'] as const

const users: ReadonlyMap<string, { readonly password: string; readonly onlyFromHere: boolean }> = new Map([
  ['guest', { password: 'guest', onlyFromHere: true }],
])

interface Credentials {
  readonly username: string
  readonly password: string
}

/**
 * The user's name, or the refusal (403). It does not say whether the name, the password or the place was wrong.
 */
export function logIn(mechanism: string, response: string | Uint8Array, fromHere: boolean): string {
  const credentials = readCredentials(mechanism, Buffer.from(response))
  const user = users.get(credentials.username)
  if (user === undefined || !sameText(credentials.password, user.password) || (user.onlyFromHere && !fromHere)) {
    throw refused(mechanism)
  }
  return credentials.username
}

/** True for the machine's own addresses, also those of IPv4 as IPv6 shows them. */
export function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return false
  const plain = address.startsWith('::ffff:') ? address.slice(7) : address
  return plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'))
}

function refused(mechanism: string): AmqpError {
  return AmqpError.of(
    'access-refused',
    `Login was refused using authentication mechanism ${mechanism}. The user guest with the password guest may log in from the broker's own machine.`,
    { scope: 'connection' },
  )
}

function readCredentials(mechanism: string, response: Buffer): Credentials {
  switch (mechanism) {
    case 'PLAIN':
      return readPlain(response)
    case 'AMQPLAIN':
      return readAmqpPlain(response)
    default:
      throw AmqpError.of(
        'access-refused',
        `the mechanism '${mechanism}' is not offered: use ${mechanisms.join(' or ')}`,
        { scope: 'connection' },
      )
  }
}

/** `[authorization identity] NUL [user] NUL [password]` (RFC 4616). */
function readPlain(response: Buffer): Credentials {
  const parts = response.toString('utf8').split('\0')
  if (parts.length !== 3) throw refused('PLAIN')
  return { username: parts[1]!, password: parts[2]! }
}

/** A field table with LOGIN and PASSWORD, without the length that tables begin with elsewhere. */
function readAmqpPlain(response: Buffer): Credentials {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(response.length)
  let table: FieldTable
  try {
    table = decodeTable(Buffer.concat([length, response]))
  } catch {
    throw refused('AMQPLAIN')
  }
  const { LOGIN: username, PASSWORD: password } = table
  if (typeof username !== 'string' || typeof password !== 'string') throw refused('AMQPLAIN')
  return { username, password }
}

function sameText(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)]
  return left.length === right.length && timingSafeEqual(left, right)
}
