/** What something thrown says of itself: an error's message, whatever stands there, and of other values their text. */
export function messageOf(thrown: unknown): string {
  return String(thrown instanceof Error ? thrown.message : thrown)
}
