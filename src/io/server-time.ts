import type { Clock } from './clock.ts';

/** What lies outside is no time of a server, and could not even be written as one. */
const earliestMs = Date.UTC(2020, 0);
const latestMs = Date.UTC(2100, 0);

/**
 * The time of AWS, as its own authenticated answers tell it. Signatures are made with it, so that a device whose clock
 * is wrong can fetch all the same; the system clock is never set.
 *
 * It is kept against the monotonic clock: a step of the wall clock changes nothing once an answer has been seen.
 */
export class ServerTime {
  readonly #clock: Clock;
  /** Wall-clock ms of AWS at monotonic zero. */
  #originMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Wall-clock ms of AWS; the device's own as long as nothing better is known. */
  nowMs(): number {
    return this.#originMs === undefined ? this.#clock.wallMs() : this.#originMs + this.#clock.nowMs();
  }

  /** Learns from the `Date` header or the `ServerTime` of an answer that came over TLS. */
  learn(text: string | null | undefined): void {
    const serverMs = Date.parse(text ?? '');
    if (serverMs > earliestMs && serverMs < latestMs) this.#originMs = serverMs - this.#clock.nowMs();
  }
}
