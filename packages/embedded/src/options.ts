/** The URLs of the embedded broker: `embedded:DIR`, `memory:` and `memory:NAME`. */
import { resolve } from 'node:path'
import { ChasquiError, type OpenOptions } from '@chasqui/driver'

export type Place =
  /** A broker without a store, shared by the buses of this process that give the same name. */
  | { readonly kind: 'memory'; readonly name: string }
  /** A data directory, by its absolute path. */
  | { readonly kind: 'directory'; readonly path: string }

export function placeOf(options: OpenOptions): Place {
  const [url, another] = options.urls
  if (url === undefined || another !== undefined) {
    throw new ChasquiError('url-invalid', 'The embedded broker takes exactly one URL: `embedded:DIR` or `memory:`.')
  }
  const colon = url.indexOf(':')
  const scheme = url.slice(0, colon)
  const rest = url.slice(colon + 1)
  const authority = rest.startsWith('//') ? rest.slice(2) : undefined
  if (authority !== undefined && !authority.startsWith('/')) {
    throw new ChasquiError(
      'url-invalid',
      `The ${scheme}: URL names a host or credentials, and this broker runs in your own process. ` +
        (scheme === 'memory'
          ? 'Write `memory:` alone.'
          : 'Write `embedded:` and a directory, such as `embedded:.chasqui`.'),
    )
  }
  if (options.username !== undefined || options.password !== undefined || options.tls !== undefined) {
    throw new ChasquiError(
      'option-invalid',
      `${scheme}: has no users and no TLS: it never leaves this machine. Leave out username, password and tls.`,
    )
  }
  const unknown = Object.keys(options.engine ?? {})[0]
  if (unknown !== undefined) {
    throw new ChasquiError('option-invalid', `The embedded broker has no option "${unknown}".`)
  }
  if (scheme === 'memory') {
    if (!/^[A-Za-z0-9._-]*$/.test(rest)) {
      throw new ChasquiError('url-invalid', 'The name after `memory:` may have letters, digits and `._-` only.')
    }
    return { kind: 'memory', name: rest }
  }
  const path = decoded(authority ?? rest)
  if (path === '') {
    throw new ChasquiError(
      'url-invalid',
      'Say where the messages are kept: `embedded:DIR`, such as `embedded:.chasqui`.',
    )
  }
  return { kind: 'directory', path: resolve(path) }
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (cause) {
    throw new ChasquiError('url-invalid', 'The directory in the URL has a % that starts no escape; write %25 for it.', {
      cause,
    })
  }
}
