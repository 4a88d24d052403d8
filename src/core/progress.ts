// A download that ends sooner is not worth a message.
const firstMs = 2_000;
const everyMs = 30_000;

/** Decides when the progress of a download is told: after 2 s, and then every 30 s. Times are monotonic ms. */
export class Progress {
  #nextMs: number;
  /** Whether any byte has come. */
  gained = false;

  constructor(startedMs: number) {
    this.#nextMs = startedMs + firstMs;
  }

  /** Takes note of bytes that came. @returns whether it is time to tell */
  isDue(nowMs: number): boolean {
    this.gained = true;
    if (nowMs < this.#nextMs) return false;
    this.#nextMs = nowMs + everyMs;
    return true;
  }
}
