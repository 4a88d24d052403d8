import type { Clock } from './clock.ts';

/** A limit of bytes a second that all downloads share. */
export class Throttle {
  readonly #clock: Clock;
  readonly #bytesPerSecond: number;
  /** Monotonic ms at which all that was let through so far is paid for. */
  #paidAtMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Lets bytes through, and waits until the next may come; sooner when the signal is aborted. */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const paidAtMs = Math.max(this.#paidAtMs, nowMs) + (bytes / this.#bytesPerSecond) * 1000;
    this.#paidAtMs = paidAtMs;
    await this.#clock.sleep(paidAtMs - nowMs, signal);
    // What comes after an aborted transfer does not wait for it.
    if (signal.aborted) this.#paidAtMs -= Math.max(0, paidAtMs - this.#clock.nowMs());
  }
}
