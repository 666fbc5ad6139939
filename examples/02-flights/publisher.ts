/** Publishes each record of the data set as an event, and tells how many the broker has confirmed. */
import { readFile } from 'node:fs/promises'
import { connect } from 'chasqui'
import { FlightDeparted } from './contracts.ts'
import { tell } from './reports.ts'

interface FlightRecord {
  date: string
  delay: number
  distance: number
  origin: string
  destination: string
}

const inFlight = 500
const run = process.env.FLIGHTS_RUN ?? 'none'
const file = new URL('../data/flights-20k.json', import.meta.resolve('vega-datasets'))
const records: FlightRecord[] = JSON.parse(await readFile(file, 'utf8'))

await using bus = await connect(process.env.FLIGHTS_URL, { name: 'flights-publisher' })
for (let first = 0; first < records.length; first += inFlight) {
  const chunk = records.slice(first, first + inFlight)
  await Promise.all(
    chunk.map((record, index) =>
      bus.publish(FlightDeparted, { flight: first + index, ...record }, { headers: { run } }),
    ),
  )
  await tell({ kind: 'published', flights: chunk.length })
}
process.disconnect?.()
