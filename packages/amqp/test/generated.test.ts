import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { generate, generatedFile } from '../generate/main.ts'

test('[generate] a second run changes nothing: the files are what the definition gives', () => {
  const files = generate()
  expect([...files.keys()]).toEqual(['constants.ts', 'methods.ts', 'properties.ts'])
  for (const [name, source] of files) expect(readFileSync(generatedFile(name), 'utf8')).toBe(source)
})
