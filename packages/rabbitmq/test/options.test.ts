import type { OpenOptions } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { readOptions } from '../src/options.ts'

function read(options: Partial<OpenOptions>) {
  return readOptions({ urls: ['amqp://localhost'], name: 'test', connectTimeoutMs: 1000, ...options })
}

describe('readOptions', () => {
  test('[defaults] guest on port 5672, heartbeats of 30 seconds, quorum queues', () => {
    const { endpoints, engine } = read({})
    expect(endpoints).toEqual([
      expect.objectContaining({
        host: 'localhost',
        port: 5672,
        vhost: '/',
        username: 'guest',
        password: 'guest',
        mechanism: 'PLAIN',
        tls: undefined,
        heartbeatSeconds: 30,
        connectionName: 'test',
      }),
    ])
    expect(engine).toEqual({
      heartbeatSeconds: 30,
      queueType: 'quorum',
      deliveryLimit: 20,
      maxUnconfirmed: 4096,
      mechanism: 'PLAIN',
      managementUrl: undefined,
    })
  })

  test('[managementUrl] is the first host unless it is given, with the user and the virtual host of the connection', () => {
    expect(read({ urls: ['amqp://u:p@[::1]/v'] }).management).toEqual({
      url: 'http://[::1]:15672',
      vhost: 'v',
      username: 'u',
      password: 'p',
      tls: undefined,
      isGiven: false,
    })
    const given = read({ engine: { managementUrl: 'https://proxy/rabbit/' } })
    expect(given.management).toMatchObject({ url: 'https://proxy/rabbit', isGiven: true })
  })

  test('[managementUrl] of an encrypted connection is encrypted too, with the same authorities', () => {
    const { management } = read({ urls: ['amqps://u:p@host'], tls: { ca: 'PEM' } })
    expect(management).toMatchObject({ url: 'https://host:15671', tls: { ca: 'PEM', rejectUnauthorized: true } })
  })

  test('[urls] a list and a URL of several hosts are one list of endpoints, in order', () => {
    const { endpoints } = read({ urls: ['amqp://a:1,b:2', 'amqp://u:p@c'] })
    expect(endpoints.map(({ host, port, username }) => [host, port, username])).toEqual([
      ['a', 1, 'guest'],
      ['b', 2, 'guest'],
      ['c', 5672, 'u'],
    ])
  })

  test.each([
    ['options win over the URL', { username: 'o', password: 'x' }, ['o', 'x']],
    ["another user does not get the URL's password", { username: 'o' }, ['o', '']],
    ['the same user does', { username: 'u' }, ['u', 'p']],
    ['a password alone goes with the user of the URL', { password: 'x' }, ['u', 'x']],
  ])('[username, password] %s', (_, given, expected) => {
    const [endpoint] = read({ urls: ['amqp://u:p@localhost'], ...given }).endpoints
    expect([endpoint!.username, endpoint!.password]).toEqual(expected)
  })

  test('[tls] goes with amqps, checks certificates unless told otherwise', () => {
    const ca = new Uint8Array([1, 2])
    const [endpoint] = read({ urls: ['amqps://localhost'], tls: { ca } }).endpoints
    expect(endpoint).toMatchObject({ port: 5671, tls: { ca: Buffer.from([1, 2]), rejectUnauthorized: true } })
    expect(read({ urls: ['amqps://localhost'] }).endpoints[0]!.tls).toMatchObject({ rejectUnauthorized: true })
  })

  test.each([
    ['tls with an amqp:// URL', { tls: {} }],
    ['an unknown option', { engine: { heartBeatSeconds: 3 } }],
    ['a heartbeat below 0', { engine: { heartbeatSeconds: -1 } }],
    ['a heartbeat that is no number', { engine: { heartbeatSeconds: '30' } }],
    ['a queue type that is none', { engine: { queueType: 'stream' } }],
    ['a delivery limit of 0', { engine: { deliveryLimit: 0 } }],
    ['a fraction of a message', { engine: { maxUnconfirmed: 1.5 } }],
    ['EXTERNAL without a certificate', { engine: { mechanism: 'EXTERNAL' } }],
  ])('[options] %s is option-invalid', (_, given) => {
    expect(() => read(given)).toThrow(expect.objectContaining({ code: 'option-invalid' }))
  })

  test('[urls] none at all is url-missing', () => {
    expect(() => read({ urls: [] })).toThrow(expect.objectContaining({ code: 'url-missing' }))
  })
})
