/** docs/reference/metrics.md, from the table in the core. */
import { type MetricInfo, maxDestinations, metricTable } from '@chasqui/core'

export function metricsPage(): string {
  const rows = Object.values(metricTable).map((info: MetricInfo) => {
    const labels = info.labels.map(label => `\`${label}\``).join(', ')
    return `| \`${info.name}\` | ${info.type} | ${labels} | ${info.help} |`
  })
  return [
    '# Metrics',
    '',
    'What `bus.metrics()` tells of a bus that was opened with `{ metrics: true }`. Each also bears `messaging_system`, the name of the engine.',
    `At most ${maxDestinations} destinations have a label of their own; see [metrics](../concepts/metrics.md).`,
    '',
    'Generated from the table in the code by `npm run generate`.',
    '',
    '| metric | type | labels | meaning |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
}
