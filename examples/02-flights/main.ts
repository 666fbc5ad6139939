/**
 * 20,000 real flights travel through a broker, between real processes: a publisher, two workers of one subscription,
 * and a service that rebooks passengers. The flights of an airport stay in order, also while one of them is tried again.
 * Halfway one worker is killed with SIGKILL and replaced. What was dead-lettered is sent back at the end. Then every flight
 * must have been handled and every passenger rebooked, or this program exits with 1.
 *
 *     npm start                                # the embedded broker, in ./.chasqui
 *     npm start -- --url amqp://localhost      # RabbitMQ, or `chasqui broker`
 */
import { type ChildProcess, fork } from 'node:child_process'
import { openSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Bus, ChasquiError, connect, type DeadLetter } from 'chasqui'
import { RebookPassengers } from './contracts.ts'
import { Progress } from './progress.ts'
import { EndedEarly, give, onceReady, type Report, stopChild } from './reports.ts'
import { Tally } from './tally.ts'

const flights = 20_000
const giveUpAfterIdleMs = 20_000
/** Where the processes log to, so that the progress stays readable. */
const logFile = 'flights.log'
const { values: options } = parseArgs({ options: { url: { type: 'string' } } })
const url = options.url ?? process.env.CHASQUI_URL ?? 'embedded:.chasqui'

const run = `${Date.now()}-${process.pid}`
const tally = new Tally(flights)
const progress = new Progress()
const children = new Set<ChildProcess>()
const log = openSync(logFile, 'w')
let lastReport = Date.now()

function start(program: string): ChildProcess {
  const child = fork(new URL(program, import.meta.url), {
    env: { ...process.env, FLIGHTS_URL: url, FLIGHTS_RUN: run },
    stdio: ['ignore', log, log, 'ipc'],
  })
  children.add(child)
  child.on('message', message => {
    if (message === 'ready') return
    lastReport = Date.now()
    tally.add(message as Report)
  })
  child.once('exit', () => children.delete(child))
  return child
}

/** Looks at this run's dead letters and sends them back, as an operator would: an extra plane has been found. */
async function redrive(bus: Bus, rebooking: ChildProcess): Promise<void> {
  const deadLetters = bus.deadLetters(RebookPassengers)
  const ofThisRun = { where: (letter: DeadLetter) => letter.headers.run === run }
  await waitUntil(async () => {
    for await (const letter of deadLetters.list(ofThisRun)) {
      const { flight } = letter.decode() as { flight: number }
      tally.addDeadLetter(flight, letter.error.message ?? '')
    }
    return tally.deadLettered.size >= tally.givenUp
  })
  await give(rebooking, 'extra plane')
  const { done } = await deadLetters.redrive(ofThisRun)
  progress.note(`Sent ${done} dead letters back: an extra plane has been found.`)
  await waitUntil(() => tally.lost === 0)
}

/** Looks again and again; gives up when nothing has been reported for too long. */
async function waitUntil(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition()) && Date.now() - lastReport <= giveUpAfterIdleMs) {
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

function table(seconds: number): string {
  const counts: [string, number | string][] = [
    ['published', tally.published],
    ['handled', tally.handled],
    ['lost', tally.lost],
    ['duplicates', tally.duplicates],
    ['order violations', tally.orderViolations],
    ['retried', tally.retried],
    ['rebooked', tally.rebooked],
    ['dead-lettered', tally.deadLettered.size],
    ['redriven', tally.redriven],
    ['messages per second', Math.round((tally.handled + tally.retried + tally.rebooked + tally.givenUp) / seconds)],
  ]
  const number = (value: number | string) => value.toLocaleString('en').padStart(9)
  return [
    ...counts.map(([name, value]) => `  ${name.padEnd(22)}${number(value)}`),
    '',
    '  most delayed airports    flights   mean delay',
    ...tally
      .mostDelayed(5)
      .map(
        ({ origin, flights, meanDelay }) =>
          `  ${origin.padEnd(22)}${number(flights)}${`${meanDelay.toFixed(1)} min`.padStart(13)}`,
      ),
    '',
    '  dead-lettered because',
    ...[...tally.deadLettered].slice(0, 3).map(([flight, reason]) => `  flight ${String(flight).padEnd(6)} ${reason}`),
    ...(tally.deadLettered.size > 3 ? [`  ... and ${tally.deadLettered.size - 3} more`] : []),
  ].join('\n')
}

async function main(): Promise<void> {
  await using bus = await connect(url, { name: 'flights' })
  const [victim, , rebooking] = await Promise.all([
    onceReady(start('./worker.ts')),
    onceReady(start('./worker.ts')),
    onceReady(start('./rebooking.ts')),
  ])
  progress.note(`${flights.toLocaleString('en')} flights through ${shown(url)}; the processes log to ${logFile}`)
  const began = progress.elapsedSeconds()
  start('./publisher.ts')

  let replacement: Promise<ChildProcess> | undefined
  await waitUntil(() => {
    const { published, handled, rebooked, givenUp } = tally
    progress.show(handled, flights, `published ${published}, handled ${handled}, rebooked ${rebooked}, dead ${givenUp}`)
    if (replacement === undefined && handled >= flights / 2) {
      victim.kill('SIGKILL')
      progress.note(
        `Killed worker ${victim.pid} (SIGKILL) after ${handled.toLocaleString('en')} flights; a new one starts.`,
      )
      replacement = onceReady(start('./worker.ts'))
    }
    return tally.published >= flights && tally.awaited === 0
  })
  await redrive(bus, rebooking)
  const seconds = progress.elapsedSeconds() - began
  progress.show(tally.handled, flights, 'done')
  progress.note(`\n${table(seconds)}\n`)
  await replacement
  await Promise.all([...children].map(stopChild))
  if (tally.lost > 0) {
    console.error(`${tally.lost} messages were lost: nothing came for ${giveUpAfterIdleMs / 1000} s. See ${logFile}.`)
    process.exitCode = 1
  }
}

/** The URL without its credentials. */
function shown(text: string): string {
  return text.replace(/\/\/[^/@]*@/, '//')
}

/** What a process said before it died. */
function lastErrorIn(file: string): string {
  const errors = readFileSync(file, 'utf8').match(/^\w*Error: .*/gm)
  return errors?.at(-1) ?? `See ${file}.`
}

try {
  await main()
} catch (error) {
  for (const child of children) child.kill()
  if (error instanceof EndedEarly) console.error(`${error.message} ${lastErrorIn(logFile)}`)
  else console.error(error instanceof ChasquiError ? error.message : error)
  process.exitCode = 1
}
