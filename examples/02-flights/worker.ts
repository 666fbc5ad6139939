/** One of the workers of the subscription `delays`: notes each flight, and asks for a rebooking where it is very late. */
import { connect } from 'chasqui'
import { FlightDeparted, RebookPassengers } from './contracts.ts'
import { gathering, type Handled, serveUntilStopped } from './reports.ts'

const rebookAfterMinutes = 60
const run = process.env.FLIGHTS_RUN ?? 'none'
const bus = await connect(process.env.FLIGHTS_URL, { name: 'flights-worker' })
const report = gathering<Handled>(flights => ({ kind: 'handled', flights }))

await bus.subscribe(
  FlightDeparted,
  'delays',
  async ({ flight, origin, destination, delay }, ctx) => {
    if (ctx.headers.run !== run) return // left over from a run that was stopped
    if (delay > rebookAfterMinutes) {
      await ctx.send(RebookPassengers, { flight, from: origin, to: destination, delay }, { headers: { run } })
    }
    await report({ flight, origin, delay })
  },
  { concurrency: 50 },
)
serveUntilStopped(() => bus.close())
