/**
 * `npm run soak [-- --minutes N] [--engine NAME]`: the scenarios that disturb an engine, again and again with fresh seeds, until the
 * time is over (default 30 minutes) or one fails. A failure prints the seed; CHASQUI_SEED repeats it in `npm test`.
 */
import { randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { rabbitmqIsInstalled } from '../../../scripts/brokers/rabbitmq.ts'
import type { Fixture } from '../src/fixture.ts'
import { runConformance, scenarios } from '../src/suite.ts'
import { chasquiBrokerFixture } from './chasqui-broker-fixture.ts'
import { rabbitmqFixture } from './rabbitmq-fixture.ts'

/** Kills, cuts, freezes and deletes. */
const disturbing = new Set([9, 16, 19, 41, 54, 55, 56, 57, 58, 59, 61, 65, 80, 81, 82])

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { minutes: { type: 'string' }, engine: { type: 'string' } },
  })
  const minutes = Number(values.minutes ?? '30')
  if (!(minutes > 0)) throw new Error('--minutes takes a number above 0.')
  const fixtures = new Map<string, Fixture>([['chasqui', chasquiBrokerFixture]])
  if (rabbitmqIsInstalled()) fixtures.set('rabbitmq', rabbitmqFixture('RabbitMQ'))
  if (process.getuid?.() === 0) fixtures.set('rabbitmq4', rabbitmqFixture('RabbitMQ 4', { major: 4 }))
  const chosen = values.engine === undefined ? [...fixtures.values()] : [fixtures.get(values.engine)]
  if (chosen.includes(undefined)) throw new Error(`--engine takes one of: ${[...fixtures.keys()].join(', ')}.`)
  const deadline = Date.now() + minutes * 60_000
  const ours = scenarios.filter(({ number }) => disturbing.has(number))
  for (let round = 1; Date.now() < deadline; round++) {
    for (const fixture of chosen as Fixture[]) {
      const seed = randomInt(2 ** 32)
      const startedAt = Date.now()
      const { results } = await runConformance(fixture, ours, seed)
      const failed = results.filter(({ outcome }) => outcome === 'failed')
      const seconds = Math.round((Date.now() - startedAt) / 1000)
      console.log(
        `round ${round}, ${fixture.name}, seed ${seed}: ${results.length - failed.length} of ${results.length} passed in ${seconds} s`,
      )
      for (const { number, reason } of failed) console.error(`  ${number}: ${reason}`)
      if (failed.length > 0) return 1
      if (Date.now() >= deadline) break
    }
  }
  return 0
}

process.exitCode = await main(process.argv.slice(2))
