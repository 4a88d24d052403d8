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

  /** Counts bytes that came. */
  charge(bytes: number): void {
    const ms = (bytes / this.#bytesPerSecond) * 1000;
    this.#paidAtMs = Math.max(this.#paidAtMs, this.#clock.nowMs()) + ms;
  }

  /** Waits until what has come so far is paid for, so that more may come; not once the signal is aborted. */
  async wait(signal: AbortSignal): Promise<void> {
    const owedMs = this.#paidAtMs - this.#clock.nowMs();
    if (owedMs > 0) await this.#clock.sleep(owedMs, signal);
  }
}
