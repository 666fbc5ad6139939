/**
 * The service that rebooks passengers. For the latest of flights it finds no seat, and their messages end dead-lettered; once
 * an extra plane is there, those that are sent back find one.
 */
import { connect } from 'chasqui'
import { RebookPassengers } from './contracts.ts'
import { gathering, onOrder, serveUntilStopped } from './reports.ts'

const run = process.env.FLIGHTS_RUN ?? 'none'
let hopelessAfterMinutes = 300
const bus = await connect(process.env.FLIGHTS_URL, { name: 'flights-rebooking' })
const report = gathering<number>(flights => ({ kind: 'rebooked', flights }))
const reportHopeless = gathering<number>(flights => ({ kind: 'given up', flights }))

await bus.handle(RebookPassengers, async ({ flight, delay }, ctx) => {
  if (ctx.headers.run !== run) return
  if (delay > hopelessAfterMinutes) {
    await reportHopeless(flight)
    return ctx.deadLetter(`no seat left after a delay of ${delay} minutes`)
  }
  await report(flight)
})
onOrder('extra plane', () => {
  hopelessAfterMinutes = Number.POSITIVE_INFINITY
})
serveUntilStopped(() => bus.close())
