// A download that ends sooner is not worth a message.
const firstMs = 2_000;
const everyMs = 30_000;
// The log is told of each tenth, but a fast download fills no log; of a slow one it is told as often as the shadow.
const logLeastMs = 2_000;
const logEveryPart = 0.1;
const rateWindowMs = 10_000;
const rateStepMs = 1_000;

/** How far a download is. */
export interface Transfer {
  /** On disk so far, those of earlier attempts too. */
  bytes: number;
  /** Of the whole object, where S3 has told. */
  size?: number;
  /** Over the last ten seconds; absent in the first one. */
  bytesPerSecond?: number;
}

/** One attempt at a download: how far it is, how fast, and when that is told. Times are monotonic ms. */
export class Progress {
  #reportMs: number;
  #logged: { ms: number; bytes: number };
  #samples: Array<{ ms: number; bytes: number }> = [];
  #bytes = 0;
  #size: number | undefined;
  /** The most bytes that were ever on disk for this object. */
  bestBytes: number;
  /** Whether this attempt has brought more than any before: what a server sends anew each time is no gain. */
  gained = false;

  constructor(startedMs: number, bestBytes: number) {
    this.#reportMs = startedMs + firstMs;
    this.#logged = { ms: startedMs, bytes: bestBytes };
    this.bestBytes = bestBytes;
  }

  /** Takes note of the bytes that are on disk, and of the object's size where it is known. */
  take(bytes: number, size: number | undefined, nowMs: number): void {
    // The download was begun anew.
    if (bytes < this.#bytes) this.#samples = [];
    this.#bytes = bytes;
    this.#size = size;
    const last = this.#samples.at(-1);
    if (last === undefined || nowMs - last.ms >= rateStepMs) this.#samples.push({ ms: nowMs, bytes });
    const oldestMs = nowMs - rateWindowMs - rateStepMs;
    if ((this.#samples[0]?.ms ?? nowMs) < oldestMs) this.#samples.shift();
    if (bytes > this.bestBytes) {
      this.bestBytes = bytes;
      this.gained = true;
    }
  }

  /** Whether it is time to tell the shadow: after 2 s, and then every 30 s. It is asked once for each telling. */
  isReportDue(nowMs: number): boolean {
    if (nowMs < this.#reportMs) return false;
    this.#reportMs = nowMs + everyMs;
    return true;
  }

  /** Whether it is time for a line in the log: a tenth of the object or 30 s after the last one, and not within 2 s. */
  isLogDue(nowMs: number): boolean {
    const { ms, bytes } = this.#logged;
    const part = (this.#size ?? Number.POSITIVE_INFINITY) * logEveryPart;
    const isLater = nowMs - ms >= everyMs || this.#bytes - bytes >= part;
    if (nowMs - ms < logLeastMs || !isLater) return false;
    this.#logged = { ms: nowMs, bytes: this.#bytes };
    return true;
  }

  /** How far it is now; undefined before the first byte. */
  transfer(nowMs: number): Transfer | undefined {
    const first = this.#samples[0];
    if (first === undefined) return undefined;
    const elapsedMs = nowMs - first.ms;
    return {
      bytes: this.#bytes,
      ...(this.#size === undefined ? {} : { size: this.#size }),
      ...(elapsedMs < rateStepMs
        ? {}
        : { bytesPerSecond: Math.round(((this.#bytes - first.bytes) * 1000) / elapsedMs) }),
    };
  }
}
