import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { Broker, localSocketPath, ownerOf } from '@chasqui/broker'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openDataDirectory } from '../../src/store/data-directory.ts'
import { temporaryDirectory } from '../directory.ts'

async function refusedStart(dataDirectory: string, code: string, words: RegExp): Promise<void> {
  const broker = new Broker({ dataDirectory })
  await expect(broker.start()).rejects.toMatchObject({
    name: 'BrokerError',
    code,
    message: expect.stringMatching(words),
  })
  await broker.close()
}

/** A process that holds the directory's lock. */
async function otherOwner(directory: string) {
  const module = new URL('../../src/store/data-directory.ts', import.meta.url).href
  const program = `
    const { openDataDirectory } = await import(${JSON.stringify(module)})
    openDataDirectory(process.argv[1])
    console.log('held')
    setInterval(() => {}, 1000)
  `
  const child = spawn(
    process.execPath,
    ['--conditions=@chasqui/source', '--input-type=module', '-e', program, directory],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  onTestFinished(() => void child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}

describe('data directory', () => {
  test('[mode] it is created, with all before it, for its user alone', async () => {
    const directory = join(temporaryDirectory(), 'a', 'b')
    const broker = new Broker({ dataDirectory: directory })
    await broker.start()
    await broker.close()
    expect(fs.statSync(directory).mode & 0o777).toBe(0o700)
    expect(fs.readFileSync(join(directory, 'format'), 'utf8')).toBe('chasqui 1\n')
    for (const name of ['definitions.log', 'format']) expect(fs.statSync(join(directory, name)).mode & 0o077).toBe(0)
  })

  test('[owner] it says which process serves it, and not one that is gone', async () => {
    const directory = temporaryDirectory()
    expect(ownerOf(directory)).toBeUndefined()
    const broker = new Broker({ dataDirectory: directory })
    await broker.start()
    expect(ownerOf(directory)).toBe(process.pid)
    await broker.close()
    expect(ownerOf(directory)).toBeUndefined()
    const other = await otherOwner(directory)
    expect(ownerOf(directory)).toBe(other.pid)
    const exited = once(other, 'exit')
    other.kill('SIGKILL')
    await exited
    expect(ownerOf(directory)).toBeUndefined()
    fs.writeFileSync(join(directory, 'owner'), 'nobody')
    expect(ownerOf(directory)).toBeUndefined()
  })

  test('[lock] a second broker in the same process is refused, also by another name, and free after close', async () => {
    const parent = temporaryDirectory()
    const directory = join(parent, 'data')
    const first = new Broker({ dataDirectory: directory })
    await first.start()
    onTestFinished(() => first.close())
    fs.symlinkSync(directory, join(parent, 'link'))
    await refusedStart(directory, 'directory-in-use', /Another process serves/)
    await refusedStart(join(parent, 'link'), 'directory-in-use', /Another process serves/)
    await first.close()
    const second = new Broker({ dataDirectory: directory })
    await second.start()
    await second.close()
  })

  test('[lock] another process holds it while it is frozen, and not a moment longer than it lives', async () => {
    const directory = temporaryDirectory()
    const owner = await otherOwner(directory)
    await refusedStart(directory, 'directory-in-use', /Another process serves/)
    owner.kill('SIGSTOP')
    await refusedStart(directory, 'directory-in-use', /Another process serves/)
    const exit = once(owner, 'exit')
    owner.kill('SIGKILL')
    await exit
    const broker = new Broker({ dataDirectory: directory })
    await broker.start()
    await broker.close()
  })

  test('[format] a newer one is refused and left as it is', async () => {
    const directory = temporaryDirectory()
    fs.writeFileSync(join(directory, 'format'), 'chasqui 2\n')
    await refusedStart(directory, 'directory-newer', /has format 2, this version reads up to 1/)
    expect(fs.readFileSync(join(directory, 'format'), 'utf8')).toBe('chasqui 2\n')
    expect(fs.existsSync(join(directory, 'definitions.log'))).toBe(false)
  })

  test('[format] a file that does not say it is refused', async () => {
    const directory = temporaryDirectory()
    fs.writeFileSync(join(directory, 'format'), 'something')
    await refusedStart(directory, 'directory-corrupt', /does not say which format/)
  })

  test('[format] a segment or definitions of a newer format are refused', async () => {
    const directory = temporaryDirectory()
    const broker = new Broker({ dataDirectory: directory })
    await broker.start()
    await broker.close()
    const file = join(directory, 'definitions.log')
    const bytes = fs.readFileSync(file)
    bytes.writeUInt32LE(9, 8)
    fs.writeFileSync(file, bytes)
    await refusedStart(directory, 'directory-newer', /definitions.log has format 9/)
  })

  test('[unusable] a file in the place of a directory is refused with a sentence', async () => {
    const parent = temporaryDirectory()
    fs.writeFileSync(join(parent, 'file'), '')
    await refusedStart(join(parent, 'file'), 'directory-unusable', /cannot be used: .*(EEXIST|ENOTDIR)/)
    await refusedStart(join(parent, 'file', 'below'), 'directory-unusable', /ENOTDIR/)
    fs.mkdirSync(join(parent, 'data'))
    fs.mkdirSync(join(parent, 'data', 'lock'))
    await refusedStart(join(parent, 'data'), 'directory-unusable', /lock .* cannot be used/)
    expect(() => new Broker({ dataDirectory: '' })).toThrow(expect.objectContaining({ code: 'option-invalid' }))
  })

  test('[release] twice is once', () => {
    const directory = temporaryDirectory()
    const first = openDataDirectory(directory)
    expect(() => openDataDirectory(directory)).toThrow(expect.objectContaining({ code: 'directory-in-use' }))
    first.release()
    const second = openDataDirectory(directory)
    first.release() // of what is the second's now, it lets nothing go
    expect(() => openDataDirectory(directory)).toThrow(expect.objectContaining({ code: 'directory-in-use' }))
    second.release()
    expect(() => openDataDirectory(directory).release()).not.toThrow()
  })
})

describe('local socket', () => {
  test('[path] inside the directory, in a folder of mode 0700, the same for every name of the directory', () => {
    const directory = temporaryDirectory()
    const path = localSocketPath(directory)
    expect(path).toBe(join(fs.realpathSync(directory), 'run', 'amqp.sock'))
    expect(fs.statSync(join(directory, 'run')).mode & 0o777).toBe(0o700)
    expect(localSocketPath(join(directory, 'run', '..'))).toBe(path)
  })

  test('[path] too long for a socket: in a private runtime directory, the same each time, another for another', () => {
    const deep = (name: string) => {
      const directory = join(temporaryDirectory(), 'd'.repeat(60), name.repeat(60))
      fs.mkdirSync(directory, { recursive: true })
      return directory
    }
    const [one, two] = [deep('a'), deep('b')]
    const path = localSocketPath(one)
    expect(Buffer.byteLength(path)).toBeLessThanOrEqual(107)
    expect(localSocketPath(one)).toBe(path)
    expect(localSocketPath(two)).not.toBe(path)
    expect(fs.statSync(join(path, '..')).mode & 0o777).toBe(0o700)
  })

  test('[private] a folder that others may enter is refused, not mended', () => {
    const directory = temporaryDirectory()
    fs.mkdirSync(join(directory, 'run'))
    fs.chmodSync(join(directory, 'run'), 0o755)
    expect(() => localSocketPath(directory)).toThrow(
      expect.objectContaining({ code: 'directory-unusable', message: expect.stringContaining('mode 0700') }),
    )
    expect(fs.statSync(join(directory, 'run')).mode & 0o777).toBe(0o755)
  })
})
