/** What stands on the command line, read into what it means. What cannot be read is a usage error that says what can. */
import { InvalidArgumentError } from 'commander'

export function seconds(text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && number >= 0.1 && number <= 86_400) return number
  throw new InvalidArgumentError('Give a number of seconds from 0.1 to 86400.')
}
