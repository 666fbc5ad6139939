/** The formats of one bus as the steps use them: the registry, the three that plain names need, and whether bytes are copied. */
import type { Format } from '../format/format.ts'
import { Formats } from '../format/format.ts'

export interface PipelineFormats {
  readonly registry: Formats
  readonly json: Format
  readonly text: Format
  readonly bytes: Format
  /** The driver hands the same memory from sender to receiver. */
  readonly copyBytes: boolean
}

export function pipelineFormats(more: readonly Format[], copyBytes: boolean): PipelineFormats {
  const registry = new Formats(more)
  return {
    registry,
    json: registry.named('json'),
    text: registry.named('text'),
    bytes: registry.named('bytes'),
    copyBytes,
  }
}
