/**
 * Every queue of the virtual host, as RabbitMQ's management interface tells it (RabbitMQ, "Management HTTP API",
 * GET /api/queues/vhost). AMQP itself knows no list of queues.
 */
import { ChasquiError, type QueueInfo } from '@chasqui/driver'

export interface ManagementAccess {
  /** Without a trailing slash; may have a path before `/api`. */
  readonly url: string
  readonly vhost: string
  readonly username: string
  readonly password: string
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
export async function listQueues({ url, vhost, username, password }: ManagementAccess): Promise<readonly QueueInfo[]> {
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  let response: Response
  let rows: unknown
  try {
    response = await fetch(`${url}/api/queues/${encodeURIComponent(vhost)}`, {
      headers: { authorization, accept: 'application/json' },
      signal: AbortSignal.timeout(timeoutMs),
    })
    rows = response.ok ? await response.json() : undefined
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
