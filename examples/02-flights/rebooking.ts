/** The service that rebooks passengers. For the latest of flights it finds no seat: those end dead-lettered. */
import { connect } from 'chasqui'
import { RebookPassengers } from './contracts.ts'
import { gathering, serveUntilStopped } from './reports.ts'

const hopelessAfterMinutes = 300
const run = process.env.FLIGHTS_RUN ?? 'none'
const bus = await connect(process.env.FLIGHTS_URL, { name: 'flights-rebooking' })
const report = gathering<number>(flights => ({ kind: 'rebooked', flights }))

await bus.handle(RebookPassengers, async ({ flight, delay }, ctx) => {
  if (ctx.headers.run !== run) return
  if (delay > hopelessAfterMinutes) return ctx.deadLetter(`no seat left after a delay of ${delay} minutes`)
  await report(flight)
})
serveUntilStopped(() => bus.close())
