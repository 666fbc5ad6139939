/** What the examples of the docs use without declaring it. A page that declares a name of its own hides the one here. */
type Core = typeof import('chasqui')
interface Charge {
  orderId: string
  amount: number
  pay(): Promise<void>
}
interface Order {
  orderId: string
  total: number
}
declare const bus: import('chasqui').Bus
declare const on: Core['on']
declare const ChargeCard: import('chasqui').CommandContract<Charge>
declare const RefundCard: import('chasqui').CommandContract<Charge>
declare const OrderPlaced: import('chasqui').EventContract<Order>
declare const charge: Charge
declare const order: Order
declare function alreadyCharged(orderId: string): Promise<boolean>
declare function bill(order: Order): void
declare function record(order: Order): void
