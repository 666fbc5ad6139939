/**
 * Every queue of the virtual host, as RabbitMQ's management interface tells it (RabbitMQ, "Management HTTP API",
 * GET /api/queues/vhost). AMQP itself knows no list of queues.
 */
import { request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import { text } from 'node:stream/consumers'
import type { SecureContextOptions } from 'node:tls'
import { ChasquiError, type QueueInfo } from '@chasqui/driver'

export interface ManagementAccess {
  /** Without a trailing slash; may have a path before `/api`. */
  readonly url: string
  readonly vhost: string
  readonly username: string
  readonly password: string
  /** For `https://`. */
  readonly tls?: SecureContextOptions & { readonly servername?: string; readonly rejectUnauthorized?: boolean }
}

/** How long the interface may take, in milliseconds. It gathers from every node, but from memory. */
const timeoutMs = 10_000

/**
 * In the order of their names. Rates are those of the last few seconds; the age of the oldest message is told by classic
 * queues alone, and where the sender stamped it.
 *
 * Rejects with `connect-failed` where nothing answers or what answers is no management interface, and with
 * `authentication-failed` or `access-refused`.
 */
export async function listQueues(access: ManagementAccess): Promise<readonly QueueInfo[]> {
  const { url, vhost, username } = access
  let response: Answer
  let rows: unknown
  try {
    response = await get(`${url}/api/queues/${encodeURIComponent(vhost)}`, access)
    rows = response.status === 200 ? JSON.parse(response.body) : undefined
  } catch (cause) {
    throw new ChasquiError(
      'connect-failed',
      `RabbitMQ's management interface does not answer at ${url}. Enable it (rabbitmq-plugins enable rabbitmq_management), or say where it is with the engine option managementUrl.`,
      { cause, details: { url } },
    )
  }
  if (response.status === 401) {
    throw new ChasquiError(
      'authentication-failed',
      `RabbitMQ's management interface at ${url} refuses the user '${username}'. Give that user the tag monitoring (rabbitmqctl set_user_tags).`,
      { details: { url } },
    )
  }
  if (response.status === 403) {
    throw new ChasquiError(
      'access-refused',
      `The user '${username}' may not see the queues of virtual host '${vhost}' at ${url}. Give it the tag monitoring (rabbitmqctl set_user_tags).`,
      { details: { url } },
    )
  }
  if (!Array.isArray(rows)) {
    throw new ChasquiError(
      'connect-failed',
      `What answers at ${url} is not RabbitMQ's management interface (HTTP status ${response.status}). Check the engine option managementUrl.`,
      { details: { url, status: response.status } },
    )
  }
  return rows.filter(isRecord).map(infoOf).toSorted(byName)
}

interface Answer {
  readonly status: number
  readonly body: string
}

/** With the authorities and the certificate of the connection, which the global `fetch` cannot be given. */
function get(url: string, { username, password, tls }: ManagementAccess): Promise<Answer> {
  const answer = Promise.withResolvers<Answer>()
  const options = {
    auth: `${username}:${password}`,
    headers: { accept: 'application/json' },
    signal: AbortSignal.timeout(timeoutMs),
  }
  const request = url.startsWith('https:') ? requestTls(url, { ...options, ...tls }) : requestPlain(url, options)
  request.on('error', answer.reject)
  request.on('response', response => {
    text(response).then(body => answer.resolve({ status: response.statusCode ?? 0, body }), answer.reject)
  })
  request.end()
  return answer.promise
}

function infoOf(row: Record<string, unknown>): QueueInfo {
  const stats = isRecord(row.message_stats) ? row.message_stats : {}
  const stamped = numberIn(row, 'head_message_timestamp')
  return {
    name: String(row.name),
    // Absent for a queue that has not yet told of itself, for some seconds after it was made.
    ready: numberIn(row, 'messages_ready') ?? 0,
    unsettled: numberIn(row, 'messages_unacknowledged'),
    consumers: numberIn(row, 'consumers') ?? 0,
    publishRate: rateIn(stats, 'publish_details'),
    deliverRate: rateIn(stats, 'deliver_get_details'),
    oldestAgeMs: stamped === undefined ? undefined : Math.max(0, Date.now() - stamped * 1000),
  }
}

function rateIn(stats: Record<string, unknown>, name: string): number | undefined {
  const details = stats[name]
  return isRecord(details) ? numberIn(details, 'rate') : undefined
}

function numberIn(record: Record<string, unknown>, name: string): number | undefined {
  const value = record[name]
  return typeof value === 'number' ? value : undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function byName(a: QueueInfo, b: QueueInfo): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0
}
