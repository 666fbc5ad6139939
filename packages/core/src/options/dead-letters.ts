/** Options of dead letters: which are meant, and what is done with them. */
import type { OptionTable } from './option.ts'

/** Which dead letters are meant. */
export const deadLetterFilter = {
  error: { type: 'string', defaultText: 'any', meaning: "The error's code, or the name of its class." },
  type: { type: 'string', defaultText: 'any', meaning: "The message's type." },
  key: { type: 'string', defaultText: 'any', meaning: "The message's key." },
  since: { type: 'date', defaultText: 'any time', meaning: 'Failed for the last time at this moment or later.' },
  until: { type: 'date', defaultText: 'any time', meaning: 'Failed for the last time before this moment.' },
  ids: { type: 'list', defaultText: 'any', meaning: 'Ids of messages.' },
  where: { type: 'function', defaultText: 'none', meaning: 'Says yes to a letter that all the rest holds for.' },
} as const satisfies OptionTable

/** What `edit` changes of a letter. */
export const deadLetterChange = {
  body: {
    type: 'any',
    defaultText: 'as it is',
    meaning: 'The new body: a Uint8Array as it is to be, anything else to be written as its content type says.',
  },
  headers: { type: 'object', defaultText: 'as they are', meaning: 'Headers to set; `undefined` takes one off.' },
  key: { type: 'string', defaultText: 'as it is', meaning: 'Another key.' },
} as const satisfies OptionTable

export const deadLetterListOptions = {
  limit: {
    type: 'integer',
    unit: 'letters',
    defaultText: 'no limit',
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    meaning: 'Ends after so many letters that fit.',
  },
  signal: { type: 'signal', defaultText: 'none', meaning: 'Ends it; what is done is done.' },
} as const satisfies OptionTable

/** What `redrive`, `edit` and `discard` take. */
export const deadLetterMoveOptions = {
  ...deadLetterListOptions,
  dryRun: { type: 'boolean', default: false, meaning: 'Counts what would be done, and does nothing.' },
  ratePerSecond: {
    type: 'number',
    unit: 'letters per second',
    defaultText: 'as fast as the engine goes',
    minimum: 0.01,
    maximum: 1_000_000,
    meaning: 'At most so many in any second.',
  },
  onProgress: { type: 'function', defaultText: 'none', meaning: 'Is told how far it is, after each group of letters.' },
  by: { type: 'string', defaultText: "the bus's name", meaning: 'Who does it, for the record.' },
  audit: {
    type: 'audit',
    defaultText: 'none',
    meaning: 'Takes a record of each letter: the path of a file for JSON lines, or a function.',
  },
} as const satisfies OptionTable
