import { afterAll, beforeAll, test } from 'vitest'
import { registerConformance } from '../src/suite.ts'
import { chasquiBrokerFixture } from './chasqui-broker-fixture.ts'

registerConformance(chasquiBrokerFixture, { test, beforeAll, afterAll })
