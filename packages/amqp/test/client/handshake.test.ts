import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { type ConnectionOptions, connect } from '../../src/client/index.ts'
import {
  CONNECTION_CLOSE,
  CONNECTION_OPEN,
  CONNECTION_OPEN_OK,
  CONNECTION_START_OK,
  CONNECTION_TUNE,
  CONNECTION_TUNE_OK,
  type ConnectionOpen,
  type ConnectionStartOk,
  type ConnectionTuneOk,
  QUEUE_DECLARE_OK,
} from '../../src/index.ts'
import { type FakePeer, FakeServer } from './fake-server.ts'

let server: FakeServer | undefined

async function listen(
  script: (peer: FakePeer) => void | Promise<void>,
  tls?: Parameters<typeof FakeServer.listen>[1],
): Promise<ConnectionOptions> {
  server = await FakeServer.listen(script, tls)
  return { host: '127.0.0.1', port: server.port }
}

afterEach(async () => {
  const stopping = server?.stop()
  server = undefined
  await stopping
})

/** What `connect` rejects with. */
async function refusal(options: ConnectionOptions): Promise<{ code: string; message: string; cause: unknown }> {
  try {
    const connection = await connect(options)
    connection.destroy()
  } catch (error) {
    const { name, code, message, cause } = error as Error & { code: string }
    expect(name).toBe('ConnectionError')
    return { code, message, cause }
  }
  throw new Error('It was opened.')
}

const key = readFileSync(new URL('server-key.pem', import.meta.url))
const cert = readFileSync(new URL('server-cert.pem', import.meta.url))

describe('what is agreed on', () => {
  test('[PLAIN, limits, vhost] the client sends what it was told and takes the smaller limits', async () => {
    let startOk: ConnectionStartOk | undefined
    let tuneOk: ConnectionTuneOk | undefined
    let open: ConnectionOpen | undefined
    const options = await listen(async peer => {
      peer.start()
      startOk = await peer.expect<ConnectionStartOk>(CONNECTION_START_OK)
      peer.send(0, { id: CONNECTION_TUNE, channelMax: 7, frameMax: 9000, heartbeat: 60 })
      tuneOk = await peer.expect<ConnectionTuneOk>(CONNECTION_TUNE_OK)
      open = await peer.expect<ConnectionOpen>(CONNECTION_OPEN)
      peer.send(0, { id: CONNECTION_OPEN_OK })
      await peer.close()
    })
    const connection = await connect({
      ...options,
      username: 'me',
      password: 'sécret',
      vhost: 'place',
      connectionName: 'test',
      frameMax: 20_000,
      clientProperties: { version: '1' },
    })
    expect(startOk).toMatchObject({ mechanism: 'PLAIN', locale: 'en_US' })
    expect(Buffer.from(startOk!.response).toString()).toBe('\0me\0sécret')
    expect(startOk!.clientProperties).toMatchObject({
      product: 'Chasqui',
      version: '1',
      connection_name: 'test',
      capabilities: { 'connection.blocked': true, consumer_cancel_notify: true },
    })
    expect(tuneOk).toMatchObject({ channelMax: 7, frameMax: 9000, heartbeat: 30 })
    expect(open).toMatchObject({ virtualHost: 'place' })
    expect(connection).toMatchObject({ channelMax: 7, frameMax: 9000, heartbeatSeconds: 30, closed: false })
    expect(connection.serverProperties.product).toBe('fake')
    await connection.close()
    expect(connection.closed).toBe(true)
  })

  test('[EXTERNAL] sends no password', async () => {
    let startOk: ConnectionStartOk | undefined
    const options = await listen(async peer => {
      peer.start()
      startOk = await peer.expect<ConnectionStartOk>(CONNECTION_START_OK)
      peer.send(0, { id: CONNECTION_CLOSE, replyCode: 320, replyText: 'CONNECTION_FORCED', classId: 0, methodId: 0 })
    })
    await refusal({ ...options, mechanism: 'EXTERNAL' })
    expect(startOk).toMatchObject({ mechanism: 'EXTERNAL', response: Buffer.alloc(0) })
  })

  test('[tls] a server whose authority is given is trusted', async () => {
    const options = await listen(
      async peer => {
        await peer.open()
        await peer.close()
      },
      { key, cert },
    )
    const connection = await connect({ ...options, host: 'localhost', tls: { ca: cert } })
    expect(connection.closed).toBe(false)
    await connection.close()
    expect(connection.closed).toBe(true)
  })
})

describe('what goes wrong', () => {
  test('[tls] an unknown authority is `tls`, at once', async () => {
    const options = await listen(() => undefined, { key, cert })
    expect(await refusal({ ...options, tls: {} })).toMatchObject({ code: 'tls' })
  })

  test('[tls] a certificate of another host is `tls`', async () => {
    const options = await listen(() => undefined, { key, cert })
    const tls = { ca: cert, servername: 'elsewhere.example' }
    expect(await refusal({ ...options, tls })).toMatchObject({ code: 'tls' })
  })

  test('[tls] to a server without TLS is `protocol`', async () => {
    const options = await listen(peer => {
      peer.socket.end('AMQP\0\0\x09\x01')
    })
    expect(await refusal({ ...options, tls: {} })).toMatchObject({ code: 'protocol' })
  })

  test('[no tls] to a server with TLS is `protocol`', async () => {
    const options = await listen(() => undefined, { key, cert })
    expect(await refusal(options)).toMatchObject({ code: expect.stringMatching(/protocol|disconnected/) })
  })

  test('[refused] nothing listens', async () => {
    const options = await listen(() => undefined)
    await server!.stop()
    server = undefined
    expect(await refusal(options)).toMatchObject({ code: 'refused' })
  })

  test('[refused] a local socket that is not there', async () => {
    expect(await refusal({ socketPath: '/nonexistent/socket' })).toMatchObject({ code: 'refused' })
  })

  test('[unreachable] a host that does not exist', async () => {
    expect(await refusal({ host: 'host.invalid' })).toMatchObject({ code: 'unreachable' })
  })

  test.each(['silent', 'stuck after start', 'stuck after tune'])('[timeout] a server that is %s', async how => {
    const options = await listen(async peer => {
      if (how === 'silent') return
      peer.start()
      if (how === 'stuck after start') return
      await peer.expect(CONNECTION_START_OK)
      peer.send(0, { id: CONNECTION_TUNE, channelMax: 0, frameMax: 0, heartbeat: 0 })
    })
    const { code, message } = await refusal({ ...options, connectTimeoutMs: 100 })
    expect(code).toBe('timeout')
    expect(message).toContain('100 ms')
  })

  test('[authentication] 403 while authenticating, with the reason and without the password', async () => {
    const options = await listen(async peer => {
      peer.start()
      await peer.expect(CONNECTION_START_OK)
      peer.send(0, { id: CONNECTION_CLOSE, replyCode: 403, replyText: 'ACCESS_REFUSED - no', classId: 0, methodId: 0 })
    })
    const error = await refusal({ ...options, username: 'me', password: 'secret' })
    expect(error).toMatchObject({ code: 'authentication', cause: { name: 'AmqpError', replyCode: 403 } })
    expect(error.message).toContain("user 'me'")
    expect(error.message).not.toContain('secret')
  })

  test('[authentication] a server that cannot say why hangs up', async () => {
    const options = await listen(async peer => {
      peer.start({})
      await peer.expect(CONNECTION_START_OK)
      peer.socket.end()
    })
    expect(await refusal(options)).toMatchObject({ code: 'authentication' })
  })

  test('[disconnected] a server that could say why hangs up', async () => {
    const options = await listen(async peer => {
      peer.start()
      await peer.expect(CONNECTION_START_OK)
      peer.socket.end()
    })
    expect(await refusal(options)).toMatchObject({ code: 'disconnected' })
  })

  test('[authentication] the mechanism is not offered', async () => {
    const options = await listen(peer => peer.start({}, 'GSSAPI AMQPLAIN'))
    const error = await refusal(options)
    expect(error).toMatchObject({ code: 'authentication' })
    expect(error.message).toContain('GSSAPI, AMQPLAIN')
  })

  test.each([
    [530, 'access'],
    [403, 'access'],
    [320, 'disconnected'],
    [541, 'protocol'],
  ])('[open] %i is `%s`', async (replyCode, code) => {
    const options = await listen(async peer => {
      peer.start()
      await peer.expect(CONNECTION_START_OK)
      peer.send(0, { id: CONNECTION_TUNE, channelMax: 0, frameMax: 0, heartbeat: 0 })
      await peer.expect(CONNECTION_TUNE_OK)
      await peer.expect(CONNECTION_OPEN)
      peer.send(0, { id: CONNECTION_CLOSE, replyCode, replyText: 'NO', classId: 0, methodId: 0 })
    })
    expect(await refusal(options)).toMatchObject({ code, cause: { replyCode } })
  })

  test('[protocol] another version answers with its header', async () => {
    const options = await listen(peer => {
      peer.socket.end('AMQP\x00\x00\x08\x00')
    })
    const error = await refusal(options)
    expect(error.code).toBe('protocol')
    expect(error.message).toContain('AMQP 0.8.0')
  })

  test('[protocol] another protocol answers', async () => {
    const options = await listen(peer => {
      peer.socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    })
    expect(await refusal(options)).toMatchObject({ code: 'protocol' })
  })

  test('[protocol] a method out of place', async () => {
    const options = await listen(peer =>
      peer.send(1, { id: QUEUE_DECLARE_OK, queue: '', messageCount: 0, consumerCount: 0 }),
    )
    expect(await refusal(options)).toMatchObject({ code: 'protocol' })
  })

  test.each([
    { port: 0 },
    { port: 70_000 },
    { port: 1.5 },
    { heartbeatSeconds: -1 },
    { frameMax: 100 },
    { channelMax: 65_536 },
    { connectTimeoutMs: 0 },
    { connectTimeoutMs: Number.NaN },
    { connectTimeoutMs: 2 ** 31 },
  ])('[option-invalid] %o', async options => {
    expect(await refusal(options)).toMatchObject({ code: 'option-invalid' })
  })
})
