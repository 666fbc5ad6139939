export { commandLine, run } from './run.ts'
