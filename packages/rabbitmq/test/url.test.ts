import { describe, expect, test } from 'vitest'
import { parseUrl } from '../src/url.ts'

const local = { tls: false, hosts: [{ host: 'localhost', port: 5672 }], vhost: '/' }

describe('parseUrl', () => {
  test.each([
    ['amqp://localhost', local],
    ['amqp://localhost/', local],
    ['amqp://localhost/%2F', local],
    ['AMQP://localhost:', local],
    [' amqp://localhost ', local],
    ['amqps://localhost', { ...local, tls: true, hosts: [{ host: 'localhost', port: 5671 }] }],
    ['amqp://localhost/orders', { ...local, vhost: 'orders' }],
    ['amqp://localhost/a%2Fb%20ñ', { ...local, vhost: 'a/b ñ' }],
    ['amqp://ana:secret@localhost', { ...local, username: 'ana', password: 'secret' }],
    ['amqp://ana@localhost', { ...local, username: 'ana' }],
    ['amqp://ana:@localhost', { ...local, username: 'ana', password: '' }],
    ['amqp://a%40b:p%3A%2F%25:x@localhost', { ...local, username: 'a@b', password: 'p:/%:x' }],
    ['amqp://ana:p@ss@localhost', { ...local, username: 'ana', password: 'p@ss' }],
    ['amqp://[::1]:5673', { ...local, hosts: [{ host: '::1', port: 5673 }] }],
    ['amqp://localhost?heartbeat=5', { ...local, heartbeatSeconds: 5 }],
    [
      'amqp://u:p@a:1,b,[fe80::1]:3/v?heartbeat=0',
      {
        tls: false,
        hosts: [
          { host: 'a', port: 1 },
          { host: 'b', port: 5672 },
          { host: 'fe80::1', port: 3 },
        ],
        vhost: 'v',
        username: 'u',
        password: 'p',
        heartbeatSeconds: 0,
      },
    ],
  ])('[url] %s is read [rabbitmq, uri specification]', (url, expected) => {
    expect(parseUrl(url)).toEqual(expected)
  })

  test.each([
    '',
    'localhost',
    'http://localhost',
    'amqp:localhost',
    'amqp://',
    'amqp:///vhost',
    'amqp://user:hunter@',
    'amqp://a,,b',
    'amqp://a, b',
    'amqp://localhost:0',
    'amqp://localhost:65536',
    'amqp://user:hunter',
    'amqp://user:hun/ter@localhost',
    'amqp://user:hun?ter@localhost',
    'amqp://user:hun#ter@localhost',
    'amqp://user:%hunter@localhost',
    'amqp://localhost/a/b',
    'amqp://localhost/%zz',
    'amqp://localhost?heartbeat=soon',
    'amqp://localhost?heartbeat=99999',
    'amqp://localhost?hunter=1',
    'amqp://::1:5672',
    'amqp://[localhost]',
  ])('[url] %s is url-invalid, with a sentence that shows no secret', url => {
    let thrown: unknown
    try {
      parseUrl(url)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toMatchObject({ code: 'url-invalid', message: expect.stringMatching(/^The RabbitMQ URL .*\.$/) })
    expect(String(thrown)).not.toMatch(/hun|ter@/)
  })
})
