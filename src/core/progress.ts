// A download that ends sooner is not worth a message.
const firstMs = 2_000;
const everyMs = 30_000;

/** Decides when the progress of a download is told: after 2 s, and then every 30 s. Times are monotonic ms. */
export class Progress {
  #nextMs: number;
  /** The most bytes that were ever on disk for this object. */
  bestBytes: number;
  /** Whether this attempt has brought more than any before: what a server sends anew each time is no gain. */
  gained = false;

  constructor(startedMs: number, bestBytes: number) {
    this.#nextMs = startedMs + firstMs;
    this.bestBytes = bestBytes;
  }

  /** Takes note of bytes that came. @returns whether it is time to tell */
  isDue(bytes: number, nowMs: number): boolean {
    if (bytes > this.bestBytes) {
      this.bestBytes = bytes;
      this.gained = true;
    }
    if (nowMs < this.#nextMs) return false;
    this.#nextMs = nowMs + everyMs;
    return true;
  }
}
