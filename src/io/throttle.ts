import type { Clock } from './clock.ts';

/** A limit of bytes a second that all downloads share. */
export class Throttle {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  /** Monotonic ms at which all that has come so far is paid for. */
  #paidAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Counts bytes that came, and waits until the next may come; aborted, it waits no longer, but they came all the same. */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const paidAtMs = Math.max(this.#paidAtMs, nowMs) + (bytes / this.#bytesPerSecond) * 1000;
    this.#paidAtMs = paidAtMs;
    await this.#clock.sleep(paidAtMs - nowMs, signal);
  }
}
