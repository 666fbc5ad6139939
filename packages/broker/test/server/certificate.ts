/** An authority and certificates signed by it, made anew with the `openssl` program. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { temporaryDirectory } from '../directory.ts'

interface Pair {
  readonly key: string
  readonly cert: string
}

export interface Authority {
  readonly ca: string
  /** A certificate for localhost and 127.0.0.1. */
  readonly server: Pair
  readonly client: Pair
  /** A client's certificate of this common name. */
  named(name: string): Pair
}

export function makeAuthority(): Authority {
  const directory = temporaryDirectory()
  const at = (name: string) => join(directory, name)
  const openssl = (...words: string[]) => execFileSync('openssl', words, { stdio: 'pipe' })
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc']
  openssl('req', '-x509', ...newKey, '-keyout', at('ca.key'), '-out', at('ca.pem'), '-days', '2', '-subj', '/CN=test')
  writeFileSync(at('names'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n')
  const sign = (name: string): Pair => {
    openssl('req', ...newKey, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`), '-subj', `/CN=${name}`)
    const by = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-days', '2']
    openssl('x509', '-req', '-in', at(`${name}.csr`), ...by, '-out', at(`${name}.pem`), '-extfile', at('names'))
    return { key: readFileSync(at(`${name}.key`), 'utf8'), cert: readFileSync(at(`${name}.pem`), 'utf8') }
  }
  return { ca: readFileSync(at('ca.pem'), 'utf8'), server: sign('localhost'), client: sign('client'), named: sign }
}
