import { defineConfig } from 'vitest/config'

/** The condition under which every workspace package resolves to its TypeScript sources. */
const condition = '@chasqui/source'

export default defineConfig({
  resolve: { conditions: [condition] },
  ssr: { resolve: { conditions: [condition, 'node', 'import', 'module', 'default'] } },
  test: {
    include: ['packages/*/test/**/*.test.ts', 'examples/**/*.test.ts', 'scripts/**/*.test.ts'],
    execArgv: [`--conditions=${condition}`],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    allowOnly: false,
    dangerouslyIgnoreUnhandledErrors: false,
  },
})
