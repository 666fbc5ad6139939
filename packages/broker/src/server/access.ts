/**
 * Who may come in. By password one user so far, guest with the password guest, and only from this machine: over loopback
 * or the local socket, as RabbitMQ has it for its guest. By certificate (EXTERNAL) whoever a listener names, and guest as
 * above; the user is the common name of the certificate. Permissions: whoever is in may do everything.
 */
import { timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { AmqpError, decodeTable, type FieldTable } from '@chasqui/amqp'

/** Who is at the other end of a socket, before it says anything. */
export interface Peer {
  /** On this machine. */
  readonly fromHere: boolean
  /** The common name of its certificate, which has been verified. */
  readonly commonName?: string | undefined
  /** Common names that may log in by certificate. */
  readonly certificateUsers?: readonly string[] | undefined
}

/** Offered in connection.start, the preferred first. */
export function mechanismsFor({ commonName }: Peer): readonly string[] {
  return commonName === undefined ? ['PLAIN', 'AMQPLAIN'] : ['EXTERNAL', 'PLAIN', 'AMQPLAIN']
}

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
export function logIn(mechanism: string, response: string | Uint8Array, peer: Peer): string {
  if (mechanism === 'EXTERNAL' && peer.commonName !== undefined) return byCertificate(peer.commonName, peer)
  const credentials = readCredentials(mechanism, Buffer.from(response), peer)
  const user = users.get(credentials.username)
  if (user === undefined || !sameText(credentials.password, user.password) || (user.onlyFromHere && !peer.fromHere)) {
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

/** What the client says beside its certificate is not looked at, as in RabbitMQ. */
function byCertificate(commonName: string, { fromHere, certificateUsers }: Peer): string {
  const user = users.get(commonName)
  const known = user === undefined ? certificateUsers?.includes(commonName) : fromHere || !user.onlyFromHere
  if (known) return commonName
  throw refused('EXTERNAL')
}

function refused(mechanism: string): AmqpError {
  const who =
    mechanism === 'EXTERNAL'
      ? 'The common name of the certificate is the user: it must be one of those that the broker was told to accept.'
      : "The user guest with the password guest may log in from the broker's own machine."
  return AmqpError.of('access-refused', `Login was refused using authentication mechanism ${mechanism}. ${who}`, {
    scope: 'connection',
  })
}

function readCredentials(mechanism: string, response: Buffer, peer: Peer): Credentials {
  switch (mechanism) {
    case 'PLAIN':
      return readPlain(response)
    case 'AMQPLAIN':
      return readAmqpPlain(response)
    default:
      throw AmqpError.of(
        'access-refused',
        `the mechanism '${mechanism}' is not offered: use ${mechanismsFor(peer).join(' or ')}`,
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
