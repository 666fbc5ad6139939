/**
 * Topic patterns as a tree of words (RabbitMQ's topic exchange): `*` stands for one word, `#` for none or
 * more. The words of a pattern lead to a node that lists what is bound there.
 */
import type { Destination } from './exchange.ts'

class Word {
  readonly next = new Map<string, Word>()
  readonly bound: Destination[] = []
}

export class TopicTree {
  readonly #root = new Word()

  add(pattern: string, destination: Destination): void {
    let node = this.#root
    for (const word of pattern.split('.')) {
      let next = node.next.get(word)
      if (next === undefined) {
        next = new Word()
        node.next.set(word, next)
      }
      node = next
    }
    node.bound.push(destination)
  }

  remove(pattern: string, destination: Destination): void {
    removeFrom(this.#root, pattern.split('.'), 0, destination)
  }

  /** Adds to `found` everything bound with a pattern that the key fits. */
  match(routingKey: string, found: Set<Destination>): void {
    matchFrom(this.#root, routingKey.split('.'), 0, found)
  }
}

function removeFrom(node: Word, words: readonly string[], index: number, destination: Destination): void {
  if (index === words.length) {
    const at = node.bound.indexOf(destination)
    if (at >= 0) node.bound.splice(at, 1)
    return
  }
  const word = words[index]!
  const next = node.next.get(word)
  if (next === undefined) return
  removeFrom(next, words, index + 1, destination)
  if (next.bound.length === 0 && next.next.size === 0) node.next.delete(word)
}

function matchFrom(node: Word, words: readonly string[], index: number, found: Set<Destination>): void {
  const any = node.next.get('#')
  if (any !== undefined) for (let skip = index; skip <= words.length; skip++) matchFrom(any, words, skip, found)
  if (index === words.length) {
    for (const destination of node.bound) found.add(destination)
    return
  }
  const one = node.next.get('*')
  if (one !== undefined) matchFrom(one, words, index + 1, found)
  const word = words[index]!
  // A key may hold the wildcard characters themselves; those branches were taken above.
  if (word !== '*' && word !== '#') {
    const same = node.next.get(word)
    if (same !== undefined) matchFrom(same, words, index + 1, found)
  }
}
