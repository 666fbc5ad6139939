/**
 * A certificate authority of our own and a certificate for localhost signed by it, made once per directory with the
 * `openssl` program. Nothing trusts the authority but who is told to.
 */
import { existsSync, writeFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { BrokerScriptError, run, succeeds } from './process.ts'

export interface Certificates {
  readonly caPath: string
  readonly certPath: string
  readonly keyPath: string
}

const validDays = '3650'

export async function certificates(directory: string): Promise<Certificates> {
  const paths = {
    caPath: join(directory, 'ca.pem'),
    certPath: join(directory, 'server.pem'),
    keyPath: join(directory, 'server.key'),
  }
  if (Object.values(paths).every(path => existsSync(path))) return paths
  if (!(await succeeds('openssl', ['version']))) {
    throw new BrokerScriptError('The TLS listener needs the program `openssl`; install it (apt-get install openssl).')
  }
  await mkdir(directory, { recursive: true, mode: 0o755 })
  const caKey = join(directory, 'ca.key')
  const request = join(directory, 'server.csr')
  const extensions = join(directory, 'server.ext')
  writeFileSync(extensions, 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n')
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc']
  await run('openssl', [
    ...['req', '-x509', ...newKey, '-keyout', caKey, '-out', paths.caPath],
    ...['-days', validDays, '-subj', '/CN=Chasqui test authority'],
  ])
  await run('openssl', ['req', ...newKey, '-keyout', paths.keyPath, '-out', request, '-subj', '/CN=localhost'])
  await run('openssl', [
    ...['x509', '-req', '-in', request, '-CA', paths.caPath, '-CAkey', caKey, '-CAcreateserial'],
    ...['-out', paths.certPath, '-days', validDays, '-extfile', extensions],
  ])
  return paths
}
