/** `--metrics-port`: what Prometheus reads, over HTTP, on this machine alone. */
import { createServer } from 'node:http'
import { ChasquiError } from '@chasqui/core'
import { Option } from 'commander'
import { port } from './arguments.ts'

/** Only this machine asks: what stands there is nobody else's business, and nobody proves who he is. */
const host = '127.0.0.1'

export function metricsPortOption(): Option {
  return new Option(
    '--metrics-port <number>',
    `serve metrics for Prometheus on ${host}; 0 takes a free port`,
  ).argParser(port)
}

/** Serves the metrics while the work runs, if a port was given. */
export async function withMetrics<T>(
  at: number | undefined,
  text: () => Promise<string>,
  work: () => Promise<T>,
): Promise<T> {
  if (at === undefined) return await work()
  const server = await serveMetrics(at, text)
  try {
    return await work()
  } finally {
    await server.close()
  }
}

interface MetricsServer {
  close(): Promise<void>
}

/**
 * Answers GET /metrics with the text, which is made anew for each; says on standard error where. Rejects with `port-in-use`
 * and `listen-failed`.
 */
async function serveMetrics(at: number, text: () => Promise<string>): Promise<MetricsServer> {
  const server = createServer((request, response) => {
    const path = request.url?.replace(/\?.*$/, '')
    if (path !== '/metrics') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('Metrics are at /metrics.\n')
      return
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end()
      return
    }
    text().then(
      body => response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(body),
      (error: unknown) => response.writeHead(500, { 'content-type': 'text/plain' }).end(`${String(error)}\n`),
    )
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, at)))
    server.listen(at, host, resolve)
  })
  const address = server.address()
  const url = `http://${host}:${typeof address === 'object' && address !== null ? address.port : at}/metrics`
  console.error(`chasqui: metrics at ${url}`)
  return {
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function listenError(error: NodeJS.ErrnoException, at: number): ChasquiError {
  if (error.code === 'EADDRINUSE') {
    return new ChasquiError(
      'port-in-use',
      `Port ${at} of ${host} is taken by another program. Choose another --metrics-port.`,
      {
        cause: error,
      },
    )
  }
  return new ChasquiError('listen-failed', `Metrics cannot be served on ${host}:${at}: ${error.message}.`, {
    cause: error,
  })
}
