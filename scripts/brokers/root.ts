/**
 * A newer Debian in a directory, for brokers that this machine's own Debian does not have: made once by `debootstrap`, then
 * entered by `chroot` in a mount namespace that ends with its process, so no mount is ever left behind.
 */
import { existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { BrokerScriptError, run, succeeds } from './process.ts'

const mirror = 'http://deb.debian.org/debian'
const installTimeoutMs = 900_000

/** Debian trixie has RabbitMQ 4.0.5. */
const suite = 'trixie'
const packages = 'rabbitmq-server,ca-certificates'

function rootExists(root: string): boolean {
  return existsSync(join(root, 'usr/lib/rabbitmq/bin/rabbitmq-server'))
}

/** Makes the root unless it is there: about 50 s and 380 MB. As root only, since a system is unpacked with its owners. */
export async function makeRoot(root: string): Promise<void> {
  if (rootExists(root)) return
  if (process.getuid?.() !== 0 || !(await succeeds('apt-get', ['--version']))) {
    throw new BrokerScriptError(
      'RabbitMQ 4 is unpacked from Debian trixie by debootstrap, which wants root on a Debian machine. Run this as root, or give the URL of a RabbitMQ 4 in CHASQUI_RABBITMQ4_URL.',
    )
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  if (!(await succeeds('debootstrap', ['--version']))) {
    await run('apt-get', ['update'], { env, timeoutMs: installTimeoutMs })
    await run('apt-get', ['install', '-y', '--no-install-recommends', 'debootstrap'], {
      env,
      timeoutMs: installTimeoutMs,
    })
  }
  await mkdir(dirname(root), { recursive: true })
  // Under another name until it is whole: an interrupted run must not look like a finished one.
  const partial = `${root}.${process.pid}`
  try {
    const arguments_ = ['--variant=minbase', `--include=${packages}`, suite, partial, mirror]
    await run('debootstrap', arguments_, { env, timeoutMs: installTimeoutMs })
    if (!rootExists(root)) await rename(partial, root)
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
}

/**
 * The program and arguments that run `command` inside the root, with `directory` under the same path as outside. The process keeps
 * the id that spawning it gives.
 */
export function insideRoot(root: string, directory: string, command: readonly string[]): [string, string[]] {
  const script = [
    'set -e',
    'root=$1 directory=$2',
    'shift 2',
    'mkdir -p "$root$directory"',
    'mount --rbind /dev "$root/dev"',
    'mount --rbind /proc "$root/proc"',
    'mount --bind "$directory" "$root$directory"',
    'exec chroot "$root" "$@"',
  ].join('\n')
  const enter = ['--mount', '--propagation', 'private', '--', 'sh', '-c', script, 'sh', root, directory]
  return ['unshare', [...enter, ...command]]
}
