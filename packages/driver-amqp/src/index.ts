export { deliveriesOf, fromDelivery, toProperties } from './mapping.ts'
