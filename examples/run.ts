/** `npm run example -- 01-hello/send.ts [WORDS]`: runs an example on the sources of this checkout. */
const [file, ...words] = process.argv.slice(2)
if (file === undefined) {
  console.error('Say which: npm run example -- 01-hello/receive.ts')
  process.exitCode = 2
} else {
  process.argv.splice(1, process.argv.length, file, ...words)
  await import(new URL(file, import.meta.url).href)
}
