/** Certificates and keys, from files that the command line names. */
import { readFile } from 'node:fs/promises'
import { ChasquiError } from '@chasqui/core'

/** @throws ChasquiError `option-invalid` */
export async function pemFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    throw new ChasquiError('option-invalid', `The PEM file ${file} cannot be read: ${(cause as Error).message}`, {
      cause,
    })
  }
}
