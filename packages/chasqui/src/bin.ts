#!/usr/bin/env node
import { createRequire } from 'node:module'
import { run } from '@chasqui/cli'

const manifest: { version: string } = createRequire(import.meta.url)('../package.json')

process.exitCode = await run(process.argv.slice(2), manifest.version)
