/**
 * One of the workers of the subscription `delays`: notes each flight, in the order of its airport, and asks for a rebooking
 * where it is very late. The weather of some airports comes from a service that now and then refuses the first call.
 */
import { connect } from 'chasqui'
import { FlightDeparted, RebookPassengers } from './contracts.ts'
import { type Attempted, gathering, serveUntilStopped } from './reports.ts'

const rebookAfterMinutes = 60
const slowWeather: ReadonlySet<string> = new Set(['JFK', 'RIC', 'ROC', 'SEA', 'SMF'])
const refusedEvery = 10
const retryAfterMs = 50
const run = process.env.FLIGHTS_RUN ?? 'none'
const bus = await connect(process.env.FLIGHTS_URL, { name: 'flights-worker' })
const report = gathering<Attempted>(flights => ({ kind: 'attempted', flights }))

/** The service's stand-in: for every tenth flight of its airports the first call fails. */
function askWeather(origin: string, flight: number, attempt: number): void {
  if (slowWeather.has(origin) && flight % refusedEvery === 0 && attempt === 1) {
    throw new Error(`no weather for ${origin} yet`)
  }
}

await bus.subscribe(
  FlightDeparted,
  'delays',
  async ({ flight, origin, destination, delay }, ctx) => {
    if (ctx.headers.run !== run) return // left over from a run that was stopped
    const beganNs = Number(process.hrtime.bigint())
    try {
      askWeather(origin, flight, ctx.attempt)
    } catch (error) {
      await report({ flight, origin, delay, done: false, beganNs })
      throw error // tried again, after the delay below; the airport's later flights wait for it
    }
    if (delay > rebookAfterMinutes) {
      await ctx.send(RebookPassengers, { flight, from: origin, to: destination, delay }, { headers: { run } })
    }
    await report({ flight, origin, delay, done: true, beganNs })
  },
  { orderBy: 'key', concurrency: 50, retry: { delays: [retryAfterMs, 10 * retryAfterMs] } },
)
serveUntilStopped(() => bus.close())
