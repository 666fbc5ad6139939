/** A list of callbacks; each `add` gives the function that takes its own off again. */
export class Listeners<Arguments extends readonly unknown[]> {
  #list: ((...values: Arguments) => void)[] = []

  get size(): number {
    return this.#list.length
  }

  add(listener: (...values: Arguments) => void): () => void {
    // A wrapper, so that one function added twice is on the list twice.
    const entry = (...values: Arguments): void => listener(...values)
    this.#list.push(entry)
    return () => {
      this.#list = this.#list.filter(other => other !== entry)
    }
  }

  /** Calls them in the order in which they came. What one throws goes to `onError`; the others are called all the same. */
  call(onError: (error: unknown) => void, ...values: Arguments): void {
    for (const listener of this.#list) {
      try {
        listener(...values)
      } catch (error) {
        onError(error)
      }
    }
  }
}
