/** docs/reference/error-codes.md, from the table in @chasqui/driver. */
import { errorCodes } from '@chasqui/driver'

export function errorCodesPage(): string {
  const rows = Object.entries(errorCodes).map(
    ([code, { retryable, meaning }]) => `| \`${code}\` | ${meaning} | ${retryable ? 'yes' : 'no'} |`,
  )
  return [
    '# Error codes',
    '',
    'Every failure that Chasqui reports is a `ChasquiError`. Match on `error.code`; the message is a sentence for people and may change.',
    '`retryable` says that the same call may succeed later without anybody changing anything.',
    '',
    'Generated from the table in `@chasqui/driver` by `npm run generate`.',
    '',
    '| code | meaning | retryable |',
    '| --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}
