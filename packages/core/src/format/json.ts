/**
 * `application/json` (RFC 8259), UTF-8. A member called `__proto__` is refused on the way in: it is harmless as parsed,
 * and changes prototypes as soon as somebody copies the object member by member.
 */
import type { Format } from './format.ts'
import { decodeText } from './text.ts'

export const jsonFormat: Format = {
  name: 'json',
  contentType: 'application/json',
  encode(value) {
    const text = JSON.stringify(value)
    if (text === undefined) throw new TypeError(`JSON has no place for a value of type ${typeof value}`)
    return Buffer.from(text, 'utf8')
  },
  decode(bytes, parameters) {
    let text = decodeText(bytes, parameters)
    if (text.charCodeAt(0) === 0xfeff) text = text.slice(1)
    const value: unknown = JSON.parse(text)
    // Only a text with the word, or with an escape that may spell it, is worth the walk.
    if (text.includes('__proto__') || text.includes('\\u')) refusePrototypes(value)
    return value
  },
}

/** Walks without recursion: the depth of what was parsed is the sender's choice. */
function refusePrototypes(root: unknown): void {
  const open = [root]
  while (open.length > 0) {
    const value = open.pop()
    if (typeof value !== 'object' || value === null) continue
    if (Object.hasOwn(value, '__proto__')) throw new TypeError('an object has a member named __proto__')
    for (const member of Object.values(value)) open.push(member)
  }
}
