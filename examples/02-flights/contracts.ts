import { command, event } from 'chasqui'
import * as z from 'zod'

/**
 * A flight has left its airport, late by `delay` minutes (negative: early). The flights of one airport stay in order; on
 * engines that keep order in lanes, four of them share the airports.
 */
export const FlightDeparted = event(
  'flight.departed',
  z.object({
    flight: z.number().int(),
    date: z.string(),
    delay: z.number(),
    distance: z.number(),
    origin: z.string().length(3),
    destination: z.string().length(3),
  }),
  { key: flight => flight.origin, lanes: 4 },
)

/** The passengers of a late flight have missed what they meant to catch. */
export const RebookPassengers = command(
  'passengers.rebook',
  z.object({ flight: z.number().int(), from: z.string(), to: z.string(), delay: z.number() }),
)
