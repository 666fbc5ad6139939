/** Somebody else's driver: the real embedded one, under a scheme that Chasqui does not know. */
import type { OpenDriver } from '@chasqui/driver'
import { open as openEmbedded } from '@chasqui/embedded'

export const open: OpenDriver = options =>
  openEmbedded({ ...options, urls: options.urls.map(url => url.replace(/^other:/, 'embedded:')) })
