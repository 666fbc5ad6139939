export { open } from './driver.ts'
export type { RabbitmqOptions } from './options.ts'
export { engineOptions } from './options.ts'
