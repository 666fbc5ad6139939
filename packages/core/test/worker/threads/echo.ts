import type { ThreadHandler } from '@chasqui/core'
import type { Echo } from '../contracts.ts'

const echo: ThreadHandler<typeof Echo> = ({ text, count }) => ({ text: text.repeat(count) })
export default echo
