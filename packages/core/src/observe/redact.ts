/** Keeps credentials out of what people read. */

const userInfo = /([a-z][a-z0-9+.-]*:\/\/)[^/?#\s]*@/gi

/** The text with the user and password of every URL in it replaced. */
export function redactUrls(text: string): string {
  return text.replace(userInfo, '$1***@')
}

/** A function that takes every one of these secrets, and credentials in URLs, out of a text. */
export function redactor(secrets: readonly (string | undefined)[]): (text: string) => string {
  const known = new Set<string>()
  for (const secret of secrets) {
    // A very short password would tear words apart and hide nothing that could not be guessed.
    if (secret === undefined || secret.length < 3) continue
    known.add(secret)
    known.add(encodeURIComponent(secret))
  }
  return text => {
    let clean = redactUrls(text)
    for (const secret of known) clean = clean.replaceAll(secret, '***')
    return clean
  }
}

/** Takes secrets out of an error and its causes, in place: callers keep the object that was thrown. */
export function redactError(error: unknown, redact: (text: string) => string): void {
  const seen = new Set<unknown>()
  for (let at = error; at instanceof Error && !seen.has(at); at = at.cause) {
    seen.add(at)
    const { message, stack } = at
    const clean = redact(message)
    if (clean !== message) at.message = clean
    if (stack !== undefined) {
      const cleanStack = redact(stack)
      if (cleanStack !== stack) at.stack = cleanStack
    }
  }
}

/** The passwords that stand in a URL, as written and decoded. */
export function secretsOf(url: string): readonly string[] {
  const info = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)@/i.exec(url)?.[1]
  if (info === undefined) return []
  // Lists of hosts may each have their own: a:b@h1,c:d@h2.
  return info.split(',').flatMap(part => {
    const written = part.slice(part.lastIndexOf('@') + 1).replace(/^[^:]*:/, '')
    if (written === '' || written === part) return []
    try {
      return [written, decodeURIComponent(written)]
    } catch {
      // Not percent-encoded as it should be; the driver says so. As written it is hidden all the same.
      return [written]
    }
  })
}
