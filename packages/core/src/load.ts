/**
 * From a URL's scheme to the package that serves it, and to its `open` function. The only place that knows driver packages by
 * name; applications name those of others (`drivers`).
 */
import { createRequire } from 'node:module'
import { isAbsolute, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Driver, OpenDriver } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import { messageOf } from './observe/message-of.ts'
import { redactUrls } from './observe/redact.ts'
import { nearest } from './options/option.ts'

interface Scheme {
  readonly package: string
  /** The engine asks who comes; without a name in URL and options the environment is asked. */
  readonly credentials: boolean
}

/** Drivers by the schemes of their URLs: the function itself, or the package (or the file's path) that exports it as `open`. */
export type Drivers = Readonly<Record<string, OpenDriver | string>>

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

/** What serves a scheme: the function, or the package that is still to be loaded. */
export interface Served {
  readonly driver: OpenDriver | string
  readonly credentials: boolean
}

/** What serves the scheme that all URLs share; the application's own drivers come first. Throws `url-invalid` and `scheme-unknown`. */
export function servedBy(urls: readonly string[], drivers: Drivers = {}): Served {
  const names = new Set(urls.map(schemeName))
  if (names.size > 1) {
    throw new ChasquiError('url-invalid', `A list of URLs must be of one scheme, not of ${[...names].join(' and ')}.`)
  }
  const [name = ''] = names
  // A driver that asks for no credentials does not look at them.
  if (Object.hasOwn(drivers, name)) return { driver: drivers[name]!, credentials: true }
  const scheme = Object.hasOwn(schemes, name) ? schemes[name] : undefined
  if (scheme !== undefined) return { driver: scheme.package, credentials: scheme.credentials }
  const known = [...new Set([...Object.keys(schemes), ...Object.keys(drivers)])]
  const near = nearest(name, known)
  throw new ChasquiError(
    'scheme-unknown',
    `No engine answers to "${name}:". ${near === undefined ? '' : `Did you mean "${near}:"? `}Known are ${known.map(k => `${k}:`).join(', ')}; others are given with the option \`drivers\`.`,
    { details: { scheme: name, known } },
  )
}

/** Checks the option `drivers`. Throws `option-invalid`. */
export function checkDrivers(drivers: Drivers): void {
  for (const [scheme, driver] of Object.entries(drivers)) {
    if (!/^[a-z][a-z0-9+.-]*$/.test(scheme)) {
      throw new ChasquiError(
        'option-invalid',
        `connect(): \`drivers\` has "${scheme.slice(0, 60)}", which is no scheme: write it without the colon, in small letters.`,
      )
    }
    if (typeof driver !== 'function' && (typeof driver !== 'string' || driver === '')) {
      throw new ChasquiError(
        'option-invalid',
        `connect(): \`drivers.${scheme}\` must be the function that opens the driver, or the name of its package.`,
      )
    }
  }
}

/** Members that no driver lacks. */
const demanded = ['plan', 'declare', 'send', 'receive', 'onState', 'close'] as const satisfies readonly (keyof Driver)[]

/** Checks what a driver's `open` resolved to, before anything is called that is not there. Throws `driver-invalid`. */
export function checkDriver(driver: Driver): void {
  const given: unknown = driver
  const missing =
    typeof given !== 'object' || given === null
      ? 'it opened nothing'
      : (demanded.find(name => typeof driver[name] !== 'function') ??
        (typeof driver.capabilities?.operations !== 'object' || typeof driver.capabilities.properties !== 'object'
          ? 'capabilities'
          : undefined))
  if (missing === undefined) return
  throw new ChasquiError(
    'driver-invalid',
    `The driver does not keep to the contract of @chasqui/driver: ${missing === 'it opened nothing' ? missing : `it has no \`${missing}\``}. Install a version that goes with this one, or tell its author.`,
    { details: { missing } },
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
      `This URL needs the package ${packageName}, which is not installed. ${remedy(packageName)}`,
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
      `The package ${packageName} is installed but cannot be loaded (${messageOf(cause)}). ${remedy(packageName)}`,
      { cause, details: { package: packageName } },
    )
  }
  if (typeof driver.open !== 'function') {
    throw new ChasquiError(
      'package-missing',
      `The package ${packageName} has no function \`open\`, or none of a version that goes with this one. ${remedy(packageName)}`,
      { details: { package: packageName } },
    )
  }
  return driver.open as OpenDriver
}

function remedy(packageName: string): string {
  return isAbsolute(packageName) ? 'Look into that file.' : `Run: npm install ${packageName}`
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
