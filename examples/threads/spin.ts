/** Keeps its thread busy for as long as it is told. */
import type { ThreadHandler } from 'chasqui'

const spin: ThreadHandler = body => {
  const { ms } = body as { readonly ms: number }
  for (const end = Date.now() + ms; Date.now() < end; );
  return ms
}
export default spin
