/** The newest value of something, and a signal that its replacement aborts. */
export class Latest<T> {
  #value: T;
  #replaced = new AbortController();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  /** Aborted as soon as `value` is no longer the newest. */
  get replaced(): AbortSignal {
    return this.#replaced.signal;
  }

  set(value: T): void {
    this.#value = value;
    const replaced = this.#replaced;
    this.#replaced = new AbortController();
    replaced.abort();
  }
}
