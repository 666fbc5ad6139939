/** Starts a contender as a process of its own, so that its CPU is counted apart, and reads the JSON line it prints last. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export interface Sample {
  readonly messages: number
  readonly seconds: number
  readonly cpuMicros: number
}

export function runOnce<T>(program: string, ...words: readonly (string | number)[]): Promise<T> {
  const file = fileURLToPath(new URL(program, import.meta.url))
  return new Promise((resolve, reject) => {
    const options = { env: { ...process.env, NODE_ENV: 'test' }, maxBuffer: 1 << 24 }
    execFile(process.execPath, [...process.execArgv, file, ...words.map(String)], options, (error, output, errors) => {
      if (error) return reject(new Error(`${program} ${words.join(' ')} failed:\n${errors}`, { cause: error }))
      resolve(JSON.parse(output.trim().split('\n').at(-1)!))
    })
  })
}

/** Runs the contenders in turn, round by round, so that a slow moment of the machine meets all of them. */
export async function inTurn<Name extends string>(
  rounds: number,
  contenders: Readonly<Record<Name, () => Promise<Sample>>>,
): Promise<Record<Name, Sample[]>> {
  const names = Object.keys(contenders) as Name[]
  const samples = Object.fromEntries(names.map(name => [name, []])) as unknown as Record<Name, Sample[]>
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      samples[name].push(await contenders[name]())
      process.stderr.write('.')
    }
  }
  process.stderr.write('\n')
  return samples
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function cpuPerMessage(samples: readonly Sample[]): number {
  return median(samples.map(({ cpuMicros, messages }) => cpuMicros / messages))
}

export function perSecond(samples: readonly Sample[]): number {
  return median(samples.map(({ messages, seconds }) => messages / seconds))
}
