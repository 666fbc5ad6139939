import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type Drivers, schemes } from '@chasqui/core'
import type { OpenDriver } from '@chasqui/driver'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { nearestPackageName } from '../src/connect.ts'
import { chooseUrls, loadDriver, servedBy } from '../src/load.ts'
import { errorOf } from './fixture.ts'

async function emptyDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'chasqui-load-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

describe('the choice of a URL', () => {
  test('is the argument, then CHASQUI_URL, then the embedded broker', () => {
    expect(chooseUrls('memory:', { CHASQUI_URL: 'amqp://x' })).toEqual(['memory:'])
    expect(chooseUrls(['amqp://a', 'amqp://b'], {})).toEqual(['amqp://a', 'amqp://b'])
    expect(chooseUrls(undefined, { CHASQUI_URL: 'amqp://x', NODE_ENV: 'production' })).toEqual(['amqp://x'])
    expect(chooseUrls(undefined, { CHASQUI_URL: '' })).toEqual(['embedded:.chasqui'])
  })

  test('is refused in production when there is none', async () => {
    expect((await errorOf(() => chooseUrls(undefined, { NODE_ENV: 'production' }))).code).toBe('url-missing')
  })

  test.each([[''], [[]], [[1]], [null], [{}]])('is refused when it is %j', async url => {
    expect((await errorOf(() => chooseUrls(url as unknown as string, {}))).code).toBe('url-invalid')
  })
})

describe('the scheme', () => {
  test.each(Object.keys(schemes))('%s: names a package', scheme => {
    expect(servedBy([`${scheme}:x`]).driver).toMatch(/^@chasqui\//)
    expect(servedBy([`${scheme.toUpperCase()}:x`]).driver).toMatch(/^@chasqui\//)
  })

  test('lists of hosts that URL cannot parse are no obstacle', () => {
    expect(servedBy(['kafka://a:9092,b:9092']).driver).toBe('@chasqui/kafka')
  })

  test('that is unknown: the known ones and the nearest are named', async () => {
    const { code, message } = await errorOf(connect('ampq://guest:secret@host'))
    expect(code).toBe('scheme-unknown')
    expect(message).toContain('Did you mean "amqp:"?')
    expect(message).toContain('kafka+tls:')
    expect(message).not.toContain('secret')
  })

  test.each(['localhost:5672', '//host', 'constructor:x'])('%s is refused', async url => {
    expect((await errorOf(connect(url))).code).toMatch(/^(?:url-invalid|scheme-unknown)$/)
  })

  test('an address without scheme is no URL, and its password is not printed', async () => {
    const { code, message } = await errorOf(connect(' amqp://me:secret@host'))
    expect(code).toBe('url-invalid')
    expect(message).not.toContain('secret')
  })

  test('differs within a list: refused', async () => {
    expect((await errorOf(connect(['amqp://a', 'kafka://b']))).code).toBe('url-invalid')
  })
})

describe('loading a driver', () => {
  test('that is not installed names the package and the command', async () => {
    const { code, message, details } = await errorOf(loadDriver('@chasqui/no-such-driver', await emptyDirectory()))
    expect(code).toBe('package-missing')
    expect(message).toContain('npm install @chasqui/no-such-driver')
    expect(details.package).toBe('@chasqui/no-such-driver')
  })

  test('finds it in the application’s directory when the core’s own does not have it', async () => {
    const directory = await emptyDirectory()
    const home = join(directory, 'node_modules', '@chasqui', 'from-application')
    await mkdir(home, { recursive: true })
    await writeFile(
      join(home, 'package.json'),
      '{"name":"@chasqui/from-application","type":"module","exports":"./index.js"}',
    )
    await writeFile(join(home, 'index.js'), 'export async function open() { return "opened" }')
    const open = await loadDriver('@chasqui/from-application', directory)
    expect(await open({ urls: [], name: 'x', connectTimeoutMs: 1 })).toBe('opened')
  })

  test('that opens nothing says which version is wanted', async () => {
    const directory = await emptyDirectory()
    const home = join(directory, 'node_modules', '@chasqui', 'opens-nothing')
    await mkdir(home, { recursive: true })
    await writeFile(
      join(home, 'package.json'),
      '{"name":"@chasqui/opens-nothing","type":"module","exports":"./index.js"}',
    )
    await writeFile(join(home, 'index.js'), 'export const closed = true')
    const { code, message } = await errorOf(loadDriver('@chasqui/opens-nothing', directory))
    expect(code).toBe('package-missing')
    expect(message).toContain('no function `open`')
  })
})

describe("[drivers] somebody else's driver", () => {
  /** The real embedded driver under another scheme. */
  const open: OpenDriver = async options => {
    const embedded = await loadDriver('@chasqui/embedded', process.cwd())
    return await embedded({ ...options, urls: options.urls.map(url => url.replace('other:', 'memory:')) })
  }

  test('is opened by the function that was given for the scheme, and carries messages', async () => {
    const bus = await connect('other:load-test', { drivers: { other: open }, logger: false })
    onTestFinished(() => bus.close())
    const body = Promise.withResolvers<unknown>()
    await bus.handle('hello', body.resolve)
    await bus.send('hello', { name: 'John' })
    expect(await body.promise).toEqual({ name: 'John' })
  })

  test('is loaded from the package, or the file, that was named', async () => {
    const directory = await emptyDirectory()
    const file = join(directory, 'driver.mjs')
    await writeFile(file, "export async function open({ urls }) { throw new Error('opens ' + urls) }")
    const { code, message } = await errorOf(connect('other:here', { drivers: { other: file }, logger: false }))
    expect(code).toBe('connect-failed')
    expect(message).toContain('opens other:here')
    expect((await errorOf(connect('other:x', { drivers: { other: '@nobody/driver' } }))).message).toContain(
      'npm install @nobody/driver',
    )
  })

  test('comes before the one that Chasqui knows for the scheme', async () => {
    const { message } = await errorOf(
      connect('memory:', { drivers: { memory: () => Promise.reject(new Error('mine')) }, logger: false }),
    )
    expect(message).toContain('mine')
  })

  test('is among the known schemes of the refusal', async () => {
    expect((await errorOf(connect('othr:x', { drivers: { other: open } }))).message).toContain('Did you mean "other:"?')
  })

  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'it opened nothing'],
    ['an object without methods', {}, '`plan`'],
    ['one that cannot receive', { plan() {}, declare() {}, send() {} }, '`receive`'],
    [
      'one that does not say what it can do',
      { plan() {}, declare() {}, send() {}, receive() {}, onState() {}, close() {} },
      '`capabilities`',
    ],
  ])('that opens %s is refused before anything is sent', async (_what, opened, says) => {
    const drivers = { other: async () => opened } as unknown as Drivers
    const { code, message } = await errorOf(connect('other:x', { drivers, logger: false }))
    expect(code).toBe('driver-invalid')
    expect(message).toContain(says)
  })

  test.each([[{ 'other:': open }], [{ Other: open }], [{ other: 1 }], [{ other: '' }], [[]], [1]])(
    'refuses %j',
    async drivers => {
      const given = drivers as unknown as Drivers
      expect((await errorOf(connect('memory:', { drivers: given }))).code).toBe('option-invalid')
    },
  )
})

describe('connect()', () => {
  afterEach(() => {
    vi.unstubAllEnvs()
  })

  test.each([
    [{ maxBodyByte: 1 }, 'Did you mean `maxBodyBytes`?'],
    [{ sendTimeoutMs: -1 }, 'sendTimeoutMs'],
    [{ logger: {} }, 'logger'],
    [{ consume: { concurrency: 0 } }, 'concurrency'],
    [{ consume: { retry: { attempts: 0 } } }, 'attempts'],
    [{ outgoing: [1] }, 'outgoing'],
    [{ formats: [{ name: 'x' }] }, 'formats'],
  ])('refuses the options %j', async (options, says) => {
    const { code, message } = await errorOf(connect('memory:', options as object))
    expect(code).toBe('option-invalid')
    expect(message).toContain(says)
  })

  test('refuses a log level from the environment that does not exist', async () => {
    vi.stubEnv('CHASQUI_LOG_LEVEL', 'loud')
    expect((await errorOf(connect('memory:'))).message).toContain('CHASQUI_LOG_LEVEL')
  })

  test('without a URL takes CHASQUI_URL', async () => {
    vi.stubEnv('CHASQUI_URL', 'memory:')
    const bus = await connect(undefined, { logger: false })
    expect(bus.capabilities.engine).toBe('memory')
    await bus.close()
  })

  test('hides a password that the driver’s error would print', async () => {
    const { message } = await errorOf(connect('memory://user:hunter2@host', { logger: false }))
    expect(message).not.toContain('hunter2')
  })

  test('takes the name of the nearest package.json', async () => {
    const directory = await emptyDirectory()
    await mkdir(join(directory, 'a', 'b'), { recursive: true })
    await writeFile(join(directory, 'package.json'), '{"name":"the-service"}')
    await writeFile(join(directory, 'a', 'package.json'), 'not json')
    expect(nearestPackageName(join(directory, 'a', 'b'))).toBe('the-service')
  })
})
