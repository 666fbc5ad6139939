import type { ThreadHandler } from '@chasqui/core'

const bytes: ThreadHandler = async (body, ctx) => {
  await ctx.send(String(ctx.headers.to), `${Buffer.isBuffer(body)} ${String(body)}`)
}
export default bytes
