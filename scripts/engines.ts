/**
 * Which engines and foreign clients the tests can use on this machine, and the variables by which they find them.
 * What is named here is a promise: with CHASQUI_ENGINES=all each of them must be there.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { succeeds } from './brokers/process.ts'
import { defaultRabbitmq4, environmentOf, rabbitmq } from './brokers.ts'

export interface Engine {
  readonly name: string
  /** Absent when the engine is. */
  readonly environment: Readonly<Record<string, string>> | undefined
  /** What to do when it is absent. */
  readonly advice: string
}

export async function engines(): Promise<Engine[]> {
  return await Promise.all([rabbitmqEngine(), rabbitmq4Engine(), pikaEngine()])
}

async function rabbitmqEngine(): Promise<Engine> {
  const name = 'rabbitmq'
  const advice = 'npm run brokers -- start rabbitmq, or set CHASQUI_RABBITMQ_URL'
  const url = process.env.CHASQUI_RABBITMQ_URL
  if (url !== undefined && url !== '') return { name, advice, environment: { CHASQUI_RABBITMQ_URL: url } }
  const broker = await rabbitmq()
  return { name, advice, environment: broker.running ? environmentOf(broker) : undefined }
}

async function rabbitmq4Engine(): Promise<Engine> {
  const name = 'rabbitmq4'
  const advice = 'as root: npm run brokers -- start rabbitmq4, or set CHASQUI_RABBITMQ4_URL'
  const url = process.env.CHASQUI_RABBITMQ4_URL
  if (url !== undefined && url !== '') return { name, advice, environment: { CHASQUI_RABBITMQ4_URL: url } }
  const broker = await rabbitmq(defaultRabbitmq4)
  const { major } = defaultRabbitmq4
  return { name, advice, environment: broker.running ? environmentOf(broker, major) : undefined }
}

/** The Python client: CHASQUI_PYTHON, a virtual environment in .brokers/python, or the machine's python3. */
async function pikaEngine(): Promise<Engine> {
  const own = join(import.meta.dirname, '..', '.brokers', 'python', 'bin', 'python')
  const candidates = [process.env.CHASQUI_PYTHON, existsSync(own) ? own : undefined, 'python3']
  const advice = 'python3 -m venv .brokers/python && .brokers/python/bin/pip install pika'
  for (const python of candidates) {
    if (python !== undefined && python !== '' && (await succeeds(python, ['-c', 'import pika']))) {
      return { name: 'pika', advice, environment: { CHASQUI_PYTHON: python } }
    }
  }
  return { name: 'pika', advice, environment: undefined }
}
