/** src/generated/constants.ts: numbers and reply codes. */

import { banner, type Definition, upperCase } from './definition.ts'

export function constantsSource(definition: Definition): string {
  const errors = definition.constants.filter(constant => constant.class !== undefined)
  const success = definition.constants.filter(constant => constant.name === 'reply-success')
  const numbers = definition.constants.filter(constant => constant.name.startsWith('frame-') && !constant.class)
  const { major, minor, revision, port } = definition
  return `${banner}
/** Protocol version, as in the eight bytes that open a connection. */
export const protocolVersion = { major: ${major}, minor: ${minor}, revision: ${revision} } as const

/** The port that IANA assigned to AMQP. */
export const defaultPort = ${port}

${numbers.map(({ name, value }) => `export const ${upperCase(name)} = ${value}`).join('\n')}

/** Every reply code by its name in the definition. */
export const replyCodes = {
${[...success, ...errors].map(({ name, value }) => `  '${name}': ${value},`).join('\n')}
} as const

export type ReplyName = keyof typeof replyCodes

export const replyNames: ReadonlyMap<number, ReplyName> = new Map(
  Object.entries(replyCodes).map(([name, code]) => [code, name as ReplyName]),
)

/** Codes that close a channel; the others close the connection. */
export const softReplyCodes: ReadonlySet<number> = new Set([
${errors
  .filter(constant => constant.class === 'soft-error')
  .map(({ name, value }) => `  ${value}, // ${name}`)
  .join('\n')}
])
`
}
