import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '@chasqui/amqp/client'
import { expect, onTestFinished, test } from 'vitest'
import { CommandLine, refusal } from '../command-line.ts'

/** Runs it to its end. */
async function failed(...words: string[]) {
  const command = new CommandLine('broker', ...words)
  const code = await command.ended
  return { code, out: command.out, err: command.err }
}

async function taken(): Promise<number> {
  const server: Server = createServer()
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
  })
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}

/** The port of the ready line. */
async function readyPort(command: CommandLine): Promise<number> {
  const url = /amqp:\/\/\S+:(\d+)/.exec(await command.line())
  return Number(url?.[1])
}

test('prints one ready line with its URL, serves, and stops on SIGTERM with exit code 0', async () => {
  const command = new CommandLine('broker', '--port', '0')
  const ready = await command.line()
  expect(ready).toMatch(/^chasqui broker ready on amqp:\/\/127\.0\.0\.1:\d+, data in \S+\.chasqui$/)
  const connection = await connect({ host: '127.0.0.1', port: await readyPort(command) })
  const channel = await connection.openChannel()
  expect((await channel.declareQueue('orders', { durable: true })).queue).toBe('orders')
  const gone = new Promise<unknown>(resolve => connection.onClose(resolve))
  command.child.kill('SIGTERM')
  expect(await gone).toMatchObject({ replyCode: 320 })
  expect(await command.ended).toBe(0)
  expect(command.out).toBe(`${ready}\nchasqui broker stopped (SIGTERM)\n`)
  expect(command.err).toBe('')
  expect(statSync(join(command.directory, '.chasqui')).mode & 0o777).toBe(0o700)
})

test('stops on SIGINT as well', async () => {
  const command = new CommandLine('broker', '--port', '0')
  await command.line()
  command.child.kill('SIGINT')
  expect(await command.ended).toBe(0)
})

test('[--data] brings back what the directory holds', async () => {
  const first = new CommandLine('broker', '--port', '0')
  const data = join(first.directory, '.chasqui')
  const opened = await connect({ host: '127.0.0.1', port: await readyPort(first) })
  const channel = await opened.openChannel()
  await channel.declareQueue('kept', { durable: true })
  await channel.confirmSelect()
  await channel.publishAndConfirm('', 'kept', { deliveryMode: 2 }, Buffer.from('still here'))
  await opened.close()
  first.child.kill('SIGTERM')
  await first.ended

  const second = new CommandLine('broker', '--port', '0', '--data', data)
  const again = await connect({ host: '127.0.0.1', port: await readyPort(second) })
  const got = await (await again.openChannel()).get('kept')
  expect(got?.body.toString()).toBe('still here')
  await again.close()
})

test('[--memory] leaves nothing on disk', async () => {
  const command = new CommandLine('broker', '--port', '0', '--memory')
  expect(await command.line()).toMatch(/, nothing on disk$/)
  expect(existsSync(join(command.directory, '.chasqui'))).toBe(false)
})

test('[--metrics-port] serves depths, memory and blocked to Prometheus', async () => {
  const command = new CommandLine('broker', '--port', '0', '--memory', '--metrics-port', '0')
  const connection = await connect({ host: '127.0.0.1', port: await readyPort(command) })
  const channel = await connection.openChannel()
  await channel.declareQueue('orders', { durable: true })
  await channel.confirmSelect()
  await channel.publishAndConfirm('', 'orders', {}, Buffer.from('a'))
  const metrics = await (await fetch(await command.metricsUrl())).text()
  expect(metrics).toContain('\nchasqui_queue_ready{messaging_destination_name="orders"} 1\n')
  expect(metrics).toMatch(/\nchasqui_broker_memory_bytes [1-9]\d*\n/)
  expect(metrics).toContain('\nchasqui_broker_blocked 0\n')
  await connection.close()
  command.child.kill('SIGTERM')
  expect(await command.ended).toBe(0)
})

test('[--json] prints JSON lines', async () => {
  const command = new CommandLine('broker', '--port', '0', '--json')
  const ready = JSON.parse(await command.line())
  expect(ready).toMatchObject({ event: 'ready', data: join(command.directory, '.chasqui'), pid: command.child.pid })
  expect(ready.urls).toHaveLength(1)
  command.child.kill('SIGTERM')
  expect(await command.ended).toBe(0)
  expect(JSON.parse(command.out.split('\n')[1]!)).toEqual({ event: 'stopped', signal: 'SIGTERM' })
})

test('a port in use: a sentence, exit code 1, no stack', async () => {
  const port = await taken()
  const { code, out, err } = await failed('--port', String(port), '--memory')
  expect(code).toBe(1)
  expect(out).toBe('')
  expect(err).toMatch(/^chasqui: Port \d+ of 127\.0\.0\.1 is taken by another program\. .*\n$/)
})

test('[--json] a failure is one JSON line with its code', async () => {
  const port = await taken()
  const { code, err } = await failed('--port', String(port), '--memory', '--json')
  expect(code).toBe(1)
  expect(JSON.parse(err)).toMatchObject({ error: 'port-in-use' })
})

test('[--data] a file in the place of the directory: a sentence, exit code 1, no stack', async () => {
  const { code, err } = await failed('--port', '0', '--data', '/dev/null')
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: The data directory \/dev\/null cannot be used: .*\n$/)
})

test('[--data] a directory of a newer version: a sentence, exit code 1, and the directory as it was', async () => {
  const first = new CommandLine('broker', '--port', '0')
  await first.line()
  first.child.kill('SIGTERM')
  await first.ended
  const data = join(first.directory, '.chasqui')
  writeFileSync(join(data, 'format'), 'chasqui 9\n')
  const { code, err } = await failed('--port', '0', '--data', data)
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: The data directory \S+ has format 9, this version reads up to \d+: .*\n$/)
  expect(readFileSync(join(data, 'format'), 'utf8')).toBe('chasqui 9\n')
})

test('[--data] a directory that another broker serves: a sentence, exit code 1', async () => {
  const first = new CommandLine('broker', '--port', '0')
  await first.line()
  const { code, err } = await failed('--port', '0', '--data', join(first.directory, '.chasqui'))
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: Another process serves the data directory \S+\. .*\n$/)
})

test('[--tls-cert] needs the key beside it, and files that can be read', async () => {
  const alone = await failed('--port', '0', '--memory', '--tls-cert', 'cert.pem')
  expect(alone).toMatchObject({ code: 1, err: 'chasqui: TLS needs both --tls-cert and --tls-key.\n' })
  const missing = await failed('--port', '0', '--memory', '--tls-cert', 'cert.pem', '--tls-key', 'key.pem')
  expect(missing.code).toBe(1)
  expect(missing.err).toMatch(/^chasqui: The PEM file cert\.pem cannot be read: .*\n$/)
})

test('[--tls-ca] asks for the certificate of the server too, and --tls-users for --tls-ca', async () => {
  const alone = await failed('--port', '0', '--memory', '--tls-ca', 'ca.pem')
  expect(alone).toMatchObject({ code: 1, err: 'chasqui: --tls-ca needs --tls-cert and --tls-key beside it.\n' })
  const users = await failed('--port', '0', '--memory', '--tls-users', 'billing')
  expect(users.code).toBe(1)
  expect(users.err).toMatch(/^chasqui: --tls-users needs --tls-ca: /)
})

test('[--tls-ca] lets a named client in by its certificate, and none without one', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'chasqui-test-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')]
  // One certificate that is its own authority serves both sides.
  const names = ['-subj', '/CN=billing', '-addext', 'subjectAltName=IP:127.0.0.1']
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc', '-days', '2']
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', key, '-out', cert, ...names], { stdio: 'pipe' })
  const files = ['--tls-cert', cert, '--tls-key', key, '--tls-ca', cert, '--tls-users', 'ordering, billing']
  const command = new CommandLine('broker', '--port', '0', '--memory', '--tls-port', '0', ...files)
  const port = Number(/amqps:\/\/\S+:(\d+)/.exec(await command.line())?.[1])
  const pem = { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  const asBilling = { host: '127.0.0.1', port, mechanism: 'EXTERNAL', tls: { ca: pem.cert, ...pem } } as const
  const connection = await connect(asBilling)
  expect((await (await connection.openChannel()).declareQueue('mine')).queue).toBe('mine')
  await connection.close()
  await expect(connect({ ...asBilling, tls: { ca: pem.cert } })).rejects.toThrow()
})

test.each([
  [['--tls-users', 'a,,b'], /Give names, with commas between them/],
  [['--port', 'http'], /A port is a number from 0 to 65535/],
  [['--port', '65536'], /A port is a number from 0 to 65535/],
  [['--memory-limit', '12'], /Give a number of bytes, \d+ or more/],
  [['--memory', '--data', 'here'], /'--memory' cannot be used with option '--data/],
  [['--prot', '1'], /Did you mean --port/],
  [['here'], /too many arguments/],
])('%j: says what is wrong, exit code 2, no stack', async (words, sentence) => {
  const { code, out, err } = await refusal('broker', ...words)
  expect(code).toBe(2)
  expect(out).toBe('')
  expect(err).toMatch(sentence)
  expect(err).not.toMatch(/\n\s+at /)
})

test('[--host] an address that is not this machine: a sentence, exit code 1', async () => {
  const { code, err } = await failed('--host', '192.0.2.1', '--port', '0', '--memory')
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: 192\.0\.2\.1 is no address of this machine\. .*\n$/)
})

test('[--help] names every option within 80 columns', async () => {
  const command = new CommandLine('broker', '--help')
  expect(await command.ended).toBe(0)
  for (const name of [
    '--host',
    '--port',
    '--data',
    '--memory',
    '--memory-limit',
    '--tls-cert',
    '--tls-key',
    '--tls-ca',
    '--tls-users',
    '--metrics-port',
    '--json',
  ]) {
    expect(command.out).toContain(`  ${name} `)
  }
  for (const line of command.out.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
})
