import { afterAll, beforeAll, test } from 'vitest'
import { registerConformance } from '../src/suite.ts'
import { rabbitmqFixture } from './rabbitmq-fixture.ts'

registerConformance(rabbitmqFixture('RabbitMQ'), {
  test: test.runIf(process.env.CHASQUI_RABBITMQ_URL),
  beforeAll,
  afterAll,
})
