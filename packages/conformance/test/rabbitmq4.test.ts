import { afterAll, beforeAll, test } from 'vitest'
import { registerConformance } from '../src/suite.ts'
import { rabbitmqFixture } from './rabbitmq-fixture.ts'

registerConformance(rabbitmqFixture('RabbitMQ 4', { major: 4 }), {
  test: test.runIf(process.env.CHASQUI_RABBITMQ4_URL),
  beforeAll,
  afterAll,
})
