/**
 * The grammar of names, the same on every engine: what a queue, a topic, a type or a subscription may be called,
 * and which last parts Chasqui keeps for the destinations that it makes itself.
 */
import { ChasquiError } from '@chasqui/driver'

/** The longest name, in bytes. Leaves room for the suffixes within the 255 bytes of an AMQP 0-9-1 short string. */
export const maxNameBytes = 200

const allowed = /^[A-Za-z0-9._-]+$/
const reservedLastPart = /(?:^|\.)(?:dead-letter|delayed|parked|fault|lane-[0-9]+)$/

/** The name's last part is one that Chasqui gives to destinations of its own. */
export function isReserved(name: string): boolean {
  return reservedLastPart.test(name)
}

function checkCharacters(what: string, name: string): void {
  if (typeof name !== 'string' || name === '') {
    throw new ChasquiError('name-invalid', `The name of a ${what} must be a string of at least one character.`)
  }
  if (name.length > maxNameBytes) {
    throw new ChasquiError(
      'name-invalid',
      `The name of a ${what} may be ${maxNameBytes} bytes long; this one has ${name.length} characters: "${name.slice(0, 40)}...".`,
      { details: { maxNameBytes, characters: name.length } },
    )
  }
  if (!allowed.test(name)) {
    throw new ChasquiError(
      'name-invalid',
      `"${name}" cannot name a ${what}: use letters, digits, dots, underscores and hyphens only.`,
      { details: { name } },
    )
  }
}

/** Checks the name of a queue, a topic or a type that messages are sent to. Throws `name-invalid`. */
export function checkName(what: 'queue' | 'topic' | 'type' | 'destination', name: string): void {
  checkCharacters(what, name)
  if (isReserved(name)) {
    throw new ChasquiError(
      'name-invalid',
      `"${name}" ends in a part that Chasqui keeps for itself (dead-letter, delayed, parked, fault, lane-N). Choose another name.`,
      { details: { name } },
    )
  }
}

/** Checks the name of something to read from: dead-letter queues and fault topics may be read too. Throws `name-invalid`. */
export function checkSourceName(what: 'queue' | 'topic', name: string): void {
  checkCharacters(what, name)
}

/** Checks a subscription's name together with its topic's, which name one queue between them. Throws `name-invalid`. */
export function checkSubscription(topic: string, subscription: string): void {
  checkSourceName('topic', topic)
  checkCharacters('subscription', subscription)
  if (subscription.includes('.')) {
    throw new ChasquiError(
      'name-invalid',
      `The subscription "${subscription}" has a dot in its name; the dot separates topic and subscription. Use a hyphen.`,
      { details: { topic, subscription } },
    )
  }
  if (isReserved(subscription)) {
    throw new ChasquiError('name-invalid', `A subscription cannot be called "${subscription}": the word is reserved.`, {
      details: { topic, subscription },
    })
  }
  checkCharacters('subscription with its topic', `${topic}.${subscription}`)
}
