/** From a URL's scheme to the package that serves it, and to its `open` function. The only place that knows driver packages by name. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { OpenDriver } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import { redactUrls } from './observe/redact.ts'
import { nearest } from './options.ts'

interface Scheme {
  readonly package: string
  /** The engine asks who comes; without a name in URL and options the environment is asked. */
  readonly credentials: boolean
}

export const schemes: Readonly<Record<string, Scheme>> = {
  embedded: { package: '@chasqui/embedded', credentials: false },
  memory: { package: '@chasqui/embedded', credentials: false },
  amqp: { package: '@chasqui/rabbitmq', credentials: true },
  amqps: { package: '@chasqui/rabbitmq', credentials: true },
  kafka: { package: '@chasqui/kafka', credentials: true },
  'kafka+tls': { package: '@chasqui/kafka', credentials: true },
  activemq: { package: '@chasqui/activemq', credentials: true },
  'activemq+tls': { package: '@chasqui/activemq', credentials: true },
  artemis: { package: '@chasqui/activemq', credentials: true },
  'artemis+tls': { package: '@chasqui/activemq', credentials: true },
}

/** The URL that `connect()` takes when it is given none. */
export const defaultUrl = 'embedded:.chasqui'

/**
 * The URLs to connect to: the argument, else CHASQUI_URL, else the embedded broker; the last is refused in production, where
 * a service would otherwise confirm onto its own throw-away disk. Throws `url-missing` and `url-invalid`.
 */
export function chooseUrls(
  given: string | readonly string[] | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const fromEnvironment = environment.CHASQUI_URL
  if (given === undefined) {
    if (fromEnvironment !== undefined && fromEnvironment !== '') return [fromEnvironment]
    if (environment.NODE_ENV !== 'production') return [defaultUrl]
    throw new ChasquiError(
      'url-missing',
      'NODE_ENV is production and no URL was given. Set CHASQUI_URL or call connect(url); `embedded:DIR` asks for the embedded broker by name.',
    )
  }
  const urls = typeof given === 'string' ? [given] : given
  if (!Array.isArray(urls) || urls.length === 0 || !urls.every(url => typeof url === 'string' && url !== '')) {
    throw new ChasquiError('url-invalid', 'connect() takes a URL, or a list of URLs of one engine.')
  }
  return urls
}

/** The scheme that all URLs share. Throws `url-invalid` and `scheme-unknown`. */
export function schemeOf(urls: readonly string[]): Scheme {
  const names = new Set(urls.map(schemeName))
  if (names.size > 1) {
    throw new ChasquiError('url-invalid', `A list of URLs must be of one scheme, not of ${[...names].join(' and ')}.`)
  }
  const [name = ''] = names
  const scheme = Object.hasOwn(schemes, name) ? schemes[name] : undefined
  if (scheme !== undefined) return scheme
  const known = Object.keys(schemes)
  const near = nearest(name, known)
  throw new ChasquiError(
    'scheme-unknown',
    `No engine answers to "${name}:". ${near === undefined ? '' : `Did you mean "${near}:"? `}Known are ${known.map(k => `${k}:`).join(', ')}.`,
    { details: { scheme: name, known } },
  )
}

function schemeName(url: string): string {
  const name = /^([a-z][a-z0-9+.-]*):/i.exec(url)?.[1]?.toLowerCase()
  if (name !== undefined) return name
  throw new ChasquiError(
    'url-invalid',
    `"${redactUrls(url).slice(0, 100)}" is no URL: it must begin with a scheme, such as amqp://host or embedded:DIR.`,
  )
}

/** Loads a driver from where the core lies, else from the application's directory. Throws `package-missing`. */
export async function loadDriver(packageName: string, directory: string): Promise<OpenDriver> {
  const path = resolvePackage(packageName, [import.meta.url, join(directory, 'package.json')])
  if (path === undefined) {
    throw new ChasquiError(
      'package-missing',
      `This URL needs the package ${packageName}, which is not installed. Run: npm install ${packageName}`,
      { details: { package: packageName } },
    )
  }
  let driver: { open?: unknown }
  try {
    driver = await import(pathToFileURL(path).href)
  } catch (cause) {
    if (isChasquiError(cause)) throw cause
    throw new ChasquiError(
      'package-missing',
      `The package ${packageName} is installed but cannot be loaded (${cause instanceof Error ? cause.message : cause}). Reinstall it: npm install ${packageName}`,
      { cause, details: { package: packageName } },
    )
  }
  if (typeof driver.open !== 'function') {
    throw new ChasquiError(
      'package-missing',
      `The package ${packageName} has no function \`open\`. Install the version that goes with this one: npm install ${packageName}`,
      { details: { package: packageName } },
    )
  }
  return driver.open as OpenDriver
}

function resolvePackage(packageName: string, from: readonly string[]): string | undefined {
  for (const place of from) {
    try {
      return createRequire(place).resolve(packageName)
    } catch {
      // Not to be found from here; the next place may know it.
    }
  }
  return undefined
}
